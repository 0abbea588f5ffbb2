//! Replies: streams of events, damaged in any way, give an error or a message that can be sent back.

use std::{env, fs};

use serde_json::Value;
use uuid::Uuid;

use super::{
    check,
    inputs::{bytes, chunks, damage, once_in, one, shuffle},
    random::Random,
};
use crate::{
    api::{
        fold::{Fold, fold},
        message::Block,
        reply::Reply,
        sse::Decoder,
    },
    error::Error,
};

/// A text, thinking and two calls at once, a citation, a block of a kind that is not known.
const EVENTS: [&str; 25] = [
    r#"{"type":"message_start","message":{"content":[],"role":"assistant","usage":{"input_tokens":43,"output_tokens":1}}}"#,
    r#"{"type":"ping"}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"é"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hel"}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"lo \ud83e\udd80"}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"a":[1]}}}"#,
    r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"bash","input":{}}}"#,
    r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t2","name":"read_file","input":{}}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"command\":"}}"#,
    r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"a\":[[{}]]}"}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":" \"ls\\n\"}"}}"#,
    r#"{"type":"content_block_stop","index":2}"#,
    r#"{"type":"content_block_start","index":4,"content_block":{"type":"future","z":null}}"#,
    r#"{"type":"content_block_delta","index":4,"delta":{"type":"future_delta","z":"more","y":{"x":[]}}}"#,
    r#"{"type":"content_block_start","index":5,"content_block":{"type":"redacted_thinking","data":"Q"}}"#,
    r#"{"type":"content_block_start","index":6,"content_block":{"type":"server_tool_use","id":"s","name":"w","input":{}}}"#,
    r#"{"type":"content_block_start","index":7,"content_block":{"type":"tool_use","id":"t3","name":"w","input":{"a":1}}}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9,"input_tokens":null}}"#,
    r#"{"type":"message_delta","delta":{},"usage":{"cache_read_input_tokens":18446744073709551615}}"#,
    r#"{"type":"message_stop"}"#,
];

const WORDS: [&str; 30] = [
    "\"type\":",
    "\"index\":",
    "\"tool_use\"",
    "\"text\"",
    "\"thinking\"",
    "\"text_delta\"",
    "\"input_json_delta\"",
    "\"input\":",
    "\"max_tokens\"",
    "\"error\"",
    "\"message_stop\"",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "-1",
    "1e999",
    "18446744073709551615",
    "\\u0000",
    "\\ud800",
    "\"content\":",
    "[DONE]",
    "\n\n",
];

/// What the damage starts from: the events above, and recorded streams where there are some.
fn seeds() -> Vec<Vec<String>> {
    let mut seeds = vec![EVENTS.map(str::to_owned).to_vec()];
    let folder = env::var_os("MEANWHILE_RECORDINGS");
    for entry in folder.iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let recording: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let mut events = Vec::new();
        let stream = recording["body_sse"].as_str().unwrap_or_default();
        let mut decoder = Decoder::default();
        let fed = decoder.feed(stream.as_bytes(), |data| events.push(data.to_owned()));
        fed.unwrap();
        seeds.push(events);
    }
    seeds
}

/// JSON in JSON, so deep that what is read has to be bounded somewhere.
fn nested(random: &mut Random, event: &str) -> String {
    // Around the depth at which it is refused, more often than not.
    let depth = [random.below(140), 116 + random.below(12)][random.below(2) as usize] as usize;
    let (open, close) = [("[", "]"), ("{\"a\":", "}")][random.below(2) as usize];
    let inner = format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let escaped = format!("\"{{\\\"a\\\":{}}}\"", inner.replace('"', "\\\""));
    let place = one(random, &["{}", "null", "[]", "\"\"", "{\"a\":[1]}"]);
    match once_in(random, 2) {
        true => event.replacen(place, &inner, 1),
        false => event.replacen("\"{\\\"a\\\":[[{}]]}\"", &escaped, 1),
    }
}

