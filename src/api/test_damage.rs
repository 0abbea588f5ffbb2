//! However a stream or a body is damaged, it gives an error or a message that can be sent back.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use uuid::Uuid;

use super::{
    message::Block,
    reply::Reply,
    sse::Decoder,
    test_recorded::streams,
    test_wire::{fold_pieces, message},
};
use crate::error::Error;

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

const WORDS: [&str; 31] = [
    "\"type\":",
    "\"index\":",
    "\"tool_use\"",
    "\"tool_result\"",
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

/// What is damaged: the events above, and recorded streams if there are some.
fn seeds() -> Vec<Vec<String>> {
    let mut seeds = vec![EVENTS.map(str::to_owned).to_vec()];
    for (_, stream) in streams() {
        let mut events = Vec::new();
        Decoder::default().feed(stream.as_bytes(), |_, data| events.push(data.to_owned()));
        seeds.push(events);
    }
    seeds
}

/// Drops, doubles and swaps items, or cuts the rest off.
type Shuffle = Vec<(u8, Index, Index)>;

fn shuffles() -> impl Strategy<Value = Shuffle> {
    vec((0..4u8, any::<Index>(), any::<Index>()), 0..5)
}

fn shuffle(items: &mut Vec<String>, changes: &Shuffle) {
    for (kind, at, other) in changes {
        if items.is_empty() {
            return;
        }
        let (at, other) = (at.index(items.len()), other.index(items.len()));
        match kind {
            0 => drop(items.remove(at)),
            1 => items.insert(other, items[at].clone()),
            2 => items.swap(at, other),
            _ => items.truncate(at.max(items.len() / 2)),
        }
    }
}

/// Changes some bytes: cuts the end off, replaces up to 24 bytes with a word or with themselves twice, or flips a bit.
type Damage = Vec<(u8, Index, usize, &'static str)>;

fn damages() -> impl Strategy<Value = Damage> {
    vec((0..10u8, any::<Index>(), 0..24usize, prop_oneof![Just(""), select(&WORDS[..])]), 0..5)
}

fn damage(bytes: &mut Vec<u8>, changes: &Damage) {
    for (kind, at, length, word) in changes {
        let at = at.index(bytes.len() + 1);
        let end = bytes.len().min(at + length);
        match kind {
            0 => bytes.truncate(at.max(bytes.len() / 2)),
            1 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            2 | 3 if at < bytes.len() => bytes[at] ^= 1 << (length % 8),
            4..7 => drop(bytes.splice(at..at, word.bytes())),
            _ => drop(bytes.splice(at..end, word.bytes())),
        }
    }
}

/// Puts JSON inside of an event's JSON, so deep that what is read has to be bounded somewhere.
#[derive(Debug, Clone)]
struct Nest {
    event: Index,
    depth: usize,
    brackets: (&'static str, &'static str),
    /// What it replaces. Without this, it goes into the input of a call.
    place: Option<&'static str>,
}

fn nests() -> impl Strategy<Value = Option<Nest>> {
    let brackets = select(&[("[", "]"), ("{\"a\":", "}")][..]);
    let place = proptest::option::of(select(&["{}", "null", "[]", "\"\"", "{\"a\":[1]}"][..]));
    // Around the depth at which it is refused, more often than not.
    let nest = (any::<Index>(), prop_oneof![0..140usize, 116..128usize], brackets, place);
    proptest::option::of(nest.prop_map(|(event, depth, brackets, place)| Nest {
        event,
        depth,
        brackets,
        place,
    }))
}

fn nest(events: &mut [String], nest: &Nest) {
    let Some(event) = (!events.is_empty()).then(|| nest.event.get_mut(events)) else {
        return;
    };
    let (open, close) = nest.brackets;
    let inner = format!("{}1{}", open.repeat(nest.depth), close.repeat(nest.depth));
    *event = match nest.place {
        Some(place) => event.replacen(place, &inner, 1),
        None => {
            let escaped = format!("\"{{\\\"a\\\":{}}}\"", inner.replace('"', "\\\""));
            event.replacen("\"{\\\"a\\\":[[{}]]}\"", &escaped, 1)
        }
    };
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
    assert!(!content.iter().any(|block| block.kind() == "tool_result"), "{content:?}");
    let uses: Vec<&Block> = content.iter().filter(|block| block.kind() == "tool_use").collect();
    assert_eq!(uses.len(), calls.len(), "{content:?}");
    for (block, call) in uses.iter().zip(calls) {
        assert_eq!(block.str("id").unwrap_or_default(), call.id);
        let sent = block.get("input").and_then(Value::as_object);
        assert_eq!(sent, Some(&call.input.clone().unwrap_or_default()), "{block:?}");
    }
}

/// The reply as text, without the random ids that replace missing ones.
fn described(reply: &Result<Reply, Error>) -> String {
    let calls = reply.iter().flat_map(|reply| &reply.calls);
    let made_up = calls.filter(|call| Uuid::parse_str(&call.id).is_ok());
    made_up.fold(format!("{reply:?}"), |text, call| text.replace(&call.id, "made up"))
}

proptest! {
    #[test]
    fn a_damaged_stream_gives_an_error_or_a_message(
        mut events in select(seeds()),
        shuffles in shuffles(),
        nested in nests(),
        // Half of the streams end as they should, whatever comes before.
        has_end in any::<bool>(),
        damages in damages(),
        lengths in vec(0..200usize, 0..8),
    ) {
        shuffle(&mut events, &shuffles);
        nested.iter().for_each(|nested| nest(&mut events, nested));
        events.extend(has_end.then(|| r#"{"type":"message_stop"}"#.to_owned()));
        let frame = |event: &String| format!("event: x\ndata: {event}\n\n");
        let mut stream = events.iter().map(frame).collect::<String>().into_bytes();
        damage(&mut stream, &damages);

        let (whole, shown) = fold_pieces([stream.as_slice()]);
        let (mut pieces, mut rest) = (Vec::new(), stream.as_slice());
        for length in lengths {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let (cut, shown_cut) = fold_pieces(pieces.into_iter().chain([rest]));
        assert_eq!(described(&whole), described(&cut));
        assert_eq!(shown, shown_cut);
        match &whole {
            Ok(reply) => assert_can_be_sent(reply),
            Err(err) => assert!(!err.to_string().is_empty()),
        }
    }

    #[test]
    fn a_damaged_body_gives_an_error_or_a_message(
        shuffles in shuffles(),
        nested in nests(),
        damages in damages(),
        other in proptest::option::weighted(0.1, select(&WORDS[..])),
    ) {
        let mut blocks: Vec<String> = EVENTS.iter().filter_map(|event| block(event)).collect();
        shuffle(&mut blocks, &shuffles);
        nested.iter().for_each(|nested| nest(&mut blocks, nested));
        let usage = r#"{"input_tokens":1,"output_tokens":2}"#;
        let content = blocks.join(",");
        let body =
            format!(r#"{{"type":"message","content":[{content}],"stop_reason":"end_turn","usage":{usage}}}"#);
        let mut body = other.map_or(body, str::to_owned).into_bytes();
        damage(&mut body, &damages);
        match message(&String::from_utf8_lossy(&body)) {
            Ok(reply) => assert_can_be_sent(&reply),
            Err(err) => assert!(!err.to_string().is_empty()),
        }
    }
}

/// The block that an event starts.
fn block(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).unwrap();
    Some(event.get("content_block")?.to_string())
}
