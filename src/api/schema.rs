//! A JSON schema, and whether a value fits it. Pure.
//!
//! It checks the keywords that the API takes and their nearest relatives; others, such as `pattern` and `format`, are not
//! checked. That takes 15 KB. The smallest crate that knows them all takes 635 KB, most of it for regular expressions.

use serde_json::{Map, Value, json};

/// More mismatches do not help to mend an answer.
pub(super) const MOST_MISMATCHES: usize = 5;

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Keywords whose value is a schema, a list of schemas, or schemas by their names.
const SCHEMA: [&str; 3] = ["items", "additionalProperties", "not"];
const LISTS: [&str; 5] = ["items", "prefixItems", "allOf", "anyOf", "oneOf"];
const MAPS: [&str; 3] = ["properties", "$defs", "definitions"];

/// Bounds, which the API refuses in the schema of an answer
/// (<https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs>, "JSON Schema limitations").
const BOUNDS: [Bound; 12] = [
    ("number", "minimum", f64::ge),
    ("number", "maximum", f64::le),
    ("number", "exclusiveMinimum", f64::gt),
    ("number", "exclusiveMaximum", f64::lt),
    ("number", "multipleOf", unchecked),
    ("string", "minLength", f64::ge),
    ("string", "maxLength", f64::le),
    ("array", "minItems", f64::ge),
    ("array", "maxItems", f64::le),
    ("array", "uniqueItems", unchecked),
    ("object", "minProperties", f64::ge),
    ("object", "maxProperties", f64::le),
];

/// The type of the values that have the bound, its keyword, and whether a size is within it.
type Bound = (&'static str, &'static str, fn(&f64, &f64) -> bool);

/// A schema that values can be checked against.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    root: Value,
}

impl Schema {
    /// Fails with what the text is or has, if it is no schema or can't be checked: not JSON, not an object, an unknown
    /// type, a reference that leads nowhere.
    pub fn parse(text: &str) -> Result<Schema, String> {
        let text = text.trim_start_matches('\u{feff}');
        let root: Value = serde_json::from_str(text).map_err(|err| format!("is not JSON: {err}"))?;
        if !root.is_object() {
            return Err("is not a JSON object".into());
        }
        // Other APIs take the schema in such an object.
        if root["schema"].is_object() {
            return Err("has the schema in its field `schema`: give what is in there".into());
        }
        examine(&root, &root, "#")?;
        Ok(Schema { root })
    }

    /// The schema as it was given.
    pub fn as_value(&self) -> &Value {
        &self.root
    }

    /// Says in one line where and why `value` does not fit. Returns None if it fits.
    pub fn mismatch(&self, value: &Value) -> Option<String> {
        let found = Check { root: &self.root, followed: &[] }.check(&self.root, value, "");
        let shown = found.iter().take(MOST_MISMATCHES).map(String::as_str);
        (!found.is_empty()).then(|| shown.collect::<Vec<_>>().join("; "))
    }
}

/// What asks the API for answers that fit the schema.
pub fn format(schema: &Value) -> Value {
    json!({"type": "json_schema", "schema": schema})
}

/// The nearest schema that the API takes: objects have no other properties than those that are named, and bounds are
/// told in the description, as the API's own libraries do it.
pub fn plain(schema: &Value) -> Value {
    let Value::Object(keywords) = schema else { return schema.clone() };
    let (mut kept, mut bounds) = (Map::new(), Map::new());
    for (name, value) in keywords {
        let kind = name.as_str();
        let value = match value {
            Value::Object(schemas) if MAPS.contains(&kind) => {
                schemas.iter().map(|(name, schema)| (name.clone(), plain(schema))).collect()
            }
            Value::Array(schemas) if LISTS.contains(&kind) => schemas.iter().map(plain).collect(),
            value if SCHEMA.contains(&kind) => plain(value),
            value => value.clone(),
        };
        let to = if BOUNDS.iter().any(|(_, name, _)| *name == kind) { &mut bounds } else { &mut kept };
        to.insert(name.clone(), value);
    }
    if kept.contains_key("properties") {
        kept.entry("additionalProperties").or_insert(false.into());
    }
    if !bounds.is_empty() {
        let description = keywords.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = format!("{description} {}", Value::Object(bounds));
        kept.insert("description".into(), description.trim().into());
    }
    kept.into()
}

