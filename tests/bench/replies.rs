//! The answers of the server, ready to be written.

use serde_json::{Value, json};

use crate::{
    plain::{chunked, message},
    stream::{Block, Message},
};

/// A whole answer.
pub fn text(text: &str) -> Vec<u8> {
    message(&Message::new(vec![Block::text(text)]))
}

/// An answer with these calls.
pub fn calls(calls: impl IntoIterator<Item = (&'static str, Value)>) -> Vec<u8> {
    let calls = calls.into_iter().map(|(name, input)| Block::tool(name, input));
    message(&Message::new(calls.collect()))
}

pub fn call(name: &'static str, input: Value) -> Vec<u8> {
    calls([(name, input)])
}

/// A text in so many deltas of 20 bytes, one of three with a character that JSON escapes, and then a call,
/// so that a request follows.
pub fn deltas(count: usize) -> Vec<u8> {
    const TEXTS: [&str; 3] = ["twenty bytes, plain.", " more of \"quoted\", o", "a line and its end.\n"];
    let blocks = vec![
        Block::Raw(json!({"type": "text", "text": ""})),
        Block::tool("read_file", json!({"path": "small.txt"})),
    ];
    let mut events = Message::new(blocks).events(&"test-model".into());
    // After the start of the first block, which is empty: its deltas.
    let at = 1 + events
        .iter()
        .position(|event| event.contains("content_block_start"))
        .expect("the message has a block");
    let delta = |n: usize| {
        let delta = json!({"type": "text_delta", "text": TEXTS[n % TEXTS.len()]});
        let data = json!({"type": "content_block_delta", "index": 0, "delta": delta});
        format!("event: content_block_delta\ndata: {data}\n\n")
    };
    events.splice(at..at, (0..count).map(delta));
    chunked(&events)
}
