//! Folds the events of a stream into one assistant message, its stop reason and its usage. Pure.
//!
//! A gateway may leave out, add, repeat or spell in its own way whatever it likes. No text is lost, and what can't be
//! understood is named in an error. The blocks stand in the order in which they began; several may be
//! open at once. A delta of an unknown kind is merged into its block field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::message::{Block, named};
use super::reply::{Reply, api_error, excerpt, number};
use super::surrogates;
use super::web;
use super::whole::{End, Open, whole};
use crate::error::{Error, Result};

/// No model writes so many in one reply. (`sse` limits the bytes.)
const MOST_BLOCKS: usize = 10_000;

/// What is shown of a reply as it comes.
#[derive(Debug, Default, PartialEq)]
pub struct Shown {
    /// More of what the model thinks. Some as soon as it thinks, also where the API does not tell what.
    pub thinking: Option<String>,
    /// A line about each result of a tool that the server has run.
    pub web: Vec<String>,
    /// More of its text.
    pub text: String,
}

/// A reply that is still coming.
#[derive(Default)]
pub struct Fold {
    blocks: Vec<Open>,
    /// Where the last block that began with an index stands in `blocks`.
    places: BTreeMap<u64, usize>,
    end: End,
    is_whole: bool,
    /// An event with a text that ends in half of a character. The next event may begin with the other half.
    unfinished: Option<String>,
    /// A text was repaired, so that it is not what the model has signed.
    is_repaired: bool,
    /// The id of the message, if it has one.
    id: Option<String>,
    /// How many events have come that were not pings.
    news: u64,
    /// The first event that means nothing to this program.
    unknown: Option<String>,
}

impl Fold {
    /// Takes one event and appends what is in it to `shown`. `name` is what its field `event` says, which counts if
    /// the data names no type. Returns whether the reply is whole. Fails if the event is an error, is damaged, or
    /// can't belong to a reply.
    pub fn event(&mut self, name: &str, data: &str, shown: &mut Shown) -> Result<bool> {
        if self.blocks.len() > MOST_BLOCKS {
            return Err(Error::Protocol("it has more than 10,000 blocks".into()));
        }
        match serde_json::from_str::<Value>(data) {
            Ok(event) if self.unfinished.is_none() || event["type"] == "ping" => {
                self.take(name, event, shown)?;
            }
            _ => self.odd_event(name, data, shown)?,
        }
        Ok(self.is_whole)
    }

    /// How many events have come that were not pings.
    pub fn news(&self) -> u64 {
        self.news
    }

    /// Whether the reply has its stop reason or its end. Nothing that matters follows.
    pub fn has_ended(&self) -> bool {
        self.is_whole || self.end.stop.is_some()
    }

    /// The reply. Fails if it has not ended, and as `whole` does.
    pub fn finish(mut self) -> Result<Reply> {
        if let Some(data) = self.unfinished.take() {
            self.values("", &data, &mut Shown::default())?;
        }
        if !self.has_ended() {
            let Some(unknown) = self.unknown.filter(|_| self.blocks.is_empty()) else {
                return Err(Error::CutOff("the stream ended before `message_stop`".into()));
            };
            return Err(Error::Protocol(format!("it holds nothing that is known, but {unknown}")));
        }
        whole(self.blocks, self.end, self.is_repaired)
    }

    /// Takes an event that is no JSON as it stands, or that follows one with half of a character at its end.
    fn odd_event(&mut self, name: &str, data: &str, shown: &mut Shown) -> Result<()> {
        if name == "error" && !data.contains('{') {
            return Err(api_error(&json!({"error": {"message": excerpt(data)}})));
        }
        // Some gateways end their streams as another API does, or wrap an event twice.
        let data = data.trim().trim_start_matches("data:").trim_end_matches("[DONE]");
        let mut data = data.to_owned();
        if let Some(before) = self.unfinished.take() {
            let (before, after) = surrogates::joined(&before, &data).unwrap_or((before, data));
            self.values(name, &before, shown)?;
            data = after;
        }
        if surrogates::is_unfinished(&data) {
            self.unfinished = Some(data);
            return Ok(());
        }
        self.values(name, &data, shown)
    }

