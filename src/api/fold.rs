//! The events of a stream, folded into one assistant message, its stop reason and its usage. Pure.
//!
//! Blocks are keyed by their index: several may be open at once. What a delta of an unknown kind
//! holds is merged into its block by field name, so that nothing the API sent is lost.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use uuid::Uuid;

use super::{
    delta::{Delta, Kind},
    escaped::{escape, unescape},
    message::{Block, DEEPEST, sendable},
    open::Open,
    reply::{Reply, Said, StopReason, ToolCall, Usage, excerpt, stream_error},
};
use crate::error::Error;

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
    /// What a reply has said that is whole and was taken.
    said: Said,
}

impl Fold {
    /// Takes one event's data, and appends the text in it to `shown`. Returns whether the reply is whole. Fails
    /// when the event is an error, or no JSON object.
    pub fn event(&mut self, data: &str, shown: &mut String) -> Result<bool, Error> {
        if let Some(delta) = Delta::read(data) {
            self.add(delta, shown);
            return Ok(false);
        }
        // Gateways end their streams the way another API does.
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
                    self.stop = Some(reason.to_owned());
                }
                self.usage.update(&event["usage"]);
            }
            "message_stop" => {
                self.done = true;
            }
            "error" => return Err(stream_error(&event)),
            _ => {}
        }
        Ok(self.done)
    }

    fn start(&mut self, event: &mut Value, shown: &mut String) {
        let index = event["index"].as_u64().unwrap_or(self.blocks.len() as u64);
        let Some(block) = Block::from_value(event["content_block"].take()) else {
            return;
        };
        if block.kind() == "text" {
            let text = block.str("text").unwrap_or_default();
            // Texts of different blocks do not run together.
            if self.blocks.values().any(Open::has_text) {
                shown.push_str("\n\n");
            }
            shown.push_str(text);
        }
        self.blocks.insert(index, Open::new(block));
    }

    fn add(&mut self, delta: Delta, shown: &mut String) {
        let Some(open) = self.blocks.get_mut(&delta.index) else {
            return;
        };
        match delta.kind {
            Kind::Text => {
                open.append("text", delta.escaped);
                unescape(delta.escaped, shown);
            }
            Kind::Input => unescape(delta.escaped, &mut open.input),
            Kind::Thinking => open.append("thinking", delta.escaped),
        }
    }

    /// A delta of whatever kind and form.
    fn delta(&mut self, event: &mut Value, shown: &mut String) {
        let Some(open) = event["index"].as_u64().and_then(|index| self.blocks.get_mut(&index)) else {
            return;
        };
        let Value::Object(delta) = event["delta"].take() else {
            return;
        };
        let field = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default();
        match field("type") {
            "text_delta" => {
                open.append("text", &escape(field("text")));
                shown.push_str(field("text"));
            }
            "input_json_delta" => open.input.push_str(field("partial_json")),
            "thinking_delta" => open.append("thinking", &escape(field("thinking"))),
            "signature_delta" => open.block.set("signature", field("signature").into()),
            "citations_delta" => {
                let citation = delta.get("citation").cloned().unwrap_or_default();
                open.block.push("citations", citation);
            }
            _ => open.merge(delta),
        }
    }

    /// Takes the reply. Its text stays to be looked at, for as long as nobody has heard that it is whole.
    pub fn take(&mut self) -> Result<Reply, Error> {
        let reply = std::mem::take(self).finish()?;
        self.said = reply.said.clone();
        Ok(reply)
    }

    /// The text so far; blocks are separated by an empty line.
    pub fn text(&self) -> String {
        let mut all = self.said.to_string();
        for open in self.blocks.values().filter(|open| open.has_text()) {
            if !all.is_empty() {
                all.push_str("\n\n");
            }
            unescape(&open.grown, &mut all);
        }
        all
    }

    /// The reply in a body that is a whole message, from a server that does not stream.
    pub fn message(mut message: Value) -> Result<Reply, Error> {
        if message["type"] == "error" {
            return Err(stream_error(&message));
        }
        let mut fold = Fold { done: true, ..Fold::default() };
        let content = message.get_mut("content").map(Value::take);
        let Some(Value::Array(blocks)) = content else {
            let text = format!("a message without content: {}", excerpt(&message.to_string()));
            return Err(Error::Protocol(text));
        };
        for (index, block) in blocks.into_iter().enumerate() {
            if let Some(block) = Block::from_value(block) {
                fold.blocks.insert(index as u64, Open::new(block));
            }
        }
        fold.stop = message["stop_reason"].as_str().map(str::to_owned);
        fold.usage.update(&message["usage"]);
        fold.finish()
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
        let cut_off = matches!(stop, StopReason::MaxTokens | StopReason::ContextWindowExceeded);
        let mut calls = Vec::new();
        let mut content = Vec::new();
        for (index, mut open) in self.blocks {
            if let Some(mut call) = open.close(cut_off && Some(index) == last) {
                let is_taken = calls.iter().any(|other: &ToolCall| other.id == call.id);
                if is_taken || !is_word(&call.id) {
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
            content.push(open);
        }
        let content =
            sendable(content, |open| &open.block, |open| open.block.kind() == "text" && !open.has_text());
        let mut message = String::new();
        let mut texts = Vec::new();
        for open in content {
            texts.extend(open.write(&mut message));
        }
        let message = (!message.is_empty()).then(|| {
            message.push_str("]}");
            message.shrink_to_fit();
            Arc::new(message)
        });
        Ok(Reply {
            said: message.as_ref().map(|message| Said::new(message, texts)).unwrap_or_default(),
            message,
            calls,
            stop,
            usage: self.usage,
        })
    }
}

/// What the API takes back as an id or a name (it says so when it refuses one).
fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !text.is_empty() && text.bytes().all(fits)
}

/// What becomes of a stream that comes in these pieces, and the text that is shown on the way.
#[cfg(test)]
pub fn fold<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Result<Reply, Error>, String) {
    let (mut decoder, mut fold) = (super::sse::Decoder::default(), Fold::default());
    let (mut shown, mut is_done) = (String::new(), Ok(false));
    let mut each = |data: &str| {
        if let Ok(false) = is_done {
            is_done = fold.event(data, &mut shown);
        }
    };
    for chunk in chunks {
        decoder.feed(chunk, &mut each).unwrap();
    }
    decoder.finish(&mut each);
    (is_done.and_then(|_| fold.finish()), shown)
}
