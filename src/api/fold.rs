//! The events of a stream, folded into one assistant message, its stop reason and its usage. Pure.
//!
//! Blocks are keyed by their index: several may be open at once. What a delta of an unknown kind
//! holds is merged into its block by field name, so that nothing the API sent is lost.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    delta::{Delta, Kind},
    message::{Block, DEEPEST},
    reply::{Reply, StopReason, ToolCall, Usage, excerpt, sendable, stream_error},
};
use crate::error::Error;

/// What an event brought.
#[derive(Debug, PartialEq)]
pub enum Step {
    Nothing,
    /// More of a text block.
    Text(String),
    /// A block after the first begins: texts of different blocks do not run together.
    NextText,
    Done,
}

/// No model writes so many in one reply; the bytes are counted before (see `sse`).
const MOST_BLOCKS: usize = 10_000;
/// Of a tool's name (<https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use>).
const LONGEST_NAME: usize = 64;

/// A reply under construction.
#[derive(Default)]
pub struct Fold {
    blocks: BTreeMap<u64, Open>,
    stop: Option<String>,
    usage: Usage,
    done: bool,
}

struct Open {
    block: Block,
    /// The pieces of a tool's input, put together. They are cut anywhere: parsed only at the end.
    input: String,
}

impl Fold {
    /// Takes one event's data. Fails when it is an error, or no JSON object.
    pub fn event(&mut self, data: &str) -> Result<Step, Error> {
        // Gateways end their streams the way another API does.
        if data.trim() == "[DONE]" {
            return Ok(Step::Nothing);
        }
        if self.blocks.len() > MOST_BLOCKS {
            return Err(Error::Protocol("it has more than 10,000 blocks".into()));
        }
        if let Some(delta) = Delta::read(data) {
            return Ok(self.add(delta));
        }
        let mut event: Value = serde_json::from_str(data).map_err(|err| {
            Error::Protocol(format!("an event is not JSON ({err}): {}", excerpt(data)))
        })?;
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.usage.update(&event["message"]["usage"]),
            "content_block_start" => return Ok(self.start(&mut event)),
            "content_block_delta" => return Ok(self.delta(&mut event)),
            "message_delta" => {
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    self.stop = Some(reason.to_owned());
                }
                self.usage.update(&event["usage"]);
            }
            "message_stop" => {
                self.done = true;
                return Ok(Step::Done);
            }
            "error" => return Err(stream_error(&event)),
            _ => {}
        }
        Ok(Step::Nothing)
    }

    fn start(&mut self, event: &mut Value) -> Step {
        let index = event["index"].as_u64().unwrap_or(self.blocks.len() as u64);
        let Some(block) = Block::from_value(event["content_block"].take()) else {
            return Step::Nothing;
        };
        let text = block.str("text").unwrap_or_default().to_owned();
        let is_text = block.kind() == "text";
        let has_text = self.blocks.values().any(|open| !open.block.is_blank_text());
        self.blocks.insert(
            index,
            Open {
                block,
                input: String::new(),
            },
        );
        match is_text {
            true if text.is_empty() && has_text => Step::NextText,
            true if !text.is_empty() => Step::Text(text),
            _ => Step::Nothing,
        }
    }

    fn add(&mut self, delta: Delta) -> Step {
        let Some(open) = self.blocks.get_mut(&delta.index) else {
            return Step::Nothing;
        };
        match delta.kind {
            Kind::Text => {
                open.block.append("text", &delta.text);
                return Step::Text(delta.text.into_owned());
            }
            Kind::Input => open.input.push_str(&delta.text),
            Kind::Thinking => open.block.append("thinking", &delta.text),
        }
        Step::Nothing
    }

    /// A delta of whatever kind and form.
    fn delta(&mut self, event: &mut Value) -> Step {
        let Some(open) = event["index"]
            .as_u64()
            .and_then(|index| self.blocks.get_mut(&index))
        else {
            return Step::Nothing;
        };
        let Value::Object(delta) = event["delta"].take() else {
            return Step::Nothing;
        };
        let field = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default();
        match field("type") {
            "text_delta" => {
                open.block.append("text", field("text"));
                return Step::Text(field("text").to_owned());
            }
            "input_json_delta" => open.input.push_str(field("partial_json")),
            "thinking_delta" => open.block.append("thinking", field("thinking")),
            "signature_delta" => open.block.set("signature", field("signature").into()),
            "citations_delta" => {
                let citation = delta.get("citation").cloned().unwrap_or_default();
                open.block.push("citations", citation);
            }
            _ => open.merge(delta),
        }
        Step::Nothing
    }

    /// The reply. Fails when `message_stop` has not come: only that makes a reply whole. Fails when a block is
    /// nested too deeply for the history. A call whose id or name the API would not take back gets another.
    pub fn finish(self) -> Result<Reply, Error> {
        if !self.done {
            let text = "the stream ended before `message_stop`";
            return Err(Error::CutOff(text.into()));
        }
        let stop = StopReason::from_name(self.stop.as_deref().unwrap_or_default());
        let last = self.blocks.keys().next_back().copied();
        let cut_off = matches!(
            stop,
            StopReason::MaxTokens | StopReason::ContextWindowExceeded
        );
        let mut calls = Vec::new();
        let mut content = Vec::new();
        for (index, open) in self.blocks {
            let (mut block, mut call) = open.close(cut_off && Some(index) == last);
            if let Some(call) = &mut call {
                let is_taken = calls.iter().any(|other: &ToolCall| other.id == call.id);
                if is_taken || !is_word(&call.id) {
                    call.id = Uuid::new_v4().to_string();
                    block.set("id", call.id.as_str().into());
                }
                if !is_word(&call.name) || call.name.len() > LONGEST_NAME {
                    block.set("name", "unknown".into());
                }
            }
            if block.is_too_deep() {
                let text = format!("a block is nested more than {DEEPEST} levels deep");
                return Err(Error::Protocol(text));
            }
            calls.extend(call);
            content.push(block);
        }
        Ok(Reply {
            content: sendable(content),
            calls,
            stop,
            usage: self.usage,
        })
    }
}

