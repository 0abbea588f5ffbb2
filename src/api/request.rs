//! The body of a request: a head, the messages as the history holds them, a tail. Pure.

use std::io::{self, Read};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::message::{Encoded, Role};

/// Tells the API to cache everything up to here
/// (<https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>).
const CACHE_MARKER: &str = r#","cache_control":{"type":"ephemeral"}"#;

/// What stands before the messages. The API binds thinking to it, so a session sends the same text from its first
/// request to its last, whatever the program would say today.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prefix {
    /// The system prompt.
    pub system: String,
    /// The definitions of the tools, a JSON array.
    pub tools: String,
}

/// What else a request says. It may change from request to request.
pub struct Settings {
    pub model: String,
    /// Optional fields of the body: only what the user, or the model's own description, asks for.
    pub fields: Map<String, Value>,
}

impl Settings {
    /// The request up to its first message. The system prompt and the tools end with a cache marker each.
    pub fn head(&self, prefix: &Prefix, max_tokens: u32) -> String {
        let mut fields = json!({"model": self.model, "max_tokens": max_tokens, "stream": true});
        for (name, value) in &self.fields {
            fields[name] = value.clone();
        }
        let marker = json!({"type": "ephemeral"});
        fields["system"] = json!([{"type": "text", "text": prefix.system, "cache_control": marker}]);
        let fields = fields.to_string();
        let tools = prefix.tools.strip_suffix("}]").expect("there are tools");
        format!("{},\"tools\":{tools}{CACHE_MARKER}}}],\"messages\":[", &fields[..fields.len() - 1])
    }
}

/// The body of a request: pieces of the history, read one after another without being copied.
#[derive(Clone)]
pub struct Body {
    pieces: Vec<Piece>,
    /// The piece that is read next, and from which of its bytes on.
    next: usize,
    at: usize,
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
    pub fn new(head: String, messages: Vec<Encoded>) -> Body {
        let mut pieces = vec![Piece::Head(head.into())];
        // The last message of the user has the marker. After a pause, one of the model follows it.
        let marked = messages.iter().rposition(|message| message.role() == Role::User);
        for (index, message) in messages.into_iter().enumerate() {
            if index > 0 {
                pieces.push(Piece::Fixed(","));
            }
            // The marker moves from message to message; without it, each stays as it was.
            if Some(index) == marked {
                pieces.push(Piece::Unclosed(message));
                pieces.extend([CACHE_MARKER, Encoded::CLOSING].map(Piece::Fixed));
            } else {
                pieces.push(Piece::Message(message));
            }
        }
        pieces.push(Piece::Fixed("]}"));
        Body { pieces, next: 0, at: 0 }
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
        Ok(filled)
    }
}
