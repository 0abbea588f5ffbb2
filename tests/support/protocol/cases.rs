//! Good and bad requests, each bad one as a small change to a good one.

use serde_json::{Value, json};

use super::{unauthorized, violation};
use crate::support::binding::{ELSEWHERE, Prefix, mismatch};

/// `expected` is a part of the violation; empty for a good request.
#[track_caller]
fn check(body: &Value, expected: &str) {
    let headers = headers(&[]);
    let found = violation(&headers, body).unwrap_or_default();
    let same = if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
    assert!(same, "expected: {expected:?}\nfound:    {found:?}\nrequest:  {body:#}");
}

/// A good request with one top-level field changed; `null` removes it.
#[track_caller]
fn check_field(name: &str, value: Value, expected: &str) {
    let mut body = request(json!([user("hi")]));
    body[name] = value;
    body.as_object_mut().expect("a request is an object").retain(|_, value| !value.is_null());
    check(&body, expected);
}

/// A conversation in which the assistant says `said` and the user answers `answer`.
#[track_caller]
fn check_turn(said: Value, answer: Value, expected: &str) {
    let said = json!({"role": "assistant", "content": said});
    let answer = json!({"role": "user", "content": answer});
    check(&request(json!([user("hi"), said, answer])), expected);
}

fn headers(changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut headers = vec![("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    headers.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    headers.extend(changes);
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn request(messages: Value) -> Value {
    json!({"model": "m", "max_tokens": 1, "stream": true, "messages": messages})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "bash", "input": {}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "ok"})
}

/// A block with one field changed.
fn with(mut block: Value, name: &str, value: Value) -> Value {
    block[name] = value;
    block
}

#[test]
fn the_key_comes_in_exactly_one_header() {
    for good in [("x-api-key", "k"), ("authorization", "Bearer k")] {
        assert_eq!(unauthorized(&headers(&[good])), None);
    }
    let both = [("x-api-key", "k"), ("authorization", "Bearer k")];
    assert!(unauthorized(&headers(&both)).is_some());
    for bad in [&[][..], &[("x-api-key", "")], &[("authorization", "k")]] {
        assert!(unauthorized(&headers(bad)).is_some(), "{bad:?}");
    }
}

#[test]
fn the_headers_name_the_version_and_the_type() {
    let body = request(json!([user("hi")]));
    for (name, value) in [("anthropic-version", "2024-01-01"), ("content-type", "text/plain")] {
        let found = violation(&headers(&[(name, value)]), &body).unwrap_or_default();
        assert!(found.starts_with(name), "{found}");
    }
    let charset = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(violation(&headers(&charset), &body), None);
}

#[test]
fn top_level_fields() {
    check(&Value::Null, "not a JSON object");
    check_field("stream", json!(true), "");
    check_field("model", json!(""), "model");
    check_field("model", Value::Null, "model");
    check_field("max_tokens", json!(0), "max_tokens");
    check_field("max_tokens", json!(1.5), "max_tokens");
    check_field("stream", json!("yes"), "stream");
    check_field("temperature", json!(1), "temperature");
    check_field("top_k", json!(1), "top_k");
    check_field("surprise", json!(1), "request.surprise: extra inputs");
    check_field("system", json!("be good"), "");
    check_field("system", json!([text("be good")]), "");
    check_field("system", json!([text("")]), "system.0.text");
    check_field("system", json!(1), "system");
}

#[test]
fn tools() {
    let tool = json!({"name": "bash", "description": "d", "input_schema": {"type": "object"}});
    let changed = |name: &str, value: Value| json!([with(tool.clone(), name, value)]);
    check_field("tools", json!([tool]), "");
    check_field("tools", changed("type", json!("custom")), "");
    check_field("tools", json!([tool, tool]), "not unique");
    check_field("tools", changed("name", json!("a b")), "tools.0.name");
    check_field("tools", changed("name", json!("a".repeat(65))), "tools.0.name");
    check_field("tools", changed("input_schema", json!({"type": "array"})), "input_schema");
    check_field("tools", changed("surprise", json!(1)), "tools.0.surprise");
    check_field("tools", json!({}), "tools: must be an array");
}

#[test]
fn tools_of_the_server() {
    let search = json!({"type": "web_search_20260318", "name": "web_search"});
    let changed = |name: &str, value: Value| json!([with(search.clone(), name, value)]);
    check_field("tools", json!([search, {"type": "web_fetch_20260318", "name": "web_fetch"}]), "");
    check_field("tools", changed("type", json!("web_search_20250305")), "");
    check_field("tools", changed("cache_control", json!({"type": "ephemeral"})), "");
    check_field("tools", changed("type", json!("web_search")), "tools.0.type");
    check_field("tools", changed("type", json!("bash_20250124")), "tools.0.type");
    check_field("tools", changed("name", json!("search")), "tools.0.name");
    check_field("tools", changed("input_schema", json!({"type": "object"})), "tools.0.input_schema");
}

#[test]
fn thinking_and_effort() {
    let thinking = |value: Value, expected: &str| {
        let mut body = with(request(json!([user("hi")])), "max_tokens", json!(2000));
        body["thinking"] = value;
        check(&body, expected);
    };
    thinking(json!({"type": "adaptive", "display": "summarized"}), "");
    thinking(json!({"type": "disabled"}), "");
    thinking(json!({"type": "enabled", "budget_tokens": 1999}), "");
    thinking(json!({"type": "enabled", "budget_tokens": 2000}), "must be greater");
    thinking(json!({"type": "enabled", "budget_tokens": 1023}), "at least 1024");
    thinking(json!({"type": "enabled"}), "at least 1024");
    thinking(json!({"type": "disabled", "display": "summarized"}), "thinking.display");
    thinking(json!({"type": "adaptive", "display": "full"}), "thinking.display");
    thinking(json!({"type": "on"}), "thinking.type");
    let mut body = with(
        request(json!([user("a"), {"role": "assistant", "content": [call("t1")]}])),
        "max_tokens",
        json!(2000),
    );
    body["messages"]
        .as_array_mut()
        .expect("an array")
        .push(json!({"role": "user", "content": [result("t1")]}));
    body["thinking"] = json!({"type": "adaptive"});
    check(&body, "");
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    check(&body, "messages.1.content.0.type: Expected `thinking`");
    let effort = |effort: &str| json!({"effort": effort});
    check_field("output_config", effort("xhigh"), "");
    check_field("output_config", effort("extreme"), "output_config.effort");
    check_field("output_config", json!({"size": 1}), "output_config.size");
    let mut body = with(request(json!([user("hi")])), "thinking", json!({"type": "disabled"}));
    body["output_config"] = effort("max");
    check(&body, "needs thinking");
}

#[test]
fn the_schema_of_an_answer() {
    let format = |schema: Value, expected: &str| {
        check_field(
            "output_config",
            json!({"effort": "low", "format": {"type": "json_schema", "schema": schema}}),
            expected,
        );
    };
    let closed = |properties: Value| json!({"type": "object", "properties": properties, "additionalProperties": false});
    format(closed(json!({"minimum": {"type": "integer"}})), "");
    format(json!({"type": "array", "items": closed(json!({}))}), "");
    format(json!(true), "schema: must be an object");
    format(json!({"type": "object"}), "additionalProperties");
    format(closed(json!({"a": {"anyOf": [{"type": "object"}]}})), "properties.a.anyOf.0");
    format(
        json!({"type": "array", "items": {"type": "integer", "minimum": 1}}),
        "`minimum` is not supported",
    );
}

#[test]
fn roles_alternate_and_the_user_is_first_and_last() {
    let assistant = json!({"role": "assistant", "content": "hello"});
    check_field("messages", json!([user("a"), assistant, user("b")]), "");
    check_field("messages", json!([]), "at least one");
    check_field("messages", Value::Null, "messages");
    check_field("messages", json!([assistant, user("a")]), "messages.0.role");
    check_field("messages", json!([user("a"), user("b"), user("c")]), "messages.1.role");
    check_field("messages", json!([user("a"), assistant]), "the last one");
    check_field("messages", json!([with(user("a"), "id", json!(1))]), "messages.0.id");
}

#[test]
fn a_paused_turn_may_be_last() {
    let pause = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}});
    let said = |content: Value| json!({"role": "assistant", "content": content});
    check_field("messages", json!([user("a"), said(json!([pause]))]), "");
    let open_call = said(json!([call("t1"), pause]));
    check_field("messages", json!([user("a"), open_call]), "the last one");
}

