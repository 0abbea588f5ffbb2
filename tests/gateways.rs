//! What a stream and its head may look like, one field after the other: whatever a gateway leaves out, adds, repeats
//! or spells in its own way is understood or named in an error, and the session goes on.

use serde_json::{Value, json};

use crate::support::{Test, reply::Reply, stream::Block};

/// What the program makes of a reply.
#[derive(Clone, Copy)]
enum Made {
    Answer(&'static str),
    /// An error in these words.
    Named(&'static str),
    /// A reply that broke off, in these words.
    BrokenOff(&'static str),
}
use Made::{Answer, BrokenOff, Named};

const STREAM: [(&str, &str); 1] = [("content-type", "text/event-stream; charset=utf-8")];

#[track_caller]
fn check_response(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>, expected: Made) {
    let body = body.as_ref();
    let shown = || format!("{headers:?}\n{}", String::from_utf8_lossy(body));
    let test = Test::new().arg("--max-retries=0").print("go").reply(Reply::raw(status, headers, body));
    let finished = test.run();
    let (code, words) = match expected {
        Answer(_) => (0, ""),
        Named(words) => (3, words),
        BrokenOff(words) => (3, words),
    };
    assert_eq!(finished.code, Some(code), "{}\nin reply to {}", finished.stderr, shown());
    assert!(finished.stderr.contains(words), "{}\nin reply to {}", finished.stderr, shown());
    let breaks_off = finished.stderr.contains("the reply broke off");
    assert_eq!(breaks_off, matches!(expected, BrokenOff(_)), "{}\nin reply to {}", finished.stderr, shown());
    if let Answer(text) = expected {
        assert_eq!(finished.stdout.trim_end(), text, "in reply to {}", shown());
    }
    let again = finished.again().arg("-c").print("go on");
    again.reply(Reply::text("fine")).run().code(0).stdout("fine\n");
}

#[track_caller]
fn check(body: impl AsRef<[u8]>, expected: Made) {
    check_response(200, &STREAM, body, expected);
}

fn framed(events: &[Value]) -> String {
    let frame =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("message"));
    events.iter().map(frame).collect()
}

#[track_caller]
fn check_events(events: &[Value], expected: Made) {
    check(framed(events), expected);
}

fn begin() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "content": [], "stop_reason": null, "usage": {"input_tokens": 9, "output_tokens": 1}}})
}

fn start(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn open(index: u64) -> Value {
    start(index, json!({"type": "text", "text": ""}))
}

fn text(index: u64, text: &str) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}})
}

fn close(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}})
}

fn stop() -> Value {
    json!({"type": "message_stop"})
}

/// A whole reply of one text.
fn hello() -> Vec<Value> {
    vec![begin(), open(0), text(0, "hel"), text(0, "lo"), close(0), end("end_turn"), stop()]
}

fn without(kind: &str) -> Vec<Value> {
    hello().into_iter().filter(|event| event["type"] != kind).collect()
}

#[test]
fn a_part_that_is_left_out() {
    for kind in
        ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    {
        check_events(&without(kind), Answer("hello"));
    }
    let neither: Vec<Value> =
        without("message_stop").into_iter().filter(|e| e["type"] != "message_delta").collect();
    check_events(&neither, BrokenOff("before `message_stop`"));
    check("", BrokenOff("it is empty"));
    check("\n\n", BrokenOff("it is empty"));
    check(": ping\n\n", BrokenOff("before `message_stop`"));
    // The name of the event, or its type.
    check(framed(&hello()).replace("event: ", "id: "), Answer("hello"));
    let unnamed: Vec<String> = hello()
        .into_iter()
        .map(|mut event| {
            let name = event["type"].take();
            event.as_object_mut().unwrap().remove("type");
            format!("event: {}\ndata: {event}\n\n", name.as_str().unwrap())
        })
        .collect();
    check(unnamed.concat(), Answer("hello"));
    let bare = json!({"type": "content_block_delta", "index": 0, "delta": {"text": "hello"}});
    check_events(&[begin(), open(0), bare, stop()], Answer("hello"));
    let bare = json!({"type": "content_block_delta", "delta": "hello"});
    check_events(&[begin(), open(0), bare, stop()], Answer("hello"));
    let untyped = start(0, json!({"text": "hello"}));
    check_events(&[begin(), untyped, stop()], Answer("hello"));
    let null = start(0, json!(null));
    check_events(&[begin(), null, text(0, "hello"), stop()], Answer("hello"));
}

