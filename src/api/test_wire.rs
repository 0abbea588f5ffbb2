//! What streams really look like, one for each fact: padding, pings, pieces cut anywhere, overlapping blocks,
//! empty and unknown things, failures in the middle of a stream, gateways.

use serde_json::{Value, json};

use super::fold::{Fold, Shown};
use super::message::Block;
use super::reply::{Reply, StopReason};
use super::sse::Decoder;
use crate::error::{Error, Result};

/// A stream of events with this data, framed as the API does it.
fn framed(events: &[&str]) -> String {
    events.iter().map(|data| format!("event: x\ndata: {data}\n\n")).collect()
}

/// The reply to a stream that comes in these pieces, and the text that is shown meanwhile.
pub fn fold_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Result<Reply>, String) {
    let (mut decoder, mut fold) = (Decoder::default(), Fold::default());
    let (mut shown, mut is_whole) = (Shown::default(), Ok(false));
    let mut each = |name: &str, data: &str| {
        if let Ok(false) = is_whole {
            is_whole = fold.event(name, data, &mut shown);
        }
    };
    for piece in pieces {
        decoder.feed(piece, &mut each);
    }
    decoder.finish(&mut each);
    (is_whole.and_then(|_| fold.finish()), shown.text)
}

/// The reply in a body that is a whole message.
pub fn message(body: &str) -> Result<Reply> {
    let mut fold = Fold::default();
    fold.event("", body, &mut Shown::default())?;
    fold.finish()
}

fn fold(stream: &str) -> Result<Reply> {
    fold_pieces([stream.as_bytes()]).0
}

const STOP: &str = r#"{"type":"message_stop"  }"#;

fn delta(stop: &str) -> String {
    json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 7}})
        .to_string()
}

/// Folds the events and then the end of a whole reply with this stop reason.
#[track_caller]
fn check(events: &[&str], stop: &str, expected: Value) -> Reply {
    let delta = delta(stop);
    let mut events = events.to_vec();
    events.extend([delta.as_str(), STOP]);
    let reply = fold(&framed(&events)).unwrap();
    let content: Value = reply.content().iter().map(|block| Value::Object(block.fields().clone())).collect();
    assert_eq!(content, expected);
    reply
}

const TEXT: &str = r#"{"content_block":{"text":"","type":"text"},"index":0,"type":"content_block_start"}"#;
const CALL: &str = r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t1","name":"bash","input":{},"caller":{"type":"direct"}}}"#;

fn text(piece: &str) -> String {
    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
        .to_string()
}

fn input(index: u64, piece: &str) -> String {
    let delta = json!({"type": "input_json_delta", "partial_json": piece});
    json!({"type": "content_block_delta", "index": index, "delta": delta}).to_string()
}

#[test]
fn padding_pings_and_the_order_of_keys_mean_nothing() {
    let ping = r#"{"type": "ping"}"#;
    let end = r#"{"index":0,"type":"content_block_stop"               }"#;
    let reply = check(
        &[ping, TEXT, ping, ping, &text("hel"), ping, &text("lo"), end],
        "end_turn",
        json!([{"text": "hello", "type": "text"}]),
    );
    assert_eq!((reply.stop, reply.usage.output), (StopReason::EndTurn, 7));
}

