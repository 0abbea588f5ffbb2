//! `--json-schema`: an answer that a script can parse, whatever the server has.

use serde_json::{Value, json};

use crate::support::finished::Finished;
use crate::support::reply::Reply;
use crate::support::stream::Block;
use crate::support::{Test, until};

const SCHEMA: &str = r#"{"type":"object","properties":{"legs":{"type":"integer"}},"required":["legs"],"additionalProperties":false}"#;

const FOUR: &str = r#"{"legs": 4}"#;

fn test() -> Test {
    Test::new().args(["--json-schema", SCHEMA]).print("How many legs has a cat?")
}

/// What asks for structured answers, beside whatever else `output_config` has.
fn format() -> Value {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    json!({"format": {"type": "json_schema", "schema": schema}})
}

/// The refusal of a server that does not know the field.
fn unknown() -> Reply {
    Reply::error(400, "invalid_request_error", "output_config: Extra inputs are not permitted")
}

#[track_caller]
fn record(finished: &Finished) -> Value {
    serde_json::from_str(finished.stdout.lines().last().unwrap()).unwrap()
}

/// The fields of the record that tell how it ended.
#[track_caller]
fn ending(finished: &Finished) -> Value {
    let record = record(finished);
    let fields = ["subtype", "exit_code", "result", "structured_output"];
    fields.iter().map(|name| record[name].clone()).collect()
}