#[test]
fn a_part_that_is_added_or_repeated() {
    let with = |at: usize, event: Value| {
        let mut events = hello();
        events.insert(at, event);
        events
    };
    check_events(&with(0, json!({"type": "ping"})), Answer("hello"));
    check_events(&with(3, json!({"type": "of_the_future", "text": "x"})), Answer("hello"));
    check_events(&with(3, begin()), Answer("hello"));
    check_events(&with(3, open(0)), Answer("hello"));
    check_events(&with(5, close(0)), Answer("hello"));
    check_events(&with(6, end("end_turn")), Answer("hello"));
    check_events(&with(7, stop()), Answer("hello"));
    let other = json!({"type": "message_start", "message": {"id": "msg_2", "content": []}});
    check_events(&with(2, other.clone()), Answer("hello"));
    check_events(&with(3, other), BrokenOff("another reply begins in the middle of it"));
    check(framed(&hello()) + "data: [DONE]\n\n", Answer("hello"));
    check(framed(&without("message_stop")) + "data: [DONE]\n\n", Answer("hello"));
    let pings = framed(&[json!({"type": "ping"})]).repeat(3);
    check(framed(&without("message_stop")) + &pings, Answer("hello"));
    check_events(
        &[json!({"type": "news", "text": "hello"})],
        Named("nothing that is known, but {\"type\":\"news\""),
    );
}

#[test]
fn blocks_that_are_numbered_or_ordered_in_their_own_way() {
    let two = [open(0), text(0, "one"), close(0), open(0), text(0, "two"), close(0), stop()];
    check_events(&two, Answer("one\n\ntwo"));
    check_events(&[text(0, "one"), open(0), text(0, " two"), stop()], Answer("one two"));
    check_events(&[text(7, "one"), text(7, " two"), stop()], Answer("one two"));
    let each: Vec<Value> = ["a", "b", "c"].iter().flat_map(|piece| [open(0), text(0, piece)]).collect();
    check_events(&[each, vec![stop()]].concat(), Answer("abc"));
    let numbered =
        json!({"type": "content_block_start", "index": "0", "content_block": {"type": "text", "text": ""}});
    check_events(&[numbered, text(0, "hello"), stop()], Answer("hello"));
    // A text in a block of another kind.
    let thinking = start(0, json!({"type": "thinking", "thinking": ""}));
    let thought = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}});
    check_events(&[thinking, thought.clone(), text(0, "hello"), stop()], Answer("hello"));
    check_events(&[open(0), text(0, "hel"), thought, text(0, "lo"), stop()], Answer("hel\n\nlo"));
    let piece = json!({"type": "input_json_delta", "partial_json": "{}"});
    let piece = json!({"type": "content_block_delta", "index": 0, "delta": piece});
    check_events(&[open(0), piece, stop()], Named("a piece of a call that has not begun"));
}

#[test]
fn ends_that_are_spelled_in_their_own_way() {
    for reason in ["end_turn", "END_TURN", "stop", "stop_sequence", "of_the_future"] {
        let events = [open(0), text(0, "hello"), end(reason)];
        check_events(&events, Answer("hello"));
    }
    for last in [
        json!({"type": "message_delta", "stop_reason": "end_turn"}),
        json!({"type": "message_stop", "stop_reason": "end_turn", "usage": {"output_tokens": "5"}}),
        json!({"type": "message_stop", "message": {"stop_reason": "end_turn"}}),
    ] {
        check_events(&[open(0), text(0, "hello"), last], Answer("hello"));
    }
}