/// Fails if the schema at `place`, or one inside it, can't be checked.
fn examine(root: &Value, schema: &Value, place: &str) -> Result<(), String> {
    let Value::Object(keywords) = schema else {
        let ok = schema.is_boolean().then_some(());
        return ok.ok_or_else(|| format!("has no schema at `{place}`, but {schema}"));
    };
    for (keyword, value) in keywords {
        let place = format!("{place}/{keyword}");
        let invalid = || Err(format!("has an invalid `{keyword}` at `{place}`: {value}"));
        match (keyword.as_str(), value) {
            ("type", _)
                if !types(value).is_some_and(|types| types.iter().all(|name| TYPES.contains(name))) =>
            {
                return invalid();
            }
            ("enum", value) if !value.is_array() => return invalid(),
            ("required", value) if !strings(value) => return invalid(),
            ("$ref", _) if resolve(root, value).is_none() => {
                return Err(format!(
                    "refers to {value} at `{place}`: only `#/...` inside the schema is followed"
                ));
            }
            (name, Value::Object(schemas)) if MAPS.contains(&name) => {
                for (name, schema) in schemas {
                    examine(root, schema, &format!("{place}/{name}"))?;
                }
            }
            (name, Value::Array(schemas)) if LISTS.contains(&name) => {
                for (n, schema) in schemas.iter().enumerate() {
                    examine(root, schema, &format!("{place}/{n}"))?;
                }
            }
            (name, schema) if SCHEMA.contains(&name) => examine(root, schema, &place)?,
            (name, _) if MAPS.contains(&name) || LISTS.contains(&name) => return invalid(),
            _ => {}
        }
    }
    Ok(())
}

/// A walk through a value and its schema together.
struct Check<'a> {
    root: &'a Value,
    /// The references that were followed since the walk came to this value: one that comes again leads nowhere.
    followed: &'a [&'a Value],
}

