//! Folds the events of a stream into one assistant message, its stop reason and its usage. Pure.
//!
//! Blocks are keyed by their index: several may be open at once. A delta of an unknown kind is merged into
//! its block field by field, so that nothing the API sent is lost.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::message::{Block, DEEPEST, Message};
use super::reply::{Reply, StopReason, ToolCall, Usage, api_error, excerpt};
use crate::error::{Error, Result};

/// No model writes so many in one reply. (`sse` limits the bytes.)
const MOST_BLOCKS: usize = 10_000;
/// The longest name of a tool, in bytes (<https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use>).
const LONGEST_NAME: usize = 64;

/// A reply that is still coming.
#[derive(Default)]
pub struct Fold {
    blocks: BTreeMap<u64, Open>,
    stop: StopReason,
    usage: Usage,
    is_whole: bool,
}

/// A block that is still coming.
struct Open {
    block: Block,
    /// The JSON of a call's input so far. Its pieces are cut anywhere, so it is parsed when the reply is whole.
    input: String,
}

impl Fold {
    /// Takes one event's data and appends the text in it to `shown`. Returns whether the reply is whole. Fails
    /// if the event is an error or is not JSON.
    pub fn event(&mut self, data: &str, shown: &mut String) -> Result<bool> {
        // Some gateways end their streams as another API does.
        if data.trim() == "[DONE]" {
            return Ok(false);
        }
        if self.blocks.len() > MOST_BLOCKS {
            return Err(Error::Protocol("it has more than 10,000 blocks".into()));
        }
        let mut event: Value = serde_json::from_str(data)
            .map_err(|err| Error::Protocol(format!("an event is not JSON ({err}): {}", excerpt(data))))?;
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.usage.update(&event["message"]["usage"]),
            "content_block_start" => self.start(&mut event, shown),
            "content_block_delta" => self.delta(&mut event, shown),
            "message_delta" => {
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    self.stop = StopReason::from_name(reason);
                }
                self.usage.update(&event["usage"]);
            }
            "message_stop" => self.is_whole = true,
            "error" => return Err(api_error(&event)),
            _ => {}
        }
        Ok(self.is_whole)
    }

    fn start(&mut self, event: &mut Value, shown: &mut String) {
        let index = event["index"].as_u64().unwrap_or(self.blocks.len() as u64);
        let Some(block) = Block::from_value(event["content_block"].take()) else { return };
        if block.kind() == "text" {
            // The texts of different blocks do not run together.
            if self.blocks.values().any(Open::has_text) {
                shown.push_str("\n\n");
            }
            shown.push_str(block.str("text").unwrap_or_default());
        }
        self.blocks.insert(index, Open::new(block));
    }

    fn delta(&mut self, event: &mut Value, shown: &mut String) {
        let Some(open) = event["index"].as_u64().and_then(|index| self.blocks.get_mut(&index)) else {
            return;
        };
        let Value::Object(delta) = event["delta"].take() else { return };
        let field = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default();
        match field("type") {
            "text_delta" => {
                open.block.append("text", field("text"));
                shown.push_str(field("text"));
            }
            "input_json_delta" => open.input.push_str(field("partial_json")),
            "thinking_delta" => open.block.append("thinking", field("thinking")),
            "signature_delta" => open.block.set("signature", field("signature").into()),
            "citations_delta" => {
                let citation = delta.get("citation").cloned().unwrap_or_default();
                open.block.push("citations", citation);
            }
            _ => {
                if open.block.kind() == "text" {
                    shown.push_str(field("text"));
                }
                open.merge(delta);
            }
        }
    }

    /// The reply in a body that is a whole message, from a server that does not stream. Fails as `finish` does,
    /// and if the body is an error or has no content.
    pub fn message(mut message: Value) -> Result<Reply> {
        if message["type"] == "error" {
            return Err(api_error(&message));
        }
        let content = message.get_mut("content").map(Value::take);
        let Some(Value::Array(blocks)) = content else {
            let text = format!("a message without content: {}", excerpt(&message.to_string()));
            return Err(Error::Protocol(text));
        };
        let blocks = blocks.into_iter().filter_map(Block::from_value).map(Open::new);
        let mut fold = Fold { blocks: (0..).zip(blocks).collect(), is_whole: true, ..Fold::default() };
        fold.stop = StopReason::from_name(message["stop_reason"].as_str().unwrap_or_default());
        fold.usage.update(&message["usage"]);
        fold.finish()
    }

    /// The reply. Fails if `message_stop` has not come, which alone makes a reply whole, or if a block is nested
    /// too deeply for the history. A call whose id or name the API would not take back gets another one.
    pub fn finish(self) -> Result<Reply> {
        if !self.is_whole {
            return Err(Error::CutOff("the stream ended before `message_stop`".into()));
        }
        let last = self.blocks.keys().next_back().copied();
        let is_cut_off = matches!(self.stop, StopReason::MaxTokens | StopReason::ContextWindowExceeded);
        let mut calls: Vec<ToolCall> = Vec::new();
        let mut content = Vec::new();
        for (index, mut open) in self.blocks {
            if let Some(mut call) = open.close(is_cut_off && Some(index) == last) {
                if !is_word(&call.id) || calls.iter().any(|other| other.id == call.id) {
                    call.id = Uuid::new_v4().to_string();
                    open.block.set("id", call.id.as_str().into());
                }
                if !is_word(&call.name) || call.name.len() > LONGEST_NAME {
                    open.block.set("name", "unknown".into());
                }
                calls.push(call);
            }
            if open.block.is_too_deep() {
                let text = format!("a block is nested more than {DEEPEST} levels deep");
                return Err(Error::Protocol(text));
            }
            content.push(open.block);
        }
        let message = Message::assistant(sendable(content));
        let encoded = (!message.content.is_empty()).then(|| message.encode());
        let texts = message.content.into_iter().filter_map(Block::into_text);
        let said = texts.reduce(|said, text| said + "\n\n" + &text).unwrap_or_default();
        Ok(Reply { message: encoded, said, calls, stop: self.stop, usage: self.usage })
    }
}