#[test]
fn bytes_that_are_framed_in_their_own_way() {
    let stream = framed(&hello());
    check(stream.replace('\n', "\r\n"), Answer("hello"));
    check(stream.replace('\n', "\r"), Answer("hello"));
    check(format!("\u{feff}{stream}"), Answer("hello"));
    check(stream.replace("data: ", "data:"), Answer("hello"));
    check(stream.replace("data: ", "data: data: "), Answer("hello"));
    check(stream.replace("data: ", ": ping\nretry: 3\ndata: "), Answer("hello"));
    check(stream.trim_end(), Answer("hello"));
    check(stream.replace(",\"", ",\ndata: \""), Answer("hello"));
    // Without the empty lines, or without the fields.
    let bare = stream.replace("\n\n", "\n").replace("event: ", ": ");
    check(&bare, Answer("hello"));
    check(bare + "data: [DONE]\n", Answer("hello"));
    let lines: String = hello().iter().map(|event| format!("{event}\n")).collect();
    check(&lines, Answer("hello"));
    check(lines.replace('\n', ""), Answer("hello"));
}

#[test]
fn a_stream_that_was_damaged_or_cut_is_a_reply_that_broke_off() {
    let stream = framed(&hello());
    let last = stream.find("event: content_block_stop").unwrap();
    for at in [1, 20, 60, last / 2, last - 2, last - 20, last] {
        check(&stream[..at], BrokenOff(""));
    }
    check(stream.replace("\"text\":\"hel\"", "\"text\":\"hel"), BrokenOff("a part of it is not JSON"));
    check(stream.replace("\"text\":\"hel\"", "\"text\":hel"), BrokenOff("a part of it is not JSON"));
    check("data: <html>\n\n", BrokenOff("a part of it is not JSON"));
    let body = json!({"content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn"}).to_string();
    check(&body[..body.len() / 2], BrokenOff("a part of it is not JSON"));
}