#[test]
fn text_is_never_blank() {
    check_field("messages", json!([user("")]), "non-empty");
    check_field("messages", json!([user(" \n")]), "non-whitespace");
    check_turn(json!([text("a"), text("\n")]), json!("b"), "messages.1.content.1.text");
    check_turn(json!([text("a")]), json!([]), "non-empty array");
    check_turn(json!([text("a")]), Value::Null, "non-empty array");
    check_turn(json!([text("a")]), json!([with(text("b"), "x", json!(1))]), "content.0.x");
    check_turn(json!([text("a")]), json!(["b"]), "must be an object");
}

#[test]
fn every_call_has_its_result() {
    let calls = json!([text("a"), call("t1"), call("t2")]);
    check_turn(calls.clone(), json!([result("t2"), result("t1"), text("b")]), "");
    check_turn(calls.clone(), json!([result("t1")]), "`t2` without its tool_result");
    check_turn(calls.clone(), json!("b"), "`t1` without its tool_result");
    let twice = json!([result("t1"), result("t2"), result("t1")]);
    check_turn(calls.clone(), twice, "two tool_results");
    let late = json!([result("t1"), text("b"), result("t2")]);
    check_turn(calls, late, "before other blocks");
    check_turn(json!("a"), json!([result("t1")]), "without its tool_use");
    check_turn(json!([call("t1"), call("t1")]), json!([result("t1")]), "not unique");
    check_field("messages", json!([{"role": "user", "content": [result("t1")]}]), "without its");
}