#[test]
fn input_comes_in_pieces_or_whole_or_not_at_all() {
    let block = |input: Value| json!([{"type": "tool_use", "id": "t1", "name": "bash", "input": input, "caller": {"type": "direct"}}]);
    check(&[CALL, &input(0, "")], "tool_use", block(json!({})));
    let pieces = ["", "{\"command\": \"", "é\\\\", "\\\"!\\\"", "\"}"];
    let pieces: Vec<String> = pieces.iter().map(|piece| input(0, piece)).collect();
    let mut events = vec![CALL];
    events.extend(pieces.iter().map(String::as_str));
    check(&events, "tool_use", block(json!({"command": "é\\\"!\""})));
    let whole = CALL.replace(r#""input":{}"#, r#""input":{"command":"ls"}"#);
    check(&[&whole], "tool_use", block(json!({"command": "ls"})));
}

#[test]
fn several_blocks_can_be_open_at_once() {
    let second = CALL.replace(r#""index":0"#, r#""index":1"#).replace("t1", "t2");
    let reply = check(
        &[CALL, &second, &input(1, r#"{"b""#), &input(0, r#"{"a":1}"#), &input(1, ":2}")],
        "tool_use",
        json!([
            {"type": "tool_use", "id": "t1", "name": "bash", "input": {"a": 1}, "caller": {"type": "direct"}},
            {"type": "tool_use", "id": "t2", "name": "bash", "input": {"b": 2}, "caller": {"type": "direct"}},
        ]),
    );
    let ids: Vec<&str> = reply.calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["t1", "t2"]);
}

#[test]
fn empty_things_are_not_sent_back() {
    check(&[], "end_turn", json!([]));
    check(&[TEXT], "end_turn", json!([]));
    check(&[TEXT, &text(" \n")], "end_turn", json!([]));
}

#[test]
fn thinking_goes_back_exactly_but_not_unsigned_and_not_last() {
    let thinking = r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#;
    let signature =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB"}}"#;
    let redacted = r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"Eu8="}}"#;
    let call = CALL.replace(r#""index":0"#, r#""index":2"#);
    let used =
        json!({"type": "tool_use", "id": "t1", "name": "bash", "input": {}, "caller": {"type": "direct"}});
    let signed = json!({"type": "thinking", "thinking": "", "signature": "EqQB"});
    let hidden = json!({"type": "redacted_thinking", "data": "Eu8="});
    check(&[thinking, signature, redacted, &call], "tool_use", json!([signed, hidden, used]));
    // The signature of what follows covers what was left out.
    check(&[thinking, redacted, &call], "tool_use", json!([used]));
    check(&[thinking, signature, redacted], "max_tokens", json!([]));
}

#[test]
fn behind_a_change_no_thinking_stays() {
    let begin = |block: Value| {
        json!({"type": "content_block_start", "index": null, "content_block": block}).to_string()
    };
    let thinking = |signature: &str| json!({"type": "thinking", "thinking": "hm", "signature": signature});
    let call = |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "bash", "input": input});
    let (first, second) = (thinking("a"), thinking("b"));
    let last = call("t2", json!({}));
    let text = json!({"type": "text", "text": "x"});
    let folded = |between: &Value| {
        let events = [&first, between, &second, &last].map(|block| begin(block.clone()));
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        fold(&framed(&[&events[..], &[STOP]].concat())).unwrap().content()
    };
    let kinds = |content: &[Block]| content.iter().map(|block| block.kind().to_owned()).collect::<Vec<_>>();
    for unchanged in [text, call("t1", json!({})), call("t1", json!({"a": 1})), json!({"type": "future"})] {
        let kind = unchanged["type"].as_str().unwrap();
        assert_eq!(kinds(&folded(&unchanged)), ["thinking", kind, "thinking", "tool_use"], "{unchanged}");
    }
    for changed in [call("a:b", json!({})), call("t1", json!("{"))] {
        assert_eq!(kinds(&folded(&changed)), ["thinking", "tool_use", "tool_use"], "{changed}");
    }
    let blank = json!({"type": "text", "text": "\n"});
    let open = json!({"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}});
    let found = json!({"type": "tool_result", "tool_use_id": "t0", "content": ""});
    for dropped in [blank, thinking(""), found] {
        assert_eq!(kinds(&folded(&dropped)), ["thinking", "tool_use"], "{dropped}");
    }
    assert_eq!(folded(&open).len(), 4, "its result comes with the next reply");
    let halves = begin(json!({"type": "text", "text": "HALF"})).replace("HALF", "\\ud83d");
    let events = [begin(first.clone()), halves, begin(second.clone()), begin(last.clone())];
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    assert_eq!(
        kinds(&fold(&framed(&[&events[..], &[STOP]].concat())).unwrap().content()),
        ["text", "tool_use"]
    );
}

#[test]
fn a_call_that_the_length_limit_has_cut_is_no_call() {
    let reply = check(
        &[CALL, &input(0, r#"{"command":"rm -rf"#)],
        "max_tokens",
        json!([{"type": "tool_use", "id": "t1", "name": "bash", "input": {}, "caller": {"type": "direct"}}]),
    );
    assert_eq!(reply.calls[0].input, Err(r#"{"command":"rm -rf"#.to_owned()));
    // A call that was cut before its first piece looks like one without arguments.
    let reply = fold(&framed(&[CALL, &delta("max_tokens"), STOP])).unwrap();
    assert!(reply.calls[0].input.is_err());
}

#[test]
fn usage_is_cumulative_and_may_lack_or_null_anything() {
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1,"cache_read_input_tokens":null,"service_tier":"x"}}}"#;
    let more = r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":5,"input_tokens":null}}"#;
    let reply = check(&[start, more], "end_turn", json!([]));
    assert_eq!((reply.usage.input, reply.usage.output, reply.usage.cache_read), (9, 7, 0));
}

#[test]
fn counts_of_tokens_stop_at_the_largest_number() {
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":18446744073709551615}}}"#;
    let mut usage = check(&[start], "end_turn", json!([])).usage;
    assert_eq!(usage.context(), u64::MAX);
    usage.add(&usage.clone());
    assert_eq!((usage.input, usage.output), (u64::MAX, 14));
}

#[test]
fn a_failure_in_mid_stream_is_an_error_and_a_reply_is_whole_only_once_it_says_so() {
    let error =
        r#"{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"} }"#;
    for events in [&[error][..], &[CALL, error], &[TEXT, error, STOP]] {
        let err = fold(&framed(events)).unwrap_err();
        assert!(matches!(&err, Error::Api { kind, retry: true, .. } if kind == "overloaded_error"), "{err}");
    }
    let stop = delta("end_turn");
    for events in [&[][..], &[TEXT]] {
        assert!(matches!(fold(&framed(events)), Err(Error::CutOff(_))));
    }
    // Nothing that matters follows the stop reason.
    let reply = fold(&framed(&[TEXT, &text("a"), &stop])).unwrap();
    assert_eq!((reply.said.as_str(), reply.stop), ("a", StopReason::EndTurn));
}

#[test]
fn a_text_comes_however_it_comes() {
    let start = |text: &str| {
        format!(r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"text"{text}}}}}"#)
    };
    let odd = r#"{"type":"content_block_delta","index":0,"delta":{"type":"future","text":"a\/"}}"#;
    let b = text("b");
    for begin in ["", r#","text":null"#, r#","text":"""#] {
        check(&[&start(begin), odd, &b], "end_turn", json!([{"type": "text", "text": "a/b"}]));
        let (_, shown) = fold_pieces([framed(&[&start(begin), odd, &b]).as_bytes()]);
        assert_eq!(shown, "a/b");
    }
    let slash = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\/b"}}"#;
    let reply = check(&[TEXT, slash], "end_turn", json!([{"text": "a/b", "type": "text"}]));
    // As `serde_json` writes it, so that a session without damage is not repaired.
    assert!(reply.message.unwrap().as_str().contains(r#""a/b""#));
}

#[test]
fn texts_of_different_blocks_do_not_run_together() {
    let start = |n: u64| {
        json!({"type": "content_block_start", "index": n, "content_block": {"type": "text", "text": format!("t{n}")}}).to_string()
    };
    let events = [start(0), start(1), STOP.to_owned()].map(|data| format!("data: {data}\n\n"));
    let (reply, shown) = fold_pieces([events.concat().as_bytes()]);
    assert_eq!(shown, "t0\n\nt1");
    assert_eq!(reply.unwrap().said, shown);
}

#[test]
fn what_could_not_be_read_back_from_the_history_is_no_reply() {
    let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let last = delta("tool_use");
    let events = |levels| framed(&[CALL, &input(0, &nested(levels)), &last, STOP]);
    assert_eq!(fold(&events(118)).unwrap().content().len(), 1);
    let err = fold(&events(119)).unwrap_err();
    assert!(matches!(err, Error::Protocol(_)), "{err}");
}

#[test]
fn gateways_frame_it_their_own_way() {
    let delta = delta("end_turn");
    let hello = text("hello");
    let stream = framed(&[TEXT, &hello, &delta, STOP]);
    let expected = fold(&stream).unwrap();
    let done = format!("{stream}event: data\ndata: [DONE]\n\n");
    assert_eq!(fold(&done).unwrap(), expected);
    assert_eq!(fold(&stream.replace('\n', "\r\n")).unwrap(), expected);
    assert_eq!(fold(&stream.replace("event: x", ": comment")).unwrap(), expected);
    assert_eq!(fold(stream.trim_end()).unwrap(), expected);
    let whole = json!({"type": "message", "model": "another", "content": [{"text": "hello", "type": "text"}],
        "stop_reason": "end_turn", "usage": {"output_tokens": 7}});
    assert_eq!(message(&whole.to_string()).unwrap(), expected);
    assert!(matches!(fold("data: <html>\n\n"), Err(Error::CutOff(_))));
    for body in ["\"content\"", "[1]", "null", "{}"] {
        assert!(matches!(message(body), Err(Error::Protocol(_))));
    }
}

#[test]
fn what_is_not_known_is_kept_as_it_came() {
    let block = r#"{"type":"content_block_start","index":0,"content_block":{"z":1,"type":"future","a":null,"words":"one"}}"#;
    let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"future_delta","words":" two","a":"x","n":[1]}}"#;
    let event = r#"{"type":"of_the_future","index":0}"#;
    check(
        &[event, block, delta],
        "end_turn",
        json!([{"z": 1, "type": "future", "a": "x", "words": "one two", "n": [1]}]),
    );
    let cited = r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"cited_text":"c"}}}"#;
    check(
        &[TEXT, cited, &text("t"), cited],
        "pause_turn",
        json!([{"text": "t", "type": "text", "citations": [{"cited_text": "c"}, {"cited_text": "c"}]}]),
    );
}
