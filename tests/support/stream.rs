//! Event streams in the manner of the real API: deltas cut anywhere, a ping after the first event,
//! spaces before the last brace, cumulative usage in `message_delta`.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::binding::Prefix;

/// A content block of a scripted message.
pub enum Block {
    Text(String),
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    /// Without a signature of its own, it is bound to what stands before it.
    Thinking {
        thinking: String,
        signature: Option<String>,
    },
    /// Thinking that nobody can read, bound to what stands before it.
    Redacted,
    /// Any block, whole in its `content_block_start`, without a delta.
    Raw(Value),
}

impl Block {
    pub fn text(text: &str) -> Block {
        Block::Text(text.to_owned())
    }

    /// A call with an id that no other call of this test run has.
    pub fn tool(name: &str, input: Value) -> Block {
        Block::ToolUse { id: unique_id("toolu_01"), name: name.to_owned(), input }
    }

    pub fn thinking(thinking: &str) -> Block {
        Block::Thinking { thinking: thinking.to_owned(), signature: None }
    }

    /// Thinking with exactly this signature. A request that holds `binding::ELSEWHERE` is refused, as a test may want it.
    pub fn signed(thinking: &str, signature: &str) -> Block {
        Block::Thinking { thinking: thinking.to_owned(), signature: Some(signature.to_owned()) }
    }

    pub fn is_thinking(&self) -> bool {
        match self {
            Block::Thinking { .. } | Block::Redacted => true,
            Block::Raw(block) => block["type"] == "thinking" || block["type"] == "redacted_thinking",
            Block::Text(_) | Block::ToolUse { .. } => false,
        }
    }

    fn is_tool_use(&self) -> bool {
        match self {
            Block::ToolUse { .. } => true,
            Block::Raw(block) => block["type"] == "tool_use",
            Block::Text(_) | Block::Thinking { .. } | Block::Redacted => false,
        }
    }

    /// The whole block behind a prefix, as it is to be sent back.
    fn whole(&self, prefix: &Prefix) -> Value {
        match self {
            Block::Text(text) => json!({"type": "text", "text": text}),
            Block::ToolUse { id, name, input } => json!({
                "type": "tool_use", "id": id, "name": name, "input": input,
                "caller": {"type": "direct"},
            }),
            Block::Thinking { thinking, signature } => {
                let signature = signature.clone().unwrap_or_else(|| prefix.signature(thinking));
                json!({"type": "thinking", "thinking": thinking, "signature": signature})
            }
            Block::Redacted => json!({"type": "redacted_thinking", "data": prefix.signature("")}),
            Block::Raw(block) => block.clone(),
        }
    }
}

/// A block as it stands in `content_block_start`, and its deltas.
fn pieces(block: &Block, whole: &Value) -> (Value, Vec<Value>) {
    let mut start = whole.clone();
    let deltas = match block {
        Block::Text(text) => {
            start["text"] = json!("");
            words(text).map(|text| json!({"type": "text_delta", "text": text})).collect()
        }
        Block::ToolUse { input, .. } => {
            start["input"] = json!({});
            input_pieces(input)
                .map(|json| json!({"type": "input_json_delta", "partial_json": json}))
                .collect()
        }
        Block::Thinking { thinking, .. } => {
            start["thinking"] = json!("");
            let signature = start["signature"].take();
            start["signature"] = json!("");
            words(thinking)
                .map(|text| json!({"type": "thinking_delta", "thinking": text}))
                .chain([json!({"type": "signature_delta", "signature": signature})])
                .collect()
        }
        Block::Redacted | Block::Raw(_) => Vec::new(),
    };
    (start, deltas)
}

/// A scripted assistant message.
pub struct Message {
    pub blocks: Vec<Block>,
    /// `None`: what fits the blocks.
    pub stop_reason: Option<String>,
    pub usage: Value,
}

impl Message {
    pub fn new(blocks: Vec<Block>) -> Message {
        let usage = json!({
            "input_tokens": 100, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "output_tokens": 20,
        });
        Message { blocks, stop_reason: None, usage }
    }

    /// The event stream in reply to a request, one string for each event.
    pub fn events(&self, request: &Value) -> Vec<String> {
        let mut events = vec![self.message_start(&request["model"]), json!({"type": "ping"})];
        let mut prefix = Prefix::of_reply(request);
        for (index, block) in self.blocks.iter().enumerate() {
            let whole = block.whole(&prefix);
            prefix.add(&json!("assistant"), &whole);
            let (start, deltas) = pieces(block, &whole);
            events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
            events.extend(
                deltas
                    .into_iter()
                    .map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})),
            );
            events.push(json!({"type": "content_block_stop", "index": index}));
        }
        events.push(self.message_delta());
        events.push(json!({"type": "message_stop"}));
        events.iter().enumerate().map(|(n, event)| wire_form(n, event)).collect()
    }

    fn message_start(&self, model: &Value) -> Value {
        let mut usage = self.usage.clone();
        if let Some(tokens) = usage.get_mut("output_tokens") {
            *tokens = json!(1);
        }
        json!({"type": "message_start", "message": {
            "id": unique_id("msg_01"), "type": "message", "role": "assistant", "model": model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage,
        }})
    }

    fn message_delta(&self) -> Value {
        let fitting = match self.blocks.iter().any(Block::is_tool_use) {
            true => "tool_use",
            false => "end_turn",
        };
        let reason = self.stop_reason.as_deref().unwrap_or(fitting);
        let delta = json!({"stop_reason": reason, "stop_sequence": null});
        json!({"type": "message_delta", "delta": delta, "usage": self.usage})
    }
}

/// One id of its kind in the whole test run: a conversation may go on with a second server.
pub fn unique_id(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}{:06}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn wire_form(n: usize, event: &Value) -> String {
    const PADDING: [usize; 5] = [10, 0, 3, 15, 1];
    let name = event["type"].as_str().expect("every event has a type");
    if name == "ping" {
        return "event: ping\ndata: {\"type\": \"ping\"}\n\n".to_owned();
    }
    let json = event.to_string();
    let open = json.strip_suffix('}').expect("an event is an object");
    let padding = " ".repeat(PADDING[n % PADDING.len()]);
    format!("event: {name}\ndata: {open}{padding}}}\n\n")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(char::is_whitespace)
}

/// The first piece is empty, and a call without arguments has no other.
fn input_pieces(input: &Value) -> impl Iterator<Item = String> {
    const SIZE: usize = 7;
    const MOST_PIECES: usize = 40;
    let json: Vec<char> = match input.to_string() {
        empty if empty == "{}" => Vec::new(),
        json => json.chars().collect(),
    };
    let size = SIZE.max(json.len() / MOST_PIECES);
    let pieces: Vec<String> = json.chunks(size).map(String::from_iter).collect();
    std::iter::once(String::new()).chain(pieces)
}