impl Check<'_> {
    /// Returns what does not fit in `value`, which is at `at`.
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let Value::Object(keywords) = schema else {
            let found = (*schema == Value::Bool(false)).then(|| format!("{} is not allowed", place(at)));
            return found.into_iter().collect();
        };
        let keyword = |name: &str| keywords.get(name);
        if let Some(types) = keyword("type").and_then(types)
            && !types.iter().any(|name| is_of_type(value, name))
        {
            return vec![format!("{} is {}, not {}", place(at), kind(value), types.join(" or "))];
        }
        let mut found = self.check_combined(keywords, value, at);
        let listed =
            |values: &Value| values.as_array().is_some_and(|list| list.iter().any(|one| same(one, value)));
        if let Some(values) = keyword("enum").filter(|values| !listed(values)) {
            found.push(format!("{} is none of {values}", place(at)));
        }
        if let Some(expected) = keyword("const").filter(|expected| !same(expected, value)) {
            found.push(format!("{} is not {expected}", place(at)));
        }
        found.extend(out_of_bounds(keywords, value).map(|bound| format!("{} violates {bound}", place(at))));
        match value {
            Value::Object(fields) => self.check_object(keywords, fields, at, &mut found),
            Value::Array(items) => self.check_array(keywords, items, at, &mut found),
            _ => {}
        }
        found
    }

    /// Checks against the schemas that are about the same value.
    fn check_combined(&self, keywords: &Map<String, Value>, value: &Value, at: &str) -> Vec<String> {
        let list = |name: &str| keywords.get(name).and_then(Value::as_array);
        let fits = |schema: &Value| self.check(schema, value, at).is_empty();
        let mut found = Vec::new();
        if let Some(target) = keywords.get("$ref").and_then(|name| resolve(self.root, name)) {
            if self.followed.iter().any(|followed| std::ptr::eq(*followed, target)) {
                return vec![format!("{} has a schema that refers to itself without end", place(at))];
            }
            let followed = [self.followed, &[target]].concat();
            found = Check { root: self.root, followed: &followed }.check(target, value, at);
        }
        found.extend(list("allOf").into_iter().flatten().flat_map(|schema| self.check(schema, value, at)));
        for (name, most) in [("anyOf", usize::MAX), ("oneOf", 1)] {
            let count = list(name).map(|schemas| schemas.iter().filter(|schema| fits(schema)).count());
            if let Some(count) = count.filter(|count| !(1..=most).contains(count)) {
                found.push(format!("{} fits {count} of `{name}`", place(at)));
            }
        }
        if keywords.get("not").is_some_and(fits) {
            found.push(format!("{} fits `not`", place(at)));
        }
        found
    }

    fn check_object(
        &self,
        keywords: &Map<String, Value>,
        fields: &Map<String, Value>,
        at: &str,
        found: &mut Vec<String>,
    ) {
        for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !name.as_str().is_some_and(|name| fields.contains_key(name)) {
                found.push(format!("{} lacks {name}", place(at)));
            }
        }
        // Which names a pattern covers is not known here.
        let others =
            keywords.get("additionalProperties").filter(|_| !keywords.contains_key("patternProperties"));
        for (name, value) in fields {
            let own = keywords.get("properties").and_then(|schemas| schemas.get(name));
            if let Some(schema) = own.or(others) {
                found.extend(self.inside().check(schema, value, &format!("{at}/{name}")));
            }
        }
    }

    fn check_array(&self, keywords: &Map<String, Value>, items: &[Value], at: &str, found: &mut Vec<String>) {
        let list = |name: &str| keywords.get(name).and_then(Value::as_array);
        // Before draft 2020-12, `items` was the list.
        let first = list("prefixItems").or(list("items")).map_or(&[][..], Vec::as_slice);
        let others = keywords.get("items").filter(|schema| !schema.is_array());
        for (n, value) in items.iter().enumerate() {
            if let Some(schema) = first.get(n).or(others) {
                found.extend(self.inside().check(schema, value, &format!("{at}/{n}")));
            }
        }
    }

    /// The walk at the next value.
    fn inside(&self) -> Check<'_> {
        Check { root: self.root, followed: &[] }
    }
}

/// The schema inside `root` that `reference` names, like `#/$defs/name`.
fn resolve<'a>(root: &'a Value, reference: &Value) -> Option<&'a Value> {
    root.pointer(reference.as_str()?.strip_prefix('#')?)
        .filter(|schema| schema.is_object() || schema.is_boolean())
}

/// The names in `type`, which is one or a list.
fn types(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        name => Some(vec![name.as_str()?]),
    }
}

fn strings(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match (value, name) {
        (Value::Number(number), "integer") => number.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => kind(value) == name,
    }
}

/// Whether two values are equal in JSON, where 1 and 1.0 are the same number.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => one == other,
    }
}

/// Returns the first bound of a size or a number that `value` violates, as the schema has it.
fn out_of_bounds(keywords: &Map<String, Value>, value: &Value) -> Option<Value> {
    let size = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.chars().count() as f64,
        Value::Array(items) => items.len() as f64,
        Value::Object(fields) => fields.len() as f64,
        _ => return None,
    };
    BOUNDS.iter().filter(|(of, ..)| *of == kind(value)).find_map(|(_, name, fits)| {
        let bound = keywords.get(*name)?;
        (!fits(&size, &bound.as_f64()?)).then(|| json!({ *name: bound }))
    })
}

fn unchecked(_: &f64, _: &f64) -> bool {
    true
}

/// A place in the answer, to be named in a sentence.
fn place(at: &str) -> String {
    if at.is_empty() { "the answer".into() } else { format!("`{at}`") }
}