#[test]
fn ids_are_unique_in_the_whole_conversation() {
    let said = json!({"role": "assistant", "content": [call("t1")]});
    let answer = json!({"role": "user", "content": [result("t1")]});
    check(&request(json!([user("hi"), said, answer, said, answer])), "not unique");
}

#[test]
fn calls_and_results_are_well_formed() {
    let answer = json!([result("t1")]);
    let bad_call = |name: &str, value: Value| json!([with(call("t1"), name, value)]);
    check_turn(bad_call("caller", json!({"type": "direct"})), answer.clone(), "");
    check_turn(bad_call("id", json!("a b")), answer.clone(), "content.0.id");
    check_turn(bad_call("name", json!("")), answer.clone(), "content.0.name");
    check_turn(bad_call("input", json!("{}")), answer.clone(), "content.0.input");
    check_turn(bad_call("index", json!(0)), answer, "content.0.index");
    let said = json!([call("t1")]);
    let changed = |name: &str, value: Value| json!([with(result("t1"), name, value)]);
    check_turn(said.clone(), changed("content", json!([text("a")])), "");
    check_turn(said.clone(), changed("content", json!("")), "");
    check_turn(said.clone(), changed("content", json!(1)), "content.0.content");
    check_turn(said.clone(), changed("content", json!([text("")])), "content.0.content.0.text");
    check_turn(said.clone(), changed("content", json!([call("x")])), "not allowed in a tool_result");
    check_turn(said.clone(), changed("is_error", json!("no")), "is_error");
    check_turn(said.clone(), changed("name", json!("bash")), "content.0.name");
    let silent = with(with(result("t1"), "content", json!("")), "is_error", json!(true));
    check_turn(said, json!([silent]), "cannot be empty");
}

#[test]
fn blocks_stand_where_they_may() {
    let server = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}});
    check_turn(json!([server.clone(), text("a")]), json!("b"), "");
    check_turn(json!("a"), json!([server]), "not allowed in a message of role user");
    check_turn(json!([result("t1")]), json!("b"), "not allowed in a message of role assistant");
    let data = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    let picture = |source: Value| json!([{"type": "image", "source": source}]);
    check_turn(json!("a"), picture(data.clone()), "");
    check_turn(json!([call("t1")]), json!([with(result("t1"), "content", picture(data.clone()))]), "");
    check_turn(json!("a"), picture(json!({})), "source");
    check_turn(json!("a"), picture(with(data.clone(), "media_type", json!("image/tiff"))), "media_type");
    check_turn(json!("a"), picture(with(data.clone(), "data", json!("AA"))), "no base64");
    check_turn(
        json!("a"),
        picture(with(data, "data", json!("A".repeat(5 * 1024 * 1024 + 4)))),
        "exceeds 5 MB",
    );
}

#[test]
fn thinking_is_signed_and_never_last() {
    let thought = json!({"type": "thinking", "thinking": "", "signature": "s"});
    let redacted = json!({"type": "redacted_thinking", "data": "x"});
    check_turn(json!([thought, redacted, text("a")]), json!("b"), "");
    check_turn(json!([text("a"), thought]), json!("b"), "must not be thinking");
    check_turn(json!([text("a"), redacted]), json!("b"), "must not be thinking");
    let unsigned = with(thought.clone(), "signature", json!(""));
    check_turn(json!([unsigned, text("a")]), json!("b"), "signature");
    let marked = with(thought, "cache_control", json!({"type": "ephemeral"}));
    check_turn(json!([marked, text("a")]), json!("b"), "cache_control");
}

