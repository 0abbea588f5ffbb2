//! Makes a whole reply of the blocks that came: a message that the API takes back. Pure.
//!
//! What needs no change goes back as it came. The signature of a thinking block covers everything before it, so
//! behind a change no thinking stays in the message.

use std::collections::HashSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::message::{Block, DEEPEST, Message, open_server_calls};
use super::reply::{Reply, StopReason, ToolCall, Usage, refusal};
use super::surrogates;
use crate::error::{Error, Result};

/// The longest name of a tool, in bytes (<https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use>).
const LONGEST_NAME: usize = 64;

/// A block that is still coming, or about to go into the message.
pub struct Open {
    pub block: Block,
    /// The JSON of a call's input so far. Its pieces are cut anywhere, so it is parsed when the reply is whole.
    pub input: String,
    /// Its end has come.
    pub is_closed: bool,
    /// It is not what the model has sent.
    is_changed: bool,
}

/// What was said so far of the end of a reply.
#[derive(Default)]
pub struct End {
    /// None until it was said.
    pub stop: Option<StopReason>,
    pub usage: Usage,
    pub refusal: String,
}

impl End {
    /// Takes what an event or a message says of the end, in whichever of its places.
    pub fn update(&mut self, event: &Value) {
        for place in [event, &event["message"], &event["delta"]] {
            if let Some(reason) = place["stop_reason"].as_str().filter(|reason| !reason.is_empty()) {
                self.stop = Some(StopReason::from_name(reason));
            }
            if place["stop_details"].is_object() {
                self.refusal = refusal(&place["stop_details"]);
            }
            self.usage.update(&place["usage"]);
        }
    }
}

impl Open {
    /// A block that begins with these fields.
    pub fn new(block: Block) -> Open {
        Open { block, input: String::new(), is_closed: false, is_changed: false }
    }

    /// Whether it is a block of this kind with more than white space in the field of the same name.
    pub fn has(&self, kind: &str) -> bool {
        self.block.kind() == kind && self.block.str(kind).is_some_and(|text| !text.trim().is_empty())
    }

    /// Whether `block`, which begins with the same index, is this one once more: some servers begin a block with
    /// each of its deltas.
    pub fn begins_again(&self, block: &Block) -> bool {
        let is_empty = ["text", "thinking"].iter().all(|name| block.str(name).is_none_or(str::is_empty));
        let is_text = matches!(block.kind(), "text" | "thinking") && is_empty;
        let is_call = block.kind().ends_with("tool_use") && block.str("id").is_some_and(|id| !id.is_empty());
        !self.is_closed
            && block.kind() == self.block.kind()
            && (is_text || is_call && block.str("id") == self.block.str("id"))
    }

    /// Whether a delta of this kind can be a part of the block.
    pub fn holds(&self, delta: &str) -> bool {
        let kind = self.block.kind();
        match delta {
            "text_delta" => kind != "thinking" && !kind.ends_with("tool_use"),
            "thinking_delta" | "signature_delta" => kind != "text" && !kind.ends_with("tool_use"),
            "input_json_delta" => !matches!(kind, "text" | "thinking"),
            _ => true,
        }
    }

    /// Takes the fields of a delta of an unknown kind: texts are appended, the rest replaces what is there.
    pub fn merge(&mut self, delta: Map<String, Value>) {
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
        let input = self.parsed_input(is_cut_off);
        self.is_changed = input.is_err();
        self.block.set("input", Value::Object(input.clone().unwrap_or_default()));
        let is_call = self.block.kind() == "tool_use";
        let text = |name: &str| self.block.str(name).unwrap_or_default().to_owned();
        is_call.then(|| ToolCall { id: text("id"), name: text("name"), input })
    }

    fn change(&mut self, field: &str, text: &str) {
        self.block.set(field, text.into());
        self.is_changed = true;
    }