fn damaged(random: &mut Random, seed: &[String]) -> Vec<u8> {
    let mut events = seed.to_vec();
    shuffle(random, &mut events, 4);
    if once_in(random, 2) && !events.is_empty() {
        let event = random.below(events.len() as u64) as usize;
        events[event] = nested(random, &events[event]);
    }
    // Half of the streams end as they should, whatever comes before.
    if once_in(random, 2) {
        events.push(r#"{"type":"message_stop"}"#.into());
    }
    let frame = |event: &String| format!("event: x\ndata: {event}\n\n");
    let mut stream: Vec<u8> = events.iter().flat_map(|event| frame(event).into_bytes()).collect();
    if once_in(random, 2) {
        damage(random, &mut stream, &WORDS, 4);
    }
    stream
}

/// What goes into the history is a message that can be read again, and whose calls can be answered.
fn assert_can_be_sent(reply: &Reply) {
    let Reply { message, said, calls, usage, .. } = reply;
    let content = reply.content();
    assert_eq!(message.is_some(), !content.is_empty());
    let _ = usage.context();
    let texts: Vec<&str> =
        content.iter().filter(|block| block.kind() == "text").filter_map(|block| block.str("text")).collect();
    assert_eq!(*said, texts.join("\n\n"));
    let is_refused = |block: &Block| block.is_blank_text() || block.is_unsigned_thinking();
    assert!(!content.iter().any(is_refused), "{content:?}");
    assert!(!content.last().is_some_and(Block::is_thinking), "{content:?}");
    let uses: Vec<&Block> = content.iter().filter(|block| block.kind() == "tool_use").collect();
    assert_eq!(uses.len(), calls.len(), "{content:?}");
    for (block, call) in uses.iter().zip(calls) {
        assert_eq!(block.str("id").unwrap_or_default(), call.id);
        let sent = block.get("input").and_then(Value::as_object);
        assert_eq!(sent, Some(&call.input.clone().unwrap_or_default()), "{block:?}");
    }
}

/// What it is, whatever ids were made up for calls without one.
fn described(reply: &Result<Reply, Error>) -> String {
    let calls = reply.iter().flat_map(|reply| &reply.calls);
    let made_up = calls.filter(|call| Uuid::parse_str(&call.id).is_ok());
    made_up.fold(format!("{reply:?}"), |text, call| text.replace(&call.id, "made up"))
}

#[test]
fn a_damaged_stream_gives_an_error_or_a_message() {
    let seeds = seeds();
    check("a_damaged_stream_gives_an_error_or_a_message", 200, |random| {
        let seed = &seeds[random.below(seeds.len() as u64) as usize];
        let stream = damaged(random, seed);
        let (whole, shown) = fold([stream.as_slice()]);
        let (cut, shown_cut) = fold(chunks(random, &stream));
        assert_eq!(described(&whole), described(&cut));
        assert_eq!(shown, shown_cut);
        match &whole {
            Ok(reply) => assert_can_be_sent(reply),
            Err(err) => assert!(!err.to_string().is_empty()),
        }
    });
}

#[test]
fn a_damaged_body_gives_an_error_or_a_message() {
    check("a_damaged_body_gives_an_error_or_a_message", 300, |random| {
        let mut blocks: Vec<String> = EVENTS.iter().filter_map(|event| block(event)).collect();
        shuffle(random, &mut blocks, 4);
        if once_in(random, 3) && !blocks.is_empty() {
            blocks[0] = nested(random, &blocks[0]);
        }
        let usage = r#"{"input_tokens":1,"output_tokens":2}"#;
        let content = blocks.join(",");
        let body =
            format!(r#"{{"type":"message","content":[{content}],"stop_reason":"end_turn","usage":{usage}}}"#);
        let mut body = body.into_bytes();
        damage(random, &mut body, &WORDS, 4);
        if once_in(random, 8) {
            body = one(random, &WORDS).as_bytes().to_vec();
        }
        body.extend(bytes(random, 2));
        let Ok(body) = serde_json::from_slice(&body) else {
            return;
        };
        match Fold::message(body) {
            Ok(reply) => assert_can_be_sent(&reply),
            Err(err) => assert!(!err.to_string().is_empty()),
        }
    });
}

/// The block that an event starts.
fn block(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).unwrap();
    Some(event.get("content_block")?.to_string())
}
