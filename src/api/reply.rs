//! A whole reply: its message, its tool calls, its stop reason and its usage. Pure.

use serde_json::{Map, Value, json};

use super::message::{Block, Encoded};
use super::rejection;
use super::retry;
use crate::error::Error;
use crate::text::{one_line, visible};

#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What goes into the history. None if the model had nothing to say.
    pub message: Option<Encoded>,
    /// The thinking in the reply that the API does not take back.
    pub unsent: Vec<Block>,
    /// The texts of the message, separated by empty lines.
    pub said: String,
    pub calls: Vec<ToolCall>,
    pub stop: StopReason,
    pub usage: Usage,
    /// What the server says of its refusal. Empty if it says nothing.
    pub refusal: String,
    /// The server goes on with the reply as it stands, with calls of its own: the next message may hold nothing but
    /// the results of `calls` (<https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/server-tools>).
    pub is_open: bool,
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
    ToolUse,
    /// An unknown one, or none.
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
    /// The stop reason with this name in the API, or in that of chat completions, whose names some gateways pass on.
    pub fn from_name(name: &str) -> StopReason {
        match name.to_ascii_lowercase().as_str() {
            "end_turn" | "stop" => StopReason::EndTurn,
            "max_tokens" | "length" => StopReason::MaxTokens,
            "tool_use" | "tool_calls" => StopReason::ToolUse,
            "stop_sequence" => StopReason::StopSequence,
            "pause_turn" => StopReason::PauseTurn,
            "refusal" | "content_filter" => StopReason::Refusal,
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

    /// Takes the counts of an event, which are cumulative. Gateways leave some out, or send null or 0: those stay.
    pub fn update(&mut self, usage: &Value) {
        let take = |count: &mut u64, name: &str| {
            *count = number(&usage[name]).filter(|new| *new > 0).unwrap_or(*count);
        };
        take(&mut self.input, "input_tokens");
        take(&mut self.output, "output_tokens");
        take(&mut self.cache_read, "cache_read_input_tokens");
        take(&mut self.cache_write, "cache_creation_input_tokens");
    }
}

/// A number that is one, or that a gateway has written as a string.
pub fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// What `stop_details` say of a refusal, in brackets
/// (<https://platform.claude.com/docs/en/test-and-evaluate/strengthen-guardrails/handle-streaming-refusals>).
pub fn refusal(details: &Value) -> String {
    let words = ["category", "explanation"].into_iter().filter_map(|name| details[name].as_str());
    let words: Vec<String> =
        words.filter(|text| !text.trim().is_empty()).map(|text| one_line(text, 500)).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", visible(&words.join(": "))) }
}

/// The error in `{"type":"error","error":{"type":...,"message":...}}`, an event or a body. Some gateways have a bare
/// text for `error`, leave it out around its fields, or name its kind or its status in `code`.
pub fn api_error(event: &Value) -> Error {
    let error = if event["error"].is_null() { event } else { &event["error"] };
    let kind = error["type"].as_str().filter(|kind| *kind != "error").or_else(|| error["code"].as_str());
    let kind = kind.unwrap_or("unknown").to_owned();
    let status = number(&error["code"]).and_then(|code| u16::try_from(code).ok());
    let rejection = rejection::of(200, event);
    let may_pass = status.map_or(retry::kind_may_pass(&kind), retry::status_may_pass);
    Error::Api {
        status: 200,
        retry: rejection.is_none() && may_pass,
        message: error.as_str().or_else(|| error["message"].as_str()).unwrap_or("unknown").to_owned(),
        kind,
        request_id: event["request_id"].as_str().map(str::to_owned),
        retry_after: None,
        rejection,
    }
}

/// The beginning of an unexpected text, on one line, harmless on a terminal.
pub fn excerpt(text: &str) -> String {
    visible(&one_line(text.trim(), 200)).into_owned()
}
