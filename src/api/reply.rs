//! A whole reply: its message, its tool calls, its stop reason and its usage. Pure.

use serde_json::{Map, Value, json};

use super::message::{Block, Encoded};
use super::retry;
use crate::error::Error;
use crate::text::{one_line, visible};

#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What goes into the history. None if the model had nothing to say.
    pub message: Option<Encoded>,
    /// The texts of the message, separated by empty lines.
    pub said: String,
    pub calls: Vec<ToolCall>,
    pub stop: StopReason,
    pub usage: Usage,
}

/// A tool call of the reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// Err with what came if that is not a JSON object or was cut off.
    pub input: Result<Map<String, Value>, String>,
}

/// Why a reply ended (<https://docs.anthropic.com/en/api/handling-stop-reasons>).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum StopReason {
    EndTurn,
    MaxTokens,
    StopSequence,
    PauseTurn,
    Refusal,
    ContextWindowExceeded,
    /// `tool_use`, which the calls tell as well, an unknown one, or none.
    #[default]
    Other,
}

/// Numbers of tokens, as the API counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
}

impl Reply {
    /// The blocks of the message.
    pub fn content(&self) -> Vec<Block> {
        self.message.as_ref().map(|message| message.decode().content).unwrap_or_default()
    }
}

impl StopReason {
    /// The stop reason with this name in the API.
    pub fn from_name(name: &str) -> StopReason {
        match name {
            "end_turn" => StopReason::EndTurn,
            "max_tokens" => StopReason::MaxTokens,
            "stop_sequence" => StopReason::StopSequence,
            "pause_turn" => StopReason::PauseTurn,
            "refusal" => StopReason::Refusal,
            "model_context_window_exceeded" => StopReason::ContextWindowExceeded,
            _ => StopReason::Other,
        }
    }
}

impl Usage {
    /// Reads the counts under their names in the API. A missing one is 0.
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

    /// Adds other counts, up to the largest number.
    pub fn add(&mut self, other: &Usage) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
    }

    /// How many tokens of the context window are used.
    pub fn context(&self) -> u64 {
        let counts = [self.output, self.cache_read, self.cache_write];
        counts.into_iter().fold(self.input, u64::saturating_add)
    }

    /// Takes the counts of an event, which are cumulative. Gateways leave some out or send null: those stay.
    pub fn update(&mut self, usage: &Value) {
        let take = |count: &mut u64, name: &str| *count = usage[name].as_u64().unwrap_or(*count);
        take(&mut self.input, "input_tokens");
        take(&mut self.output, "output_tokens");
        take(&mut self.cache_read, "cache_read_input_tokens");
        take(&mut self.cache_write, "cache_creation_input_tokens");
    }
}

/// The error in `{"type":"error","error":{"type":...,"message":...}}`, an event or a body.
pub fn api_error(event: &Value) -> Error {
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

/// The beginning of an unexpected text, on one line, harmless on a terminal.
pub fn excerpt(text: &str) -> String {
    visible(&one_line(text.trim(), 200)).into_owned()
}
