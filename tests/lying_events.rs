//! Servers that lie in their events: nested, numbered, counted and ordered against all sense. The program keeps
//! its head, and the history stays one that can be sent.

use serde_json::{Value, json};

use crate::support::{Test, finished::Finished, reply::Reply, session::Session, stream::Block};

/// A stream of these events.
fn stream(events: &[Value]) -> Reply {
    let framed = events.iter().map(|event| format!("data: {event}\n\n"));
    Reply::sse(&framed.collect::<String>())
}

fn start(index: Value, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn delta(index: Value, text: &str) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}})
}

fn stop() -> Value {
    json!({"type": "message_stop"})
}

fn once(reply: Reply) -> Test {
    let test = Test::new().arg("--max-retries=0").print("go");
    test.reply(reply)
}

/// Goes on in the same session with an honest server, which refuses a history that breaks a rule.
#[track_caller]
fn goes_on(finished: Finished) {
    let again = finished.again().arg("-c").print("go on");
    again.reply(Reply::text("fine")).run().code(0).stdout("fine\n");
}

#[track_caller]
fn check_answer(events: &[Value], expected: &str) {
    let finished = once(stream(events)).run().code(0);
    assert_eq!(finished.stdout, expected, "{events:?}");
    goes_on(finished);
}

#[track_caller]
fn check_refused(reply: Reply, expected: &str) {
    let finished = once(reply).run().code(3).stderr_contains(expected);
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    goes_on(finished);
}

#[test]
fn events_in_any_order_make_the_reply_that_they_can() {
    let hello = start(json!(0), text("hello"));
    let end = json!({"type": "content_block_stop", "index": 0});
    check_refused(stream(&[stop()]), "it is empty");
    check_refused(stream(&[stop(), hello.clone(), stop()]), "it is empty");
    check_answer(&[delta(json!(0), "early"), end.clone(), hello.clone(), stop()], "early\n\nhello\n");
    check_answer(&[hello.clone(), end.clone(), end, delta(json!(0), "!"), stop()], "hello!\n");
    check_answer(&[hello.clone(), hello, stop()], "hello\n\nhello\n");
}

#[test]
fn indexes_may_be_huge_or_negative_or_none() {
    for index in
        [json!(u64::MAX), json!(-1), json!(i64::MIN), json!(1e300), json!("0"), json!(null), json!([])]
    {
        let events = [start(json!(0), text("a")), start(index.clone(), text("b")), delta(index, "c"), stop()];
        let finished = once(stream(&events)).run().code(0);
        assert!(finished.stdout.starts_with("a"), "{events:?}");
        goes_on(finished);
    }
}

#[test]
fn events_that_are_none_are_refused_or_mean_nothing() {
    for event in ["{", "nonsense", "\u{0}", "[1,]"] {
        let reply = Reply::sse(&format!("data: {event}\n\n"));
        check_refused(reply, "a part of it is not JSON");
    }
    for event in [
        json!([]),
        json!(7),
        json!("text"),
        json!(null),
        json!({}),
        json!({"type": 7}),
        json!({"type": "message_start", "message": []}),
        json!({"type": "message_delta", "delta": 7, "usage": [[]]}),
        json!({"type": "content_block_delta", "index": 0, "delta": 7}),
        start(json!(0), json!([])),
        start(json!(0), json!({"type": 7})),
        start(json!(0), json!({"type": "text", "text": {"a": 1}})),
        start(json!(0), json!({"type": "thinking", "thinking": "x", "signature": 7})),
        start(json!(0), json!({"type": "tool_result", "tool_use_id": "x"})),
    ] {
        check_answer(&[event, start(json!(1), text("hello")), stop()], "hello\n");
    }
}