impl Open {
    fn new(block: Block) -> Open {
        Open { block, input: String::new() }
    }

    fn has_text(&self) -> bool {
        self.block.kind() == "text" && !self.block.is_blank_text()
    }

    /// Takes the fields of a delta of an unknown kind: texts are appended, the rest replaces what is there.
    fn merge(&mut self, delta: Map<String, Value>) {
        for (name, value) in delta.into_iter().filter(|(name, _)| name != "type") {
            match value {
                Value::String(text) => self.block.append(&name, &text),
                value => self.block.set(&name, value),
            }
        }
    }

    /// Ends the block. Returns its call if it is a `tool_use`.
    fn close(&mut self, is_cut_off: bool) -> Option<ToolCall> {
        if !self.block.kind().ends_with("tool_use") {
            return None;
        }
        let input = match (self.input.as_str(), self.block.get("input")) {
            (pieces, _) if is_cut_off => Err(pieces.to_owned()),
            // A call that sends its input whole, or has none.
            ("", Some(Value::Object(whole))) => Ok(whole.clone()),
            ("", _) => Ok(Map::new()),
            (pieces, _) => serde_json::from_str(pieces).map_err(|_| pieces.to_owned()),
        };
        self.block.set("input", Value::Object(input.clone().unwrap_or_default()));
        (self.block.kind() == "tool_use").then(|| ToolCall {
            id: self.block.str("id").unwrap_or_default().to_owned(),
            name: self.block.str("name").unwrap_or_default().to_owned(),
            input,
        })
    }
}

/// Returns the blocks that the API accepts in a message of the model: no blank text, no thinking without a signature
/// (other servers send it), no thinking at the end, and no result of a tool.
fn sendable(mut content: Vec<Block>) -> Vec<Block> {
    let is_refused = |block: &Block| block.is_blank_text() || block.is_unsigned_thinking();
    content.retain(|block| !is_refused(block) && block.kind() != "tool_result");
    while content.last().is_some_and(Block::is_thinking) {
        content.pop();
    }
    content
}

/// Whether the API takes this back as an id or a name; it names the rule when it refuses one.
fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !text.is_empty() && text.bytes().all(fits)
}
