//! Messages and content blocks, and the JSON text in which the history holds them. Pure.
//!
//! A block keeps every field, known or not, in the order in which it came, so that what the API sent goes back
//! unchanged (<https://docs.anthropic.com/en/api/messages>). Only this file knows how the text of a message
//! begins, ends and grows: `Encoded`.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

/// The deepest nesting of a block, in levels. A deeper one could be sent, but not read from the session file:
/// serde_json reads 127 levels, and the message itself is two of them.
pub const DEEPEST: usize = 120;

/// Closes the content and the message.
const END: &str = "]}";

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    User,
    Assistant,
}

/// One content block.
#[derive(Debug, Clone, PartialEq)]
pub struct Block(Map<String, Value>);

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    pub content: Vec<Block>,
}

/// A message as the JSON text that is sent and kept: `{"role":...,"content":[...]}` with at least one block.
/// A clone shares the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded(Arc<String>);

impl Role {
    /// Returns how a message begins, up to its first block.
    pub fn opening(self) -> &'static str {
        match self {
            Role::User => r#"{"role":"user","content":["#,
            Role::Assistant => r#"{"role":"assistant","content":["#,
        }
    }
}

impl Block {
    pub fn text(text: &str) -> Block {
        Block::from_fields(json!({"type": "text", "text": text}))
    }

    /// The result of a `tool_use`. The API accepts no empty text.
    pub fn tool_result(id: &str, text: &str, is_error: bool) -> Block {
        let text = if text.trim().is_empty() { "(empty)" } else { text };
        let mut block = json!({"type": "tool_result", "tool_use_id": id, "content": text});
        if is_error {
            block["is_error"] = true.into();
        }
        Block::from_fields(block)
    }

    /// Returns None unless `value` is an object with a `type`.
    pub fn from_value(value: Value) -> Option<Block> {
        match value {
            Value::Object(fields) if fields.get("type").is_some_and(Value::is_string) => Some(Block(fields)),
            _ => None,
        }
    }

    /// Returns the block of these fields, which must have a `type`.
    pub fn from_fields(value: Value) -> Block {
        Block::from_value(value).expect("a literal object with a type")
    }

    /// Whether the block is nested more than `DEEPEST` levels.
    pub fn is_too_deep(&self) -> bool {
        self.0.values().any(|value| is_deeper(value, DEEPEST - 1))
    }

    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    pub fn kind(&self) -> &str {
        self.str("type").unwrap_or_default()
    }

    /// Returns the field `name` if it is a string.
    pub fn str(&self, name: &str) -> Option<&str> {
        named(&self.0, name)?.as_str()
    }

    /// Returns the text of a text block.
    pub fn into_text(mut self) -> Option<String> {
        match self.0.get_mut("text").map(Value::take) {
            Some(Value::String(text)) if self.kind() == "text" => Some(text),
            _ => None,
        }
    }