#[test]
fn more_blocks_than_any_reply_has_are_refused() {
    let block = |n: u32| format!("data: {}\n\n", start(json!(n), text("x")));
    let blocks: String = (0..10_100).map(block).collect();
    check_refused(Reply::sse(&blocks), "more than 10,000 blocks");
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn nesting_overflows_no_stack_wherever_it_stands() {
    let deep = nested(100_000);
    let event = format!("data: {{\"type\":\"new\",\"x\":{deep}}}\n\n");
    check_refused(Reply::sse(&event), "recursion limit");
    let json = [("content-type", "application/json")];
    let message = format!("{{\"content\":{deep}}}");
    check_refused(Reply::raw(200, &json, &message), "recursion limit");
    let error = format!("{{\"type\":\"error\",\"error\":{{\"type\":\"x\",\"message\":{deep}}}}}");
    check_refused(Reply::raw(400, &json, &error), "the API answered 400");
    check_refused(Reply::sse(&format!("event: error\ndata: {error}\n\n")), "recursion limit");
    // It can be read once, but not again inside of a message of the session's file.
    let block = format!("{{\"type\":\"new\",\"x\":{}}}", nested(122));
    let event = start(json!(0), serde_json::from_str(&block).unwrap());
    check_refused(stream(&[event, stop()]), "more than 120 levels deep");
}

/// What a call of these pieces is answered.
#[track_caller]
fn answered(call: Value, pieces: &str) -> (String, bool) {
    let delta = json!({"type": "input_json_delta", "partial_json": pieces});
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": delta});
    let reply = stream(&[start(json!(0), call), delta, stop()]);
    let finished = once(reply).reply(Reply::text("done")).run().code(0);
    finished.request(1).tool_result(0)
}

#[test]
fn an_input_that_is_none_is_an_answer() {
    let call = json!({"type": "tool_use", "id": "t", "name": "bash", "input": {}});
    for input in [
        format!("{{\"command\":{}}}", nested(100_000)),
        nested(100_000),
        "{\"command\":\"ls".into(),
        "7".into(),
        "\0".into(),
    ] {
        let (text, is_error) = answered(call.clone(), &input);
        assert!(is_error && text.contains("is not a JSON object"), "{text}");
        assert!(text.len() < 1000, "{text}");
    }
}

#[test]
fn calls_that_the_api_would_not_take_back_leave_a_history_that_it_takes() {
    let call = |id: Value, name: Value| {
        Block::Raw(json!({"type": "tool_use", "id": id, "name": name, "input": {"command": "echo hi"}}))
    };
    for calls in [
        vec![call(json!("t"), json!("bash")), call(json!("t"), json!("bash"))],
        vec![call(json!(""), json!("bash"))],
        vec![call(json!(null), json!("bash"))],
        vec![call(json!("\u{1b}[2J"), json!("bash"))],
        vec![call(json!("u"), json!(""))],
        vec![call(json!("v"), json!(7))],
        vec![call(json!("w"), json!("\u{1b}]0;x\u{7}"))],
        vec![call(json!("x"), json!("long".repeat(100)))],
    ] {
        let count = calls.len();
        let finished = once(Reply::message(calls).stop("tool_use")).reply(Reply::text("done")).run().code(0);
        for n in 0..count {
            let (text, _) = finished.request(1).tool_result(n);
            assert!(text == "hi" || text.contains("Unknown tool"), "{text}");
        }
        goes_on(finished);
    }
}

const COUNTS: [&str; 4] =
    ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];

/// A reply that says so of each count.
fn counted(count: &Value) -> Reply {
    let usage = COUNTS.map(|name| (name.to_owned(), count.clone()));
    Reply::text("fine").usage(Value::Object(usage.into_iter().collect()))
}

#[test]
fn counts_of_tokens_may_be_anything() {
    for count in [json!(u64::MAX), json!(-1), json!(0.5), json!("7"), json!([])] {
        let test = Test::new().args(["-v", "--output-format=json"]).print("go");
        let finished = test.reply(counted(&count)).run().code(0);
        let record: Value = serde_json::from_str(&finished.stdout).unwrap();
        let text = count.as_str().and_then(|text| text.parse().ok());
        let kept = count.as_u64().or(text).unwrap_or_default();
        assert_eq!(record["usage"]["input_tokens"], kept, "{record}");
    }
    let test = Test::new().arg("--max-total-tokens=1000").print("go");
    let call = Reply::tool("bash", json!({"command": "true"}));
    let call = call.usage(json!({"input_tokens": u64::MAX, "output_tokens": u64::MAX}));
    let finished = test.reply(call).run().code(4);
    finished.stderr_contains("--max-total-tokens");
    // A context that is so full is made smaller before it is sent again.
    let mut session = Test::new()
        .reply(counted(&json!(u64::MAX)))
        .reply(Reply::text("a summary"))
        .reply(counted(&json!(u64::MAX)))
        .spawn();
    session.send_line("go");
    session.expect("fine");
    session.send_line("/usage");
    session.expect(&format!("({} tokens in", u64::MAX));
    session.send_line("go");
    session.expect("fine");
    session.close_stdin();
    session.wait().code(0);
}

/// How long the program says that it waits.
#[track_caller]
fn wait_for(retry_after: &str) -> String {
    let busy = Reply::error(429, "rate_limit_error", "slow down");
    let test = Test::new().arg("--max-retries=1").print("go");
    let busy = busy.header("retry-after", retry_after);
    let mut session: Session = test.reply(busy).spawn();
    session.close_stdin();
    session.expect_stderr("trying again in ");
    let wait = session.expect_stderr(" (1 of 1)");
    session.signal(rustix::process::Signal::INT);
    session.wait().code(130);
    wait.trim_end_matches(" (1 of 1)").to_owned()
}

#[test]
fn no_server_can_ask_for_a_wait_without_end() {
    for long in ["61", "99999999999", "1e18", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        assert_eq!(wait_for(long), "1 min 0 s", "{long}");
    }
    for nonsense in
        ["-1", "-99999999999999999999", "1e999", "18446744073709551616", "NaN", "inf", "soon", "{}"]
    {
        let wait = wait_for(nonsense);
        assert!(["0.4 s", "0.5 s"].contains(&&*wait), "{nonsense}: {wait}");
    }
}