    /// Takes the events in a text, one after another: some servers do not separate them.
    fn values(&mut self, name: &str, data: &str, shown: &mut Shown) -> Result<()> {
        let repaired = surrogates::repaired(data);
        self.is_repaired |= repaired != data;
        for event in serde_json::Deserializer::from_str(&repaired).into_iter::<Value>() {
            let event = event.map_err(|err| {
                Error::CutOff(format!("a part of it is not JSON ({err}): {}", excerpt(data)))
            })?;
            self.take(name, event, shown)?;
        }
        Ok(())
    }

    fn take(&mut self, name: &str, mut event: Value, shown: &mut Shown) -> Result<()> {
        let kind = event.as_object().and_then(|event| named(event, "type")?.as_str()).unwrap_or(name);
        if kind == "ping" {
            // Servers were seen that ping without end instead of sending `message_stop`.
            self.is_whole |= self.end.stop.is_some();
            return Ok(());
        }
        self.news += 1;
        match kind {
            "message_start" => self.begin(&mut event, shown)?,
            "content_block_start" => self.start(&mut event, shown),
            "content_block_delta" => self.delta(&mut event, shown)?,
            "content_block_stop" => {
                if let Some(at) = self.place(number(&event["index"])) {
                    self.blocks[at].is_closed = true;
                }
            }
            "message_delta" => self.end.update(&event),
            "message_stop" => {
                self.end.update(&event);
                self.is_whole = true;
            }
            "error" => return Err(api_error(&event)),
            _ if event["error"].is_object() || event["error"].is_string() => return Err(api_error(&event)),
            _ if event["choices"].is_array() => {
                let text = "it is in the format of another API, chat completions; check `ANTHROPIC_BASE_URL`";
                return Err(Error::Protocol(text.into()));
            }
            // A whole message, from a server that does not stream.
            _ if event["content"].is_array() || event["content"].is_string() => {
                self.content(&mut event, shown);
                self.is_whole = true;
            }
            _ => drop(self.unknown.get_or_insert_with(|| excerpt(&event.to_string()))),
        }
        Ok(())
    }

    /// Begins the message. A gateway whose own server has failed may begin another one in the middle of it, which then
    /// takes its place. Fails if a part of its text was shown.
    fn begin(&mut self, event: &mut Value, shown: &mut Shown) -> Result<()> {
        let mut message = event["message"].take();
        let id = message["id"].as_str().map(str::to_owned);
        if !self.blocks.is_empty() && id != self.id {
            if self.blocks.iter().any(|open| open.has("text")) {
                return Err(Error::CutOff("another reply begins in the middle of it".into()));
            }
            self.blocks.clear();
            self.places.clear();
            self.end = End::default();
        }
        if self.blocks.is_empty() {
            self.content(&mut message, shown);
        }
        self.id = id;
        self.end.update(event);
        Ok(())
    }

    /// Takes what a whole message holds.
    fn content(&mut self, message: &mut Value, shown: &mut Shown) {
        match message.get_mut("content").map(Value::take) {
            Some(Value::Array(blocks)) => {
                for (index, block) in (0..).zip(blocks) {
                    self.open(index, block, shown);
                }
            }
            Some(Value::String(text)) => self.open(0, json!({"type": "text", "text": text}), shown),
            _ => {}
        }
        self.end.update(message);
    }

    fn start(&mut self, event: &mut Value, shown: &mut Shown) {
        let index = number(&event["index"]).unwrap_or(self.blocks.len() as u64);
        self.open(index, event["content_block"].take(), shown);
    }

    /// Begins a block. One with the index of an earlier block is another one, unless that begins a second time.
    fn open(&mut self, index: u64, block: Value, shown: &mut Shown) {
        let Some(block) = Block::from_value(typed(block)) else {
            return;
        };
        let before = self.places.get(&index).map(|at| &self.blocks[*at]);
        if before.is_some_and(|before| before.begins_again(&block)) {
            return;
        }
        // The texts of different blocks do not run together.
        let gap = |kind| if self.blocks.iter().any(|open| open.has(kind)) { "\n\n" } else { "" };
        if block.kind() == "text" {
            shown.text += gap("text");
            shown.text += block.str("text").unwrap_or_default();
        } else if block.is_thinking() {
            shown.think(gap("thinking"));
            shown.think(block.str("thinking").unwrap_or_default());
        } else if web::is_result(&block) {
            let call = self.blocks.iter().find(|open| open.block.str("id") == block.str("tool_use_id"));
            let input = call.and_then(|call| call.parsed_input(false).ok()).unwrap_or_default();
            shown.web.push(web::line(&block, &input));
        }
        self.places.insert(index, self.blocks.len());
        self.blocks.push(Open::new(block));
    }

