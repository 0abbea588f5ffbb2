//! A block of a reply that is still coming. Pure.

use std::ops::Range;

use serde_json::{Map, Value};

use super::{
    escaped::{escape, is_blank, unescape},
    message::{Block, Role},
    reply::ToolCall,
};

pub struct Open {
    pub block: Block,
    /// The field that is named like the block's kind, where that is a text. It is empty in the block: its value
    /// grows here, with its escapes.
    field: Option<&'static str>,
    pub grown: String,
    /// So far it is nothing but white space.
    is_blank: bool,
    /// The pieces of a tool's input, put together. They are cut anywhere: parsed only at the end.
    pub input: String,
}

/// The kinds of blocks whose text comes in pieces.
const GROWING: [&str; 2] = ["text", "thinking"];

impl Open {
    pub fn new(mut block: Block) -> Open {
        let field = GROWING.into_iter().find(|field| block.kind() == *field);
        let field = field.filter(|field| block.str(field).is_some());
        let grown = field.map_or(String::new(), |field| {
            let text = escape(block.str(field).unwrap_or_default());
            block.set(field, "".into());
            text
        });
        Open { block, field, is_blank: is_blank(&grown), grown, input: String::new() }
    }

    /// Appends to the text in this field.
    pub fn append(&mut self, field: &'static str, escaped: &str) {
        if self.field != Some(field) {
            if self.block.kind() != field {
                let mut text = String::new();
                unescape(escaped, &mut text);
                return self.block.append(field, &text);
            }
            self.block.set(field, "".into());
            self.field = Some(field);
        }
        self.is_blank = self.is_blank && is_blank(escaped);
        self.grown.push_str(escaped);
    }

    pub fn has_text(&self) -> bool {
        self.block.kind() == "text" && self.field.is_some() && !self.is_blank
    }

    /// Takes the fields of a delta of a kind that is not known.
    pub fn merge(&mut self, delta: Map<String, Value>) {
        for (name, value) in delta {
            let growing = GROWING.into_iter().find(|field| *field == name);
            match (value, growing) {
                _ if name == "type" => {}
                (Value::String(text), Some(field)) => self.append(field, &escape(&text)),
                (Value::String(text), None) => self.block.append(&name, &text),
                (value, _) => {
                    if self.field == Some(name.as_str()) {
                        self.field = None;
                        self.grown.clear();
                        self.is_blank = true;
                    }
                    self.block.set(&name, value);
                }
            }
        }
    }

    /// Appends the block to the JSON of a message. Returns where its text stands in it.
    pub fn write(self, message: &mut String) -> Option<Range<usize>> {
        let is_first = message.is_empty();
        let mut before = match is_first {
            true => Role::Assistant.opening().to_owned(),
            false => ",".into(),
        };
        let mut after = String::new();
        let mut json = &mut before;
        for (n, (name, value)) in self.block.fields().iter().enumerate() {
            json.push(if n == 0 { '{' } else { ',' });
            *json += &format!("{}:", Value::from(name.as_str()));
            if self.field == Some(name) {
                json.push('"');
                json = &mut after;
                json.push('"');
            } else {
                *json += &value.to_string();
            }
        }
        json.push('}');
        let start = message.len() + before.len();
        match is_first {
            // It may be large: the message comes about where it is.
            true => {
                *message = self.grown;
                message.insert_str(0, &before);
            }
            false => *message += &(before + &self.grown),
        }
        let place = start..message.len();
        *message += &after;
        (self.field == Some("text")).then_some(place)
    }

    /// Finishes the block. Returns its call where it is a `tool_use`.
    pub fn close(&mut self, cut_off: bool) -> Option<ToolCall> {
        if !self.block.kind().ends_with("tool_use") {
            return None;
        }
        let input = match (self.input.as_str(), self.block.get("input")) {
            (pieces, _) if cut_off => Err(pieces.to_owned()),
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
