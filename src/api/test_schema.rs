//! Which values fit a schema, and which schemas can be checked.

use serde_json::json;

use super::schema::{MOST_MISMATCHES, Schema, plain};

/// What does not fit in each of the values; nothing if it is empty.
#[track_caller]
fn check(schema: &str, cases: &[(&str, &str)]) {
    let parsed = Schema::parse(schema).unwrap();
    for (value, expected) in cases {
        let mismatch = parsed.mismatch(&serde_json::from_str(value).unwrap()).unwrap_or_default();
        assert_eq!(mismatch, *expected, "{schema}: {value}");
    }
}

#[test]
fn types_are_those_of_json_and_integer() {
    check("{}", &[("null", ""), ("[1]", "")]);
    check(
        r#"{"type":"integer"}"#,
        &[
            ("1", ""),
            ("1.0", ""),
            ("-9007199254740993", ""),
            ("1.5", "the answer is number, not integer"),
            ("\"1\"", "the answer is string, not integer"),
            ("true", "the answer is boolean, not integer"),
        ],
    );
    check(
        r#"{"type":["string","null"]}"#,
        &[("null", ""), ("\"\"", ""), ("{}", "the answer is object, not string or null")],
    );
}

#[test]
fn objects_have_what_is_required_and_nothing_that_is_not_allowed() {
    let schema = r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"object","properties":
        {"c":{"type":"number"}},"required":["c"]}},"required":["a"],"additionalProperties":false}"#;
    check(
        schema,
        &[
            (r#"{"a":"x"}"#, ""),
            (r#"{"a":"x","b":{"c":1,"d":2}}"#, ""),
            ("{}", "the answer lacks \"a\""),
            (r#"{"a":1,"b":{}}"#, "`/a` is number, not string; `/b` lacks \"c\""),
            (r#"{"a":"x","e":1}"#, "`/e` is not allowed"),
        ],
    );
    check(
        r#"{"additionalProperties":{"type":"null"}}"#,
        &[(r#"{"a":null}"#, ""), (r#"{"a":1}"#, "`/a` is number, not null")],
    );
    check(r#"{"patternProperties":{"^x":{}},"additionalProperties":false}"#, &[(r#"{"xy":1}"#, "")]);
}

#[test]
fn arrays_have_their_first_items_and_the_others() {
    check(
        r#"{"items":{"type":"string"}}"#,
        &[("[]", ""), (r#"["a",1,null]"#, "`/1` is number, not string; `/2` is null, not string")],
    );
    let first = r#"{"prefixItems":[{"type":"string"}],"items":false}"#;
    check(
        first,
        &[(r#"["a"]"#, ""), (r#"["a",1]"#, "`/1` is not allowed"), ("[1]", "`/0` is number, not string")],
    );
    check(r#"{"items":[{"type":"string"}]}"#, &[(r#"["a",1]"#, "")]);
}

#[test]
fn values_are_equal_as_in_json() {
    check(
        r#"{"enum":["a",1,{"b":[1,2.0]}]}"#,
        &[
            ("\"a\"", ""),
            ("1.0", ""),
            (r#"{"b":[1.0,2]}"#, ""),
            ("2", r#"the answer is none of ["a",1,{"b":[1,2.0]}]"#),
            (r#"{"b":[1]}"#, r#"the answer is none of ["a",1,{"b":[1,2.0]}]"#),
        ],
    );
    check(r#"{"const":null}"#, &[("null", ""), ("0", "the answer is not null")]);
    check(
        r#"{"const":9007199254740993}"#,
        &[("9007199254740993", ""), ("9007199254740992", "the answer is not 9007199254740993")],
    );
}

#[test]
fn schemas_are_combined() {
    check(
        r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#,
        &[("\"a\"", ""), ("1", "the answer fits 0 of `anyOf`")],
    );
    check(
        r#"{"oneOf":[{"type":"number"},{"minimum":5}]}"#,
        &[("1", ""), ("\"a\"", ""), ("6", "the answer fits 2 of `oneOf`")],
    );
    check(
        r#"{"allOf":[{"required":["a"]},{"required":["b"]}]}"#,
        &[(r#"{"a":1,"b":1}"#, ""), (r#"{"b":1}"#, "the answer lacks \"a\"")],
    );
    check(r#"{"not":{"type":"null"}}"#, &[("1", ""), ("null", "the answer fits `not`")]);
}

#[test]
fn references_lead_into_the_schema_and_end() {
    let tree = r##"{"$ref":"#/$defs/node","$defs":{"node":{"type":"object","required":["n"],
        "properties":{"n":{"type":"number"},"next":{"$ref":"#/$defs/node"}}}}}"##;
    check(
        tree,
        &[
            (r#"{"n":1,"next":{"n":2}}"#, ""),
            (r#"{"n":1,"next":{"n":2,"next":{}}}"#, "`/next/next` lacks \"n\""),
        ],
    );
    let endless = "the answer has a schema that refers to itself without end";
    check(r##"{"$ref":"#"}"##, &[("1", endless)]);
    check(
        r##"{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##,
        &[("1", endless)],
    );
}

#[test]
fn sizes_have_bounds() {
    check(
        r#"{"minimum":1,"exclusiveMaximum":5,"maxLength":2,"minItems":1,"maxProperties":1}"#,
        &[
            ("1", ""),
            ("0", "the answer violates {\"minimum\":1}"),
            ("5", "the answer violates {\"exclusiveMaximum\":5}"),
            ("\"äß\"", ""),
            ("\"abc\"", "the answer violates {\"maxLength\":2}"),
            ("[]", "the answer violates {\"minItems\":1}"),
            (r#"{"a":1,"b":2}"#, "the answer violates {\"maxProperties\":1}"),
        ],
    );
}

#[test]
fn the_nearest_schema_that_the_api_takes_is_closed_and_has_no_bounds() {
    for (schema, expected) in [
        (
            json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "description": "how many"}}}),
            json!({"type": "object", "properties": {"n": {"type": "integer", "description": "how many {\"minimum\":1}"}},
                "additionalProperties": false}),
        ),
        (
            json!({"type": "array", "items": {"properties": {}}, "maxItems": 3}),
            json!({"type": "array", "items": {"properties": {}, "additionalProperties": false},
                "description": "{\"maxItems\":3}"}),
        ),
        (
            json!({"$defs": {"minimum": {"anyOf": [true, {"minLength": 1}]}}, "const": {"minimum": 1}}),
            json!({"$defs": {"minimum": {"anyOf": [true, {"description": "{\"minLength\":1}"}]}}, "const": {"minimum": 1}}),
        ),
    ] {
        assert_eq!(plain(&schema), expected, "{schema}");
        assert_eq!(plain(&expected), expected);
    }
    for same in
        [json!({"type": "object"}), json!({"properties": {}, "additionalProperties": true}), json!(false)]
    {
        assert_eq!(plain(&same), same);
    }
}

#[test]
fn only_so_many_mismatches_are_named() {
    let found = Schema::parse(r#"{"items":false}"#).unwrap().mismatch(&json!([1, 2, 3, 4, 5, 6, 7])).unwrap();
    assert_eq!(found.matches("is not allowed").count(), MOST_MISMATCHES);
}

#[test]
fn what_can_not_be_checked_is_no_schema() {
    for (text, expected) in [
        ("", "is not JSON: EOF while parsing a value at line 1 column 0"),
        ("[]", "is not a JSON object"),
        ("true", "is not a JSON object"),
        (r#"{"name":"x","schema":{}}"#, "has the schema in its field `schema`: give what is in there"),
        (r#"{"type":"strin"}"#, r##"has an invalid `type` at `#/type`: "strin""##),
        (r#"{"type":3}"#, "has an invalid `type` at `#/type`: 3"),
        (r#"{"properties":{"a":{"enum":1}}}"#, "has an invalid `enum` at `#/properties/a/enum`: 1"),
        (r#"{"required":[1]}"#, "has an invalid `required` at `#/required`: [1]"),
        (r#"{"properties":[]}"#, "has an invalid `properties` at `#/properties`: []"),
        (r#"{"anyOf":{}}"#, "has an invalid `anyOf` at `#/anyOf`: {}"),
        (r#"{"items":3}"#, "has no schema at `#/items`, but 3"),
        (
            r##"{"$ref":"#/$defs/a"}"##,
            r##"refers to "#/$defs/a" at `#/$ref`: only `#/...` inside the schema is followed"##,
        ),
        (
            r#"{"$ref":"https://example.org/s"}"#,
            r##"refers to "https://example.org/s" at `#/$ref`: only `#/...` inside the schema is followed"##,
        ),
    ] {
        assert_eq!(Schema::parse(text), Err(expected.to_owned()), "{text}");
    }
    // Names of properties are no keywords, and values no schemas.
    for text in [r#"{"properties":{"type":{"const":{"type":3}},"$ref":{}}}"#, "\u{feff}{\"type\":\"null\"}"] {
        assert!(Schema::parse(text).is_ok(), "{text}");
    }
}