impl Open {
    fn merge(&mut self, delta: Map<String, Value>) {
        for (name, value) in delta {
            match value {
                _ if name == "type" => {}
                Value::String(text) => self.block.append(&name, &text),
                value => self.block.set(&name, value),
            }
        }
    }

    /// The finished block, and its call where it is a `tool_use`.
    fn close(mut self, cut_off: bool) -> (Block, Option<ToolCall>) {
        if !self.block.kind().ends_with("tool_use") {
            return (self.block, None);
        }
        let input = match (self.input.as_str(), self.block.get("input")) {
            (pieces, _) if cut_off => Err(pieces.to_owned()),
            // A call that sends its input whole, or has none.
            ("", Some(Value::Object(whole))) => Ok(whole.clone()),
            ("", _) => Ok(Map::new()),
            (pieces, _) => serde_json::from_str(pieces).map_err(|_| pieces.to_owned()),
        };
        self.block
            .set("input", Value::Object(input.clone().unwrap_or_default()));
        let call = (self.block.kind() == "tool_use").then(|| ToolCall {
            id: self.block.str("id").unwrap_or_default().to_owned(),
            name: self.block.str("name").unwrap_or_default().to_owned(),
            input,
        });
        (self.block, call)
    }
}

impl Reply {
    /// The reply in a body that is a whole message, from a server that does not stream.
    pub fn from_message(mut message: Value) -> Result<Reply, Error> {
        if message["type"] == "error" {
            return Err(stream_error(&message));
        }
        let mut fold = Fold {
            done: true,
            ..Fold::default()
        };
        let content = message.get_mut("content").map(Value::take);
        let Some(Value::Array(blocks)) = content else {
            let text = format!(
                "a message without content: {}",
                excerpt(&message.to_string())
            );
            return Err(Error::Protocol(text));
        };
        for (index, block) in blocks.into_iter().enumerate() {
            if let Some(block) = Block::from_value(block) {
                fold.blocks.insert(
                    index as u64,
                    Open {
                        block,
                        input: String::new(),
                    },
                );
            }
        }
        fold.stop = message["stop_reason"].as_str().map(str::to_owned);
        fold.usage.update(&message["usage"]);
        fold.finish()
    }
}

/// What the API takes back as an id or a name (it says so when it refuses one).
fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !text.is_empty() && text.bytes().all(fits)
}
