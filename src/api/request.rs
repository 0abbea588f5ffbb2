//! The body of a request: a head, the messages as the history holds them, a tail. Pure.

use std::io::{self, Read};
use std::sync::Arc;

use crossbeam_channel::Sender;
use serde_json::{Map, Value, json};

use super::message::{Block, Encoded, Role};
use super::web;

/// Tells the API to cache everything up to here, for five minutes
/// (<https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>).
const MARKER: &str = r#","cache_control":{"type":"ephemeral"}"#;
/// The same for an hour. The API takes no longer time behind a shorter one, so all markers of a request are the same.
const HOUR_MARKER: &str = r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#;
/// The system prompt and the tools have the other two of the four markers that a request may have.
const MARKED_MESSAGES: usize = 2;

/// What stands before the messages. The API binds thinking to it, so a session sends the same text from its first
/// request to its last, whatever the program would say today.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prefix {
    /// The system prompt.
    pub system: String,
    /// The definitions of the tools, a JSON array.
    pub tools: String,
}

/// What is asked of the model's thinking.
#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    /// How hard it is to work (<https://platform.claude.com/docs/en/build-with-claude/effort>).
    pub effort: Option<&'static str>,
    /// How it is to think (<https://platform.claude.com/docs/en/build-with-claude/thinking>).
    pub thinking: Option<Value>,
}

/// What else a request says. It may change from request to request.
pub struct Settings {
    pub model: String,
    /// Whether the API caches for an hour, and not for five minutes.
    pub long_cache: bool,
    pub asked: Asked,
    /// What answers must look like (<https://platform.claude.com/docs/en/build-with-claude/structured-outputs>).
    pub format: Option<Value>,
    /// Other optional fields of the body: only what the user, or the model's own description, asks for. They win.
    pub fields: Map<String, Value>,
}

impl Prefix {
    /// Whether the model may search the web.
    pub fn has_web(&self) -> bool {
        self.tools.ends_with(&format!(",{}]", web::TOOLS))
    }

    /// The same with the tools for the web.
    pub fn with_web(mut self) -> Prefix {
        if !self.has_web() {
            self.tools.truncate(self.tools.len() - 1);
            self.tools += &format!(",{}]", web::TOOLS);
        }
        self
    }
}

impl Settings {
    fn marker(&self) -> &'static str {
        if self.long_cache { HOUR_MARKER } else { MARKER }
    }

    /// The request with these messages. The reply may take up to `max_tokens`.
    pub fn body(&self, prefix: &Prefix, messages: Vec<Encoded>, max_tokens: u32) -> Body {
        let head = self.head(prefix, self.thinking(&messages), max_tokens);
        Body::new(head, messages, self.marker())
    }

    /// What is asked of the model's thinking behind these messages. The API takes a budget only if the calls whose
    /// results come last have thinking before them
    /// (<https://platform.claude.com/docs/en/build-with-claude/extended-thinking>).
    fn thinking(&self, messages: &[Encoded]) -> Option<&Value> {
        let is_taken = |thinking: &&Value| thinking["type"] != "enabled" || !ends_with_bare_calls(messages);
        self.asked.thinking.as_ref().filter(is_taken)
    }

    /// The request up to its first message. The system prompt and the tools end with a cache marker each.
    fn head(&self, prefix: &Prefix, thinking: Option<&Value>, max_tokens: u32) -> String {
        let mut fields = json!({"model": self.model, "max_tokens": max_tokens, "stream": true});
        for (name, value) in &self.fields {
            fields[name] = value.clone();
        }
        if let (Some(thinking), Value::Null) = (thinking, &fields["thinking"]) {
            fields["thinking"] = thinking.clone();
        }
        for (name, value) in [("format", self.format.clone()), ("effort", self.asked.effort.map(Value::from))]
        {
            if let Some(value) = value
                && let Value::Null | Value::Object(_) = fields["output_config"]
                && fields["output_config"][name].is_null()
            {
                fields["output_config"][name] = value;
            }
        }
        let fields = fields.to_string();
        let (system, tools) =
            (json!(prefix.system), prefix.tools.strip_suffix("}]").expect("there are tools"));
        let (fields, marker) = (&fields[..fields.len() - 1], self.marker());
        format!(
            r#"{fields},"system":[{{"type":"text","text":{system}{marker}}}],"tools":{tools}{marker}}}],"messages":["#
        )
    }
}

/// Whether the model's last message has calls, and does not begin with thinking.
fn ends_with_bare_calls(messages: &[Encoded]) -> bool {
    let last = messages.iter().rfind(|message| message.role() == Role::Assistant);
    let content = last.map(|last| last.decode().content).unwrap_or_default();
    let is_thought = content.first().is_some_and(Block::is_thinking);
    !is_thought && content.iter().any(|block| block.kind() == "tool_use")
}

/// The body of a request: pieces of the history, read one after another without being copied.
#[derive(Clone)]
pub struct Body {
    pieces: Vec<Piece>,
    /// The piece that is read next, and from which of its bytes on.
    next: usize,
    at: usize,
    /// Told when all was read.
    sent: Option<Sender<()>>,
}

#[derive(Clone)]
enum Piece {
    Fixed(&'static str),
    Head(Arc<String>),
    Message(Encoded),
    /// Without its closing.
    Unclosed(Encoded),
}

impl Body {
    fn new(head: String, messages: Vec<Encoded>, marker: &'static str) -> Body {
        let mut pieces = vec![Piece::Head(head.into())];
        // The API looks for what it has cached only 20 blocks before a marker, and one step may add more: so the
        // message that was the last one in the request before is marked again.
        let from_user = (0..messages.len()).rev().filter(|index| messages[*index].role() == Role::User);
        let marked: Vec<usize> = from_user.take(MARKED_MESSAGES).collect();
        for (index, message) in messages.into_iter().enumerate() {
            if index > 0 {
                pieces.push(Piece::Fixed(","));
            }
            // The markers move from message to message; without them, each stays as it was.
            if marked.contains(&index) {
                pieces.push(Piece::Unclosed(message));
                pieces.extend([marker, Encoded::CLOSING].map(Piece::Fixed));
            } else {
                pieces.push(Piece::Message(message));
            }
        }
        pieces.push(Piece::Fixed("]}"));
        Body { pieces, next: 0, at: 0, sent: None }
    }

    /// Sends a message on the channel when the whole body was read.
    pub fn tell(self, sent: Sender<()>) -> Body {
        Body { sent: Some(sent), ..self }
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes().len() as u64).sum()
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Fixed(text) => text.as_bytes(),
            Piece::Head(text) => text.as_bytes(),
            Piece::Message(message) => message.as_str().as_bytes(),
            Piece::Unclosed(message) => message.unclosed().as_bytes(),
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(piece) = self.pieces.get(self.next) {
            let rest = &piece.bytes()[self.at..];
            let n = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + n].copy_from_slice(&rest[..n]);
            filled += n;
            self.at += n;
            if n < rest.len() {
                break;
            }
            self.next += 1;
            self.at = 0;
        }
        if self.next == self.pieces.len()
            && let Some(sent) = self.sent.take()
        {
            let _ = sent.try_send(());
        }
        Ok(filled)
    }
}