#[test]
fn a_message_that_is_not_streamed() {
    let message = |content: Value| {
        json!({"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 2}})
    };
    let hello = message(json!([{"type": "text", "text": "hello"}])).to_string();
    for content_type in
        ["application/json", "Application/JSON; charset=utf-8", "text/event-stream", "text/plain"]
    {
        check_response(200, &[("content-type", content_type)], &hello, Answer("hello"));
    }
    check_response(200, &[], &hello, Answer("hello"));
    check(format!("\u{feff}\r\n {hello}"), Answer("hello"));
    check(format!("data: {hello}\n\n"), Answer("hello"));
    check(message(json!("hello")).to_string(), Answer("hello"));
    check(
        message(json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).to_string(),
        Answer("a\n\nb"),
    );
    check(hello.replace("hello", "a\\ud83db"), Answer("a\u{fffd}b"));
    check(hello.replace("hello", "a\u{1f980}"), Answer("a\u{1f980}"));
    check(
        [hello.replace("hello\"", "a").as_bytes(), b"\xff\"", b"}],\"stop_reason\":\"stop\"}"].concat(),
        BrokenOff(""),
    );
    let begun =
        json!({"type": "message_start", "message": message(json!([{"type": "text", "text": "hello"}]))});
    check_events(&[begun, stop()], Answer("hello"));
    for body in ["{}", "[]", "[1]", "{\"type\":\"message\",\"content\":null}"] {
        check(body, Named("nothing that is known"));
    }
}

#[test]
fn heads_that_are_spelled_in_their_own_way() {
    let stream = framed(&hello());
    for content_type in
        ["text/event-stream", "Text/Event-Stream;charset=UTF-8", "application/octet-stream", "text/plain", ""]
    {
        check_response(200, &[("content-type", content_type)], &stream, Answer("hello"));
    }
    for name in ["Content-Type", "CONTENT-TYPE"] {
        check_response(200, &[(name, "text/event-stream")], &stream, Answer("hello"));
    }
    check_response(200, &[], &stream, Answer("hello"));
    // Whoever has unpacked it may have left that in the head.
    for encoding in ["identity", "gzip", "br"] {
        check_response(200, &[("content-encoding", encoding)], &stream, Answer("hello"));
    }
    for status in [201, 203] {
        check_response(status, &STREAM, &stream, Answer("hello"));
    }
    check_response(202, &STREAM, "accepted", Named("the API answered 202 error: accepted"));
}

#[test]
fn what_is_no_reply_is_named() {
    check_response(
        200,
        &[("content-encoding", "gzip")],
        b"\x1f\x8b\x08",
        Named("its content encoding is `gzip`"),
    );
    check_response(
        200,
        &[("content-encoding", "br")],
        b"\x1b\x10\x8f",
        Named("its content encoding is `br`"),
    );
    check_response(500, &[("content-encoding", "br")], b"\x1b\x10\x8f", Named("the API answered 500"));
    check(b"\x1f\x8b\x08\0\0", Named("it is compressed"));
    check(b"\xff\xfed\0a\0t\0a\0", Named("it is not UTF-8"));
    check(b"\xfe\xff\0d\0a", Named("it is not UTF-8"));
    check(b"d\0a\0t\0a\0:\0", Named("it is not UTF-8"));
    check("<!DOCTYPE html>", Named("it is a page, not a reply"));
    check_response(
        200,
        &[("content-type", "text/plain")],
        "upstream failed",
        Named("`text/plain`: upstream failed"),
    );
    check("upstream failed", Named("it holds no event"));
    let chunk = json!({"object": "chat.completion.chunk", "choices": [{"delta": {"content": "hello"}}]});
    check(format!("data: {chunk}\n\ndata: [DONE]\n\n"), Named("chat completions"));
    check(json!({"choices": [{"message": {"content": "hello"}}]}).to_string(), Named("chat completions"));
}

#[test]
fn errors_that_are_spelled_in_their_own_way() {
    let half = framed(&[begin(), open(0), text(0, "half")]);
    for (error, expected) in [
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Busy\"}}",
            "overloaded_error: Busy",
        ),
        ("data: {\"type\":\"error\",\"error\":{\"message\":\"Busy\"}}", "its reply: Busy"),
        ("data: {\"error\":{\"message\":\"Busy\",\"code\":502}}", "its reply: Busy"),
        ("data: {\"error\":\"Busy\"}", "its reply: Busy"),
        ("event: error\ndata: {\"error\":{\"type\":\"api_error\",\"message\":\"Busy\"}}", "api_error: Busy"),
        ("event: error\ndata: Busy", "its reply: Busy"),
        (
            "event:error\n:HTTP_STATUS/429\ndata:{\"code\":\"Throttling\",\"message\":\"Busy\"}",
            "Throttling: Busy",
        ),
    ] {
        check(format!("{half}{error}\n\n"), Named(expected));
        check(format!("{error}\n\ndata: [DONE]\n\n"), Named(expected));
    }
    check(json!({"error": {"message": "Busy"}}).to_string(), Named("the API broke off its reply: Busy"));
    check_response(400, &[], json!({"error": "Busy"}).to_string(), Named("Busy"));
    check_response(400, &[], json!({"detail": "Busy"}).to_string(), Named("Busy"));
}

/// Text deltas whose JSON is written as it stands.
fn written(pieces: &[&str]) -> String {
    let delta = |piece: &&str| {
        format!(
            "data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{piece}\"}}}}\n\n"
        )
    };
    let pieces: String = pieces.iter().map(delta).collect();
    framed(&[begin(), open(0)]) + &pieces + &framed(&[close(0), end("end_turn"), stop()])
}

#[test]
fn half_of_a_character_ends_no_run() {
    for (pieces, expected) in [
        (&["a\\ud83db"][..], "a\u{fffd}b"),
        (&["a\\ude00b"], "a\u{fffd}b"),
        (&["a\\ud83d", "\\ude00b"], "a\u{1f600}b"),
        (&["\\ud83d", "\\ude00\\ud83d", "\\ude00"], "\u{1f600}\u{1f600}"),
        (&["a\\ud83d", "b"], "a\u{fffd}b"),
        (&["a\\ud83d"], "a\u{fffd}"),
        (&["a\\ud83d\\ude00b"], "a\u{1f600}b"),
        (&["\\\\ud83d"], "\\ud83d"),
    ] {
        check(written(pieces), Answer(expected));
    }
    let ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    let pinged =
        written(&["a\\ud83d", "\\ude00b"]).replace("\\ud83d\"}}\n\n", &format!("\\ud83d\"}}}}\n\n{ping}"));
    check(pinged, Answer("a\u{1f600}b"));
}

/// The calls of a reply of these events are run, with these inputs.
#[track_caller]
fn check_call(events: &[Value], expected: &str) {
    let test = Test::new().arg("--max-retries=0").print("go").reply(Reply::sse(&framed(events)));
    let finished = test.reply(Reply::text("done")).run().code(0);
    let (result, is_error) = finished.request(1).tool_result(0);
    assert_eq!((result.as_str(), is_error), (expected, false), "{events:?}");
}

#[test]
fn inputs_of_calls_that_come_in_their_own_way() {
    let call =
        |input: Value| start(0, json!({"type": "tool_use", "id": "t1", "name": "bash", "input": input}));
    let piece = |input: Value| {
        let delta = json!({"type": "input_json_delta", "partial_json": input});
        json!({"type": "content_block_delta", "index": 0, "delta": delta})
    };
    let hi = json!({"command": "echo hi"});
    for events in [
        vec![call(hi.clone())],
        vec![call(json!(hi.to_string()))],
        vec![call(json!(null)), piece(hi.clone())],
        vec![call(json!({})), piece(json!(null)), piece(json!(hi.to_string()))],
        vec![call(json!("")), piece(json!("{\"command\":")), piece(json!("\"echo hi\"}"))],
        vec![call(hi.clone()), piece(json!(hi.to_string()))],
        vec![call(hi.clone()), piece(json!("{\"comm"))],
        vec![call(hi.clone()), call(hi.clone())],
        vec![start(0, json!({"id": "t1", "name": "bash", "input": hi}))],
    ] {
        for last in [
            vec![end("tool_use"), stop()],
            vec![stop()],
            vec![end("tool_calls")],
            vec![end("end_turn"), stop()],
        ] {
            check_call(&[events.clone(), last].concat(), "hi");
        }
    }
    let halves = piece(json!("{\"command\":\"echo hi # \\ud83d\"}"));
    check_call(&[call(json!({})), halves, stop()], "hi");
}

/// The scripted server refuses thinking that is bound to something else than what is sent back.
#[test]
fn thinking_behind_a_call_with_another_id_does_not_go_back() {
    let call = |id: &str| {
        Block::Raw(json!({"type": "tool_use", "id": id, "name": "bash", "input": {"command": "echo hi"}}))
    };
    for (id, kept) in [("t1", 2), ("functions.bash:0", 1)] {
        let blocks = vec![Block::thinking("a"), call(id), Block::thinking("b"), call("t2")];
        let finished = Test::new().print("go").reply(Reply::message(blocks)).reply(Reply::text("done")).run();
        let finished = finished.code(0).stdout("done\n");
        let sent = finished.request(1).messages()[1]["content"].as_array().unwrap().clone();
        assert_eq!(sent.iter().filter(|block| block["type"] == "thinking").count(), kept, "{sent:?}");
    }
}

#[test]
fn one_session_goes_on_after_all_of_them() {
    let whole = framed(&hello());
    let mut session = Test::new().arg("--max-retries=0").spawn();
    for (body, expected) in [
        ("<html>Sign in</html>", "it is a page"),
        (&whole[..whole.len() / 2], "the reply broke off"),
        (&framed(&[stop()]), "it is empty"),
        ("event: error\ndata: Busy\n\n", "its reply: Busy"),
        (&framed(&[open(0), text(0, "half"), end("refusal"), stop()]), "the model refused to answer"),
        (&framed(&[open(0), text(0, "a call"), end("tool_use"), stop()]), "it holds none"),
        ("upstream failed", "it holds no event"),
        (&whole, "hello"),
    ] {
        session.server().push(Reply::raw(200, &STREAM, body));
        session.send_line("go");
        session.expect(expected);
    }
    session.close_stdin();
    session.wait().code(0);
}