#[test]
fn a_server_that_has_them_is_asked_for_them_from_the_first_request_on() {
    let calls = vec![Block::text(r#"{"legs": 0}"#), Block::tool("bash", json!({"command": "echo seen"}))];
    let finished = test().reply(Reply::message(calls)).reply(Reply::text(FOUR)).run().code(0);
    for request in &finished.requests {
        assert_eq!(request.body["output_config"], format());
    }
    assert_eq!(finished.requests.len(), 2);
    finished.stdout("{\"legs\": 4}\n").stderr_contains("> bash: echo seen");
    let finished = Test::new().reply(Reply::text("4")).print("go").run().code(0).stdout("4\n");
    assert_eq!(finished.request(0).body.get("output_config"), None);
    let finished = test().args(["--effort", "low"]).reply(Reply::text(FOUR)).run().code(0);
    let mut both = format();
    both["effort"] = "low".into();
    assert_eq!(finished.request(0).body["output_config"], both);
}

#[test]
fn the_answer_is_in_the_record() {
    for format in ["json", "stream-json"] {
        let finished = test().arg(format!("--output-format={format}")).reply(Reply::text(FOUR)).run().code(0);
        assert_eq!(ending(&finished), json!(["success", 0, FOUR, {"legs": 4}]));
    }
    let without = Test::new().print("go").arg("--output-format=json").reply(Reply::text(FOUR)).run().code(0);
    assert_eq!(record(&without).get("structured_output"), None);
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_once_more() {
    for (answer, problem) in [
        ("Four.", "it is not JSON: expected value at line 1 column 1"),
        (r#"{"legs":"four"}"#, "`/legs` is string, not integer"),
        (r#"{"legs":4,"tail":1}"#, "`/tail` is not allowed"),
        ("{\"legs\":", "it is not JSON: EOF while parsing a value at line 1 column 8"),
    ] {
        let finished = test()
            .reply(Reply::text(answer))
            .reply(Reply::text(FOUR))
            .run()
            .code(0)
            .stdout("{\"legs\": 4}\n");
        let asked = finished.request(1).last_text();
        assert!(asked.contains(problem) && asked.contains(SCHEMA), "{asked}");
        assert_eq!(finished.request(1).body["output_config"], format());
        finished
            .stderr_contains(&format!("{answer}\nmeanwhile: the answer does not fit the schema: {problem}"));
    }
}

#[test]
fn what_still_does_not_fit_is_printed_with_exit_code_6() {
    let again = |test: Test| test.reply(Reply::text("Four.")).reply(Reply::text("Still four.")).run().code(6);
    let finished = again(test()).stdout("Still four.\n");
    finished.stderr_contains("--json-schema: the answer does not fit: it is not JSON: expected value");
    let finished = again(test().arg("--output-format=json"));
    assert_eq!(ending(&finished), json!(["error_max_structured_output_retries", 6, "Still four.", null]));
}

#[test]
fn a_fence_around_the_answer_and_a_text_before_it_are_taken_off() {
    for answer in ["```json\n{\"legs\": 4}\n```", "A cat has four legs:\n\n{\"legs\": 4}"] {
        test().reply(Reply::text(answer)).run().code(0).stdout("{\"legs\": 4}\n");
    }
}

#[test]
fn a_server_that_refuses_them_is_asked_in_words_and_not_with_the_field_again() {
    let call = Reply::tool("bash", json!({"command": "echo seen"}));
    let finished =
        test().reply(unknown()).reply(call).reply(Reply::text(FOUR)).run().code(0).stdout("{\"legs\": 4}\n");
    for request in &finished.requests[1..] {
        assert_eq!(request.body.get("output_config"), None);
    }
    let asked = finished.request(1).last_content();
    assert_eq!(asked[0]["text"], "How many legs has a cat?");
    assert!(asked[1]["text"].as_str().unwrap().ends_with(SCHEMA), "{asked:?}");
    assert_eq!(asked.len(), 2);
    finished.stderr_contains("asking for JSON in words, since the API answered 400");
}

#[test]
fn a_server_that_refuses_them_and_a_model_that_does_not_listen_end_with_exit_code_6() {
    let finished = test().reply(unknown()).reply(Reply::text("4")).reply(Reply::text("Four.")).run().code(6);
    finished.stdout("Four.\n");
}

#[test]
fn refusals_are_known_in_the_words_of_many_servers() {
    for (status, message) in [
        (400, "output_config.format: Extra inputs are not permitted"),
        (400, "output_config.format.schema: For 'integer' type, property 'minimum' is not supported"),
        (400, "The compiled grammar is too large, which would cause performance issues."),
        (400, "Unsupported parameter: 'response_format' is not supported with this model"),
        (422, "output_config.format.type: Input should be 'json_schema'"),
        (500, "Provider returned 500: output_config: Extra inputs are not permitted"),
    ] {
        let refused = Reply::error(status, "invalid_request_error", message);
        let finished = test().reply(refused).reply(Reply::text(FOUR)).run().code(0);
        assert_eq!(finished.request(1).body.get("output_config"), None, "{message}");
    }
    let other =
        Reply::error(400, "invalid_request_error", "tools.0.custom.input_schema: JSON schema is invalid");
    test().reply(other).run().code(3).stdout("");
}

/// The scripted server refuses an open object itself, as the API does.
#[test]
fn a_schema_that_the_server_does_not_take_is_sent_once_more_with_less_in_it() {
    let open =
        r#"{"type":"object","properties":{"legs":{"type":"integer","minimum":1}},"required":["legs"]}"#;
    let test = || Test::new().allow_violations().args(["--json-schema", open]).print("go");
    let none = Reply::text(r#"{"legs":0}"#);
    let finished = test().reply(none).reply(Reply::text(FOUR)).run().code(0).stdout("{\"legs\": 4}\n");
    let schema = &finished.request(1).body["output_config"]["format"]["schema"];
    let legs = json!({"type": "integer", "description": "{\"minimum\":1}"});
    let closed = json!({"type": "object", "properties": {"legs": legs}, "required": ["legs"], "additionalProperties": false});
    assert_eq!(schema, &closed);
    assert_eq!(finished.request(1).messages(), finished.request(0).messages());
    // What was not sent is checked all the same.
    finished.stderr_contains("`/legs` violates {\"minimum\":1}; asking once more");
    let refused =
        Reply::error(400, "invalid_request_error", "output_config.format.schema: it is too complex");
    let finished = test().reply(refused).reply(Reply::text(FOUR)).run().code(0);
    assert_eq!(finished.request(2).body.get("output_config"), None);
}

#[test]
fn a_refusal_that_comes_again_is_the_end() {
    let finished = test().reply(unknown()).reply(unknown()).run().code(3).stdout("");
    finished.stderr_contains("Extra inputs are not permitted");
}

/// A server that writes JSON after a schema does not go on with a half of it.
#[test]
fn an_answer_that_was_cut_off_is_asked_for_again_with_a_longer_limit() {
    let cut = Reply::text("{\"legs\":").stop("max_tokens");
    let finished = test().reply(cut).reply(Reply::text(FOUR)).run().code(0).stdout("{\"legs\": 4}\n");
    let limit = |n: usize| finished.request(n).body["max_tokens"].as_u64().unwrap();
    assert_eq!(limit(1), 2 * limit(0));
    assert_eq!(finished.request(1).messages(), finished.request(0).messages());
    let cut = || Reply::text("{\"legs\":").stop("max_tokens");
    let words = test().reply(unknown()).reply(cut()).reply(Reply::text(" 4}")).run().code(0);
    words.stdout("{\"legs\": 4}\n");
}

#[test]
fn the_answer_after_the_last_result_counts() {
    let task = json!({"command": until("go", "eight")});
    let mut session = test()
        .reply(Reply::tool("background_run", task))
        .reply(Reply::text(FOUR))
        .reply(Reply::text("The task says eight."))
        .reply(Reply::text(r#"{"legs":8}"#))
        .spawn();
    session.close_stdin();
    session.server().wait_for_requests(2);
    session.dir().write("go", "");
    let finished = session.wait().code(0).stdout("{\"legs\":8}\n");
    assert!(finished.request(2).last_text().contains("eight"));
    assert!(finished.request(3).last_text().contains("does not fit"));
}

#[test]
fn limits_hold_where_it_is_asked_again() {
    let finished = test().args(["--max-turns", "1"]).reply(Reply::text("Four.")).run().code(4).stdout("");
    finished.stderr_contains("Four.\n").stderr_contains("--max-turns");
}

#[test]
fn a_recording_is_checked_like_a_server() {
    let finished =
        test().args(["--record", "r.jsonl"]).reply(Reply::text("4")).reply(Reply::text(FOUR)).run();
    let replayed = || Test::new().file("r.jsonl", finished.dir.read("r.jsonl")).args(["--replay", "r.jsonl"]);
    replayed().args(["--json-schema", SCHEMA]).print("go").run().code(0).stdout("{\"legs\": 4}\n");
    let other = r#"{"type":"array"}"#;
    let finished =
        replayed().args(["--json-schema", other]).print("go").run().code(6).stdout("{\"legs\": 4}\n");
    finished.stderr_contains("the answer is object, not array");
}

#[test]
fn a_summary_is_no_answer() {
    let mut test = test().arg("--context-window=10000");
    for n in 0..30 {
        let tokens = if n == 29 { 9000 } else { 100 };
        let usage = json!({"input_tokens": tokens, "output_tokens": 10});
        test = test.reply(
            Reply::tool("bash", json!({"command": "head -c 500 /dev/zero | tr '\\0' x"})).usage(usage),
        );
    }
    let finished = test.reply(Reply::text("THE SUMMARY")).reply(Reply::text(FOUR)).run().code(0);
    assert_eq!(finished.request(29).body["output_config"], format());
    assert_eq!(finished.request(30).body.get("output_config"), None);
    assert_eq!(finished.request(31).body["output_config"], format());
}

#[test]
fn the_schema_comes_from_a_file_too() {
    let test = Test::new().file("schema.json", format!("\u{feff}{SCHEMA}\n")).reply(Reply::text(FOUR));
    let finished = test.args(["--json-schema", "schema.json"]).print("go").run().code(0);
    assert_eq!(finished.request(0).body["output_config"], format());
}

#[test]
fn what_is_no_schema_is_said_before_anything_is_sent() {
    let check = |value: &str, expected: &str| {
        let test = Test::new().file("list.json", "[]").args(["--json-schema", value]).print("go");
        let finished = test.run().code(2).stdout("");
        assert_eq!(finished.requests.len(), 0);
        finished.stderr_contains(expected);
    };
    check("{", "meanwhile: --json-schema: the schema is not JSON: EOF while parsing an object");
    check("list.json", "meanwhile: --json-schema: `list.json` is not a JSON object");
    check("missing.json", "meanwhile: --json-schema: failed to read file `missing.json`: No such file");
    check(r#"{"schema":{}}"#, "the schema has the schema in its field `schema`");
    check(r#"{"type":"strin"}"#, "the schema has an invalid `type` at `#/type`: \"strin\"");
    Test::new().args(["--json-schema", SCHEMA]).run().code(2).stderr_contains("--json-schema needs -p");
}