    fn delta(&mut self, event: &mut Value, shown: &mut Shown) -> Result<()> {
        let index = number(&event["index"]);
        let delta = match event["delta"].take() {
            Value::Object(delta) => delta,
            Value::String(text) => Map::from_iter([("text".to_owned(), text.into())]),
            _ => return Ok(()),
        };
        let field = |name: &str| named(&delta, name).and_then(Value::as_str).unwrap_or_default();
        let kind = delta_kind(&delta);
        let open = self.block_for(index, kind, shown)?;
        match kind {
            "text_delta" => {
                let text = field("text");
                open.block.append("text", text);
                shown.text.push_str(text);
            }
            "input_json_delta" => match delta.get("partial_json") {
                Some(Value::String(piece)) => open.input.push_str(piece),
                Some(Value::Null) | None => {}
                Some(input) => open.input.push_str(&input.to_string()),
            },
            "thinking_delta" => {
                open.block.append("thinking", field("thinking"));
                shown.think(field("thinking"));
            }
            "signature_delta" => open.block.set("signature", field("signature").into()),
            "citations_delta" => {
                let citation = delta.get("citation").cloned().unwrap_or_default();
                open.block.push("citations", citation);
            }
            _ => {
                if open.block.kind() == "text" {
                    shown.text.push_str(field("text"));
                }
                open.merge(delta);
            }
        }
        Ok(())
    }

    /// Where the block with this index stands. Without an index, it is the last one.
    fn place(&self, index: Option<u64>) -> Option<usize> {
        let last = self.blocks.len().checked_sub(1);
        index.map_or(last, |index| self.places.get(&index).copied())
    }

    /// The block that a delta of this kind belongs to. If the one with its index can't hold it, begins one that can.
    /// Fails if the delta is a piece of a call, whose name nobody knows.
    fn block_for(&mut self, index: Option<u64>, delta: &str, shown: &mut Shown) -> Result<&mut Open> {
        let place = self.place(index).filter(|at| self.blocks[*at].holds(delta));
        let place = match place {
            Some(at) => at,
            None if delta == "input_json_delta" => {
                return Err(Error::Protocol("it holds a piece of a call that has not begun".into()));
            }
            None => {
                let block = match delta {
                    "thinking_delta" | "signature_delta" => json!({"type": "thinking", "thinking": ""}),
                    _ => json!({"type": "text", "text": ""}),
                };
                let at = self.blocks.len();
                self.open(index.unwrap_or(at as u64), block, shown);
                at
            }
        };
        Ok(&mut self.blocks[place])
    }
}

impl Shown {
    fn think(&mut self, thought: &str) {
        self.thinking.get_or_insert_default().push_str(thought);
    }
}

/// The block with its type. If it lacks one, its fields tell it.
fn typed(mut block: Value) -> Value {
    if let Value::Object(fields) = &mut block
        && !fields.get("type").is_some_and(Value::is_string)
    {
        let kinds = [("name", "tool_use"), ("text", "text"), ("thinking", "thinking")];
        if let Some((_, kind)) = kinds.into_iter().find(|(field, _)| fields.contains_key(*field)) {
            fields.insert("type".to_owned(), kind.into());
        }
    }
    block
}

/// The type of a delta. If it lacks one, its fields tell it.
fn delta_kind(delta: &Map<String, Value>) -> &str {
    let kinds =
        [("text", "text_delta"), ("partial_json", "input_json_delta"), ("thinking", "thinking_delta")];
    let told = || kinds.into_iter().find(|(field, _)| delta.contains_key(*field)).map(|(_, kind)| kind);
    named(delta, "type").and_then(Value::as_str).or_else(told).unwrap_or_default()
}