#[test]
fn cache_markers_are_few_and_exact() {
    let marked = |marker: Value| with(text("a"), "cache_control", marker);
    let system = |marks: &[Value]| json!(marks.iter().cloned().map(marked).collect::<Vec<_>>());
    let plain = json!({"type": "ephemeral"});
    let long = json!({"type": "ephemeral", "ttl": "1h"});
    check_field("system", system(&[long.clone(), plain.clone()]), "");
    check_field("system", system(&vec![plain.clone(); 5]), "5 markers");
    check_field("system", system(&[plain, long]), "1h must not come after 5m");
    check_field("system", system(&[json!({"type": "permanent"})]), "cache_control.type");
    check_field("system", system(&[json!({"type": "ephemeral", "ttl": "2h"})]), "ttl");
    check_field("system", system(&[json!({"type": "ephemeral", "scope": 1})]), "scope");
    check_field("system", system(&[Value::Null]), "cache_control");
}

/// A conversation whose reply and whose call are behind thinking, bound to what a request with `user("hi")` holds.
fn bound() -> Value {
    let mut body = request(json!([user("hi")]));
    body["system"] = json!([text("be good")]);
    body["tools"] = json!([{"name": "bash", "input_schema": {"type": "object"}}]);
    let mut prefix = Prefix::of_reply(&body);
    let mut said = Vec::new();
    for thought in ["one", "two"] {
        let thinking =
            json!({"type": "thinking", "thinking": thought, "signature": prefix.signature(thought)});
        let hidden = json!({"type": "redacted_thinking", "data": prefix.signature("")});
        let block = if thought == "one" { thinking } else { hidden };
        prefix.add(&json!("assistant"), &block);
        said.extend([block, text("words")]);
        prefix.add(&json!("assistant"), &text("words"));
    }
    let messages = body["messages"].as_array_mut().expect("an array");
    messages.push(json!({"role": "assistant", "content": said}));
    messages.push(user("more"));
    body
}

#[test]
fn thinking_is_bound_to_all_that_stood_before_it() {
    /// What is refused first, if anything, after a change.
    fn refused(change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut body = bound();
        change(&mut body);
        mismatch(&body).map(|mismatch| mismatch.message)
    }
    let first = "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different \
                 conversation.";
    let second = "messages.1.content.2: Invalid `data` in `redacted_thinking` block. The block is bound to a different \
                  conversation.";
    let fits: [fn(&mut Value); 6] = [
        |_| {},
        |body| body["system"][0]["cache_control"] = json!({"type": "ephemeral"}),
        |body| body["messages"][0]["content"] = json!([text("hi")]),
        |body| body["messages"][2] = user("something else"),
        |body| body["max_tokens"] = json!(7),
        |body| body["messages"][1]["content"].as_array_mut().expect("an array").truncate(2),
    ];
    for change in fits {
        assert_eq!(refused(change), None);
    }
    let breaks: [fn(&mut Value); 5] = [
        |body| body["system"][0]["text"] = json!("be bad"),
        |body| body["tools"][0]["name"] = json!("sh"),
        |body| body["messages"][0] = user("hi!"),
        |body| body["messages"][0]["content"] = json!([text("hi"), text("notice")]),
        |body| body["messages"][1]["content"][0]["thinking"] = json!(""),
    ];
    for change in breaks {
        assert_eq!(refused(change).as_deref(), Some(first));
    }
    let breaks_second: [fn(&mut Value); 2] = [
        |body| body["messages"][1]["content"][1]["text"] = json!("others"),
        |body| drop(body["messages"][1]["content"].as_array_mut().expect("an array").remove(0)),
    ];
    let places = [second.to_owned(), second.replace(".2:", ".1:")];
    for (change, place) in breaks_second.into_iter().zip(places) {
        assert_eq!(refused(change), Some(place));
    }
}

#[test]
fn a_test_may_want_thinking_to_be_refused() {
    let mut body = bound();
    body["messages"][1]["content"][0]["signature"] = json!(ELSEWHERE);
    assert!(mismatch(&body).is_some_and(|mismatch| mismatch.is_wanted));
    body["messages"][1]["content"][0]["signature"] = json!("bound-x");
    assert!(mismatch(&body).is_some_and(|mismatch| !mismatch.is_wanted));
    body["messages"][1]["content"] =
        json!([{"type": "thinking", "thinking": "", "signature": "recorded"}, text("a")]);
    assert_eq!(mismatch(&body), None);
}
