//! A whole reply: what goes into the history, the calls, the stop reason and the usage. Pure.

use std::{fmt, ops::Range, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    escaped::{self, Pieces},
    message::{Block, Message},
    retry,
};
use crate::error::Error;

/// A whole reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What goes into the history, as JSON. None when the model had nothing to say.
    pub message: Option<Arc<String>>,
    /// The text in it.
    pub said: Said,
    pub calls: Vec<ToolCall>,
    pub stop: StopReason,
    pub usage: Usage,
}

/// A tool call of the reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// Err with what came instead, when that is no JSON object or was cut off.
    pub input: Result<Map<String, Value>, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StopReason {
    EndTurn,
    ToolUse,
    MaxTokens,
    StopSequence,
    PauseTurn,
    Refusal,
    ContextWindowExceeded,
    /// One that is not known here, or none.
    Other(String),
}

/// Tokens, as the API counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
}

/// What the model has said, in one reply or in several on end. It is held once, in the messages of the history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
struct Part {
    /// What parts it from the text before.
    between: &'static str,
    message: Arc<String>,
    /// Where it stands, with its escapes.
    place: Range<usize>,
}

impl Reply {
    /// The blocks of the message.
    pub fn content(&self) -> Vec<Block> {
        let message = self.message.as_ref().and_then(|json| Message::from_json(json));
        message.map(|message| message.content).unwrap_or_default()
    }
}

impl Said {
    /// The texts at these places of a message, separated by empty lines.
    pub fn new(message: &Arc<String>, places: Vec<Range<usize>>) -> Said {
        let parts = places.into_iter().enumerate().map(|(n, place)| Part {
            between: if n > 0 { "\n\n" } else { "" },
            message: Arc::clone(message),
            place,
        });
        Said(parts.collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Goes on with `more`, without anything between.
    pub fn extend(&mut self, more: &Said) {
        self.0.extend_from_slice(&more.0);
    }

    /// The same without the white space around it.
    pub fn trimmed(mut self) -> Said {
        let is_blank = |part: &Part| escaped::is_blank(part.escaped());
        while self.0.pop_if(|part| is_blank(part)).is_some() {}
        let blank = self.0.iter().take_while(|part| is_blank(part)).count();
        self.0.drain(..blank);
        if let Some(first) = self.0.first_mut() {
            first.between = "";
            first.place.start += escaped::trimmed(first.escaped()).map_or(0, |place| place.start);
        }
        if let Some(last) = self.0.last_mut() {
            let end = escaped::trimmed(last.escaped()).map_or(0, |place| place.end);
            last.place.end = last.place.start + end;
        }
        self
    }

    /// Hands the text on in pieces: all of it would be a second time in memory.
    pub fn pieces(&self, each: &mut dyn FnMut(&str)) {
        for part in &self.0 {
            each(part.between);
            let pieces = Pieces { rest: part.escaped() };
            pieces.for_each(|piece| piece.with(each));
        }
    }
}

impl Part {
    fn escaped(&self) -> &str {
        &self.message[self.place.clone()]
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        self.pieces(&mut |piece| result = result.and_then(|()| f.write_str(piece)));
        result
    }
}

impl StopReason {
    /// <https://docs.anthropic.com/en/api/handling-stop-reasons>
    pub fn from_name(name: &str) -> StopReason {
        match name {
            "end_turn" => StopReason::EndTurn,
            "tool_use" => StopReason::ToolUse,
            "max_tokens" => StopReason::MaxTokens,
            "stop_sequence" => StopReason::StopSequence,
            "pause_turn" => StopReason::PauseTurn,
            "refusal" => StopReason::Refusal,
            "model_context_window_exceeded" => StopReason::ContextWindowExceeded,
            other => StopReason::Other(other.to_owned()),
        }
    }
}

impl Usage {
    /// The counts under their names in the API; fields that are missing or null count nothing.
    pub fn from_value(value: &Value) -> Usage {
        let mut usage = Usage::default();
        usage.update(value);
        usage
    }

    pub fn to_value(self) -> Value {
        json!({
            "input_tokens": self.input,
            "output_tokens": self.output,
            "cache_read_input_tokens": self.cache_read,
            "cache_creation_input_tokens": self.cache_write,
        })
    }

    pub fn add(&mut self, other: &Usage) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
    }

    /// Everything that takes room in the context window.
    pub fn context(&self) -> u64 {
        let counts = [self.output, self.cache_read, self.cache_write];
        counts.into_iter().fold(self.input, u64::saturating_add)
    }

    /// The counts in an event are cumulative; gateways leave fields out or send null.
    pub fn update(&mut self, usage: &Value) {
        let take = |field: &mut u64, name: &str| {
            if let Some(count) = usage[name].as_u64() {
                *field = count;
            }
        };
        take(&mut self.input, "input_tokens");
        take(&mut self.output, "output_tokens");
        take(&mut self.cache_read, "cache_read_input_tokens");
        take(&mut self.cache_write, "cache_creation_input_tokens");
    }
}

/// `{"type":"error","error":{"type":...,"message":...}}`, in a stream or as a body.
pub fn stream_error(event: &Value) -> Error {
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let kind = text(&event["error"]["type"]);
    Error::Api {
        status: 200,
        retry: retry::kind_may_pass(&kind),
        kind,
        message: text(&event["error"]["message"]),
        request_id: event["request_id"].as_str().map(str::to_owned),
        retry_after: None,
    }
}

/// The beginning of something that should not have come.
pub fn excerpt(text: &str) -> String {
    crate::text::visible(&crate::text::one_line(text.trim(), 200)).into_owned()
}