    /// The input of a call. Err with what came if that is not a JSON object or was cut off.
    pub fn parsed_input(&self, is_cut_off: bool) -> Result<Map<String, Value>, String> {
        let parse = |text: &str| {
            let parsed = serde_json::from_str(text);
            parsed.or_else(|_| serde_json::from_str(&surrogates::repaired(text))).map_err(|_| text.to_owned())
        };
        match (self.input.as_str(), self.block.get("input")) {
            (pieces, _) if is_cut_off => Err(pieces.to_owned()),
            // A call that sends its input whole, or has none.
            ("", Some(Value::Object(whole))) => Ok(whole.clone()),
            ("", Some(Value::String(whole))) if !whole.trim().is_empty() => parse(whole),
            ("", _) => Ok(Map::new()),
            // Whole, and in pieces as well.
            (pieces, Some(Value::Object(whole))) if !whole.is_empty() => parse(pieces).or(Ok(whole.clone())),
            (pieces, _) => parse(pieces),
        }
    }
}

/// Returns the reply. Fails if a block is nested too deeply for the history. A call whose id or name the API would
/// not take back gets another one. `is_repaired` says that a text is not what the model has signed.
pub fn whole(blocks: Vec<Open>, end: End, is_repaired: bool) -> Result<Reply> {
    let stop = end.stop.unwrap_or_default();
    let is_cut_off = matches!(stop, StopReason::MaxTokens | StopReason::ContextWindowExceeded);
    let count = blocks.len();
    let mut calls: Vec<ToolCall> = Vec::new();
    let mut content = Vec::new();
    for (at, mut open) in (1..).zip(blocks) {
        if let Some(mut call) = open.close(is_cut_off && at == count) {
            if !is_word(&call.id) || calls.iter().any(|other| other.id == call.id) {
                call.id = Uuid::new_v4().to_string();
                open.change("id", &call.id);
            }
            if !is_word(&call.name) || call.name.len() > LONGEST_NAME {
                open.change("name", "unknown");
            }
            calls.push(call);
        }
        if open.block.is_too_deep() {
            let text = format!("a block is nested more than {DEEPEST} levels deep");
            return Err(Error::Protocol(text));
        }
        content.push(open);
    }
    let open_calls = open_server_calls(content.iter().map(|open| &open.block));
    // The API refuses a call of its own without its result, unless that is still to come.
    let is_open = stop == StopReason::PauseTurn || !open_calls.is_empty() && !calls.is_empty();
    let refused = if is_open { HashSet::new() } else { open_calls };
    let (content, unsent) = sendable(content, &refused, is_repaired);
    let message = Message::assistant(content);
    let encoded = (!message.content.is_empty()).then(|| message.encode());
    let texts = message.content.into_iter().filter_map(Block::into_text);
    let said = texts.reduce(|said, text| said + "\n\n" + &text).unwrap_or_default();
    Ok(Reply { message: encoded, unsent, said, calls, stop, usage: end.usage, refusal: end.refusal, is_open })
}

/// Returns the blocks that the API accepts in a message of the model: no blank text, no thinking without a signature
/// (other servers send it), no thinking at the end or behind a change, no result of a tool, and none of the calls
/// in `refused`. The thinking that it does not accept follows.
fn sendable(content: Vec<Open>, refused: &HashSet<String>, is_repaired: bool) -> (Vec<Block>, Vec<Block>) {
    let mut is_intact = !is_repaired;
    let (mut blocks, mut unsent) = (Vec::new(), Vec::new());
    for Open { block, is_changed, .. } in content {
        let is_refused = block.is_blank_text()
            || block.is_unsigned_thinking()
            || block.kind() == "tool_result"
            || block.is_server_call() && refused.contains(block.str("id").unwrap_or_default());
        is_intact &= !is_refused && !is_changed;
        if !is_refused && (is_intact || !block.is_thinking()) {
            blocks.push(block);
        } else if block.is_thinking() {
            unsent.push(block);
        }
    }
    let end = blocks.iter().rposition(|block| !block.is_thinking()).map_or(0, |last| last + 1);
    unsent.extend(blocks.drain(end..));
    (blocks, unsent)
}

/// Whether the API takes this back as an id or a name; it names the rule when it refuses one.
fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !text.is_empty() && text.bytes().all(fits)
}