    /// Returns the text of a tool result, with `picture` in the place of each picture.
    pub fn result_text(&self, picture: &str) -> String {
        match self.get("content") {
            Some(Value::Array(parts)) => {
                let texts = parts.iter().map(|part| part["text"].as_str().unwrap_or(picture));
                texts.collect::<Vec<_>>().join("\n")
            }
            content => content.and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// Appends to the field `name`, or sets it if it is not a string.
    pub fn append(&mut self, name: &str, text: &str) {
        match self.0.iter_mut().find(|(field, _)| *field == name) {
            Some((_, Value::String(old))) => old.push_str(text),
            _ => self.set(name, text.into()),
        }
    }

    /// Appends to the field `name`, or sets it if it is not an array.
    pub fn push(&mut self, name: &str, value: Value) {
        match self.0.get_mut(name) {
            Some(Value::Array(old)) => old.push(value),
            _ => self.set(name, json!([value])),
        }
    }

    /// Whether it is a text block of nothing but white space, which the API rejects.
    pub fn is_blank_text(&self) -> bool {
        self.kind() == "text" && self.str("text").is_none_or(|text| text.trim().is_empty())
    }

    /// Whether it is a call of a tool that the server runs itself.
    pub fn is_server_call(&self) -> bool {
        self.kind().ends_with("_tool_use")
    }

    pub fn is_unsigned_thinking(&self) -> bool {
        self.kind() == "thinking" && self.str("signature").is_none_or(str::is_empty)
    }

    pub fn is_thinking(&self) -> bool {
        matches!(self.kind(), "thinking" | "redacted_thinking")
    }
}

impl Message {
    pub fn user(content: Vec<Block>) -> Message {
        Message { role: Role::User, content }
    }

    pub fn assistant(content: Vec<Block>) -> Message {
        Message { role: Role::Assistant, content }
    }

    /// Returns the text of the message. The content must not be empty.
    pub fn encode(&self) -> Encoded {
        // Into one buffer: a message may be large.
        let mut text = self.role.opening().as_bytes().to_vec();
        for (index, Block(fields)) in self.content.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            serde_json::to_writer(&mut text, fields).expect("JSON values have JSON text");
        }
        text.extend(END.bytes());
        text.shrink_to_fit();
        Encoded(Arc::new(String::from_utf8(text).expect("JSON text is UTF-8")))
    }

    /// Returns None if `text` is not a message with at least one block. A content that is a string becomes a text
    /// block.
    pub fn from_json(text: &str) -> Option<Message> {
        Message::from_value(serde_json::from_str(text).ok()?)
    }

    /// Does the same for a parsed text.
    pub fn from_value(mut value: Value) -> Option<Message> {
        let role = match value["role"].as_str()? {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return None,
        };
        let content = match value["content"].take() {
            Value::String(text) => vec![Block::text(&text)],
            Value::Array(blocks) => blocks.into_iter().map(Block::from_value).collect::<Option<Vec<_>>>()?,
            _ => return None,
        };
        (!content.is_empty()).then_some(Message { role, content })
    }
}

impl Encoded {
    /// Closes the last block, the content and the message. A cache marker goes before it.
    pub const CLOSING: &str = "}]}";

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text without its `CLOSING`.
    pub fn unclosed(&self) -> &str {
        &self.0[..self.len() - Self::CLOSING.len()]
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn role(&self) -> Role {
        if self.0.starts_with(Role::Assistant.opening()) { Role::Assistant } else { Role::User }
    }

    pub fn decode(&self) -> Message {
        Message::from_json(&self.0).expect("it is the text of a message")
    }

    /// Adds the blocks of `other`, which has the same role. A shared text is copied first.
    fn append(&mut self, other: &Encoded) {
        let blocks = &other.0[other.role().opening().len()..];
        let text = Arc::make_mut(&mut self.0);
        text.truncate(text.len() - END.len());
        text.push(',');
        text.push_str(blocks);
    }
}

/// Returns the ids of the calls of server tools among the blocks that have no result there. A result belongs to the
/// call with its id, or else to the one before it: gateways were seen that change ids.
pub fn open_server_calls<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> HashSet<String> {
    let (mut open, mut last) = (HashSet::new(), "");
    for block in blocks {
        if block.is_server_call() {
            last = block.str("id").unwrap_or_default();
            open.insert(last.to_owned());
        } else if block.kind().ends_with("_tool_result")
            && !open.remove(block.str("tool_use_id").unwrap_or_default())
        {
            open.remove(last);
        }
    }
    open
}

/// Returns a field of an object with few fields: in order, since each hash costs more than some comparisons.
pub fn named<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
}

/// Adds a message to a history. If the last message has the same role, the blocks are added to it, so that roles
/// alternate.
pub fn push(history: &mut Vec<Encoded>, message: Encoded) {
    match history.last_mut().filter(|last| last.role() == message.role()) {
        Some(last) => last.append(&message),
        None => history.push(message),
    }
}

/// Whether arrays and objects are nested more than `levels` deep in `value`.
fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => true,
        Value::Array(items) => items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(fields) => fields.values().any(|item| is_deeper(item, levels - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_goes_back_as_it_came() {
        let texts = [
            r#"{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"EqQB"}]}"#,
            r#"{"role":"assistant","content":[{"z":1,"type":"future","a":{"y":null,"b":[1.5,-2]}}]}"#,
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"é\\"}]}"#,
            r#"{"role":"assistant","content":[{"type":"future","a":1.1844674407370955e+20,"b":0.1}]}"#,
        ];
        for text in texts {
            assert_eq!(Message::from_json(text).unwrap().encode().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_message_is_none() {
        for text in ["", "[]", r#"{"role":"x","content":"a"}"#, r#"{"role":"user","content":[]}"#] {
            assert_eq!(Message::from_json(text), None);
        }
        let bare = Message::from_json(r#"{"role":"user","content":"hi"}"#).unwrap();
        assert_eq!(bare.content, [Block::text("hi")]);
    }

    #[test]
    fn a_message_that_grows_is_not_copied_with_every_block() {
        let line = Message::user(vec![Block::text("a line")]).encode();
        let mut history = Vec::new();
        let mut capacities = std::collections::HashSet::new();
        for _ in 0..16_000 {
            push(&mut history, line.clone());
            capacities.insert(history[0].0.capacity());
        }
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].decode().content.len(), 16_000);
        assert!(capacities.len() < 40, "it was copied {} times", capacities.len());
    }
}
