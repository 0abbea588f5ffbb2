//! Thinking is bound to what stood before it: its signature is a hash of `system`, `tools`, every earlier block and its
//! own text. Cache markers may move, so they are left out.
//!
//! Nothing is remembered: a conversation may go on with another server. A signature that no scripted reply computed
//! (a recorded one, say) is accepted.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

/// How the signatures begin that are checked.
const CHECKED: &str = "bound-";

/// The signature of a block that a test wants to be refused.
pub const ELSEWHERE: &str = "bound-elsewhere";

/// What stands before a block.
pub struct Prefix(DefaultHasher);

/// A block whose signature does not fit, and what the API says of it.
#[derive(Debug, PartialEq)]
pub struct Mismatch {
    pub message: String,
    /// Whether a test wanted it.
    pub is_wanted: bool,
}

impl Prefix {
    /// What stands before the first message of a request.
    fn start(body: &Value) -> Prefix {
        let mut prefix = Prefix(DefaultHasher::new());
        for name in ["system", "tools"] {
            prefix.hash(&body[name]);
        }
        prefix
    }

    /// What stands before the reply to a request.
    pub fn of_reply(body: &Value) -> Prefix {
        let mut prefix = Prefix::start(body);
        for message in body["messages"].as_array().into_iter().flatten() {
            for block in blocks(message) {
                prefix.add(&message["role"], &block);
            }
        }
        prefix
    }

    /// Adds a block. What the API does not take back can't be a part of a later request, so nothing is bound to it.
    pub fn add(&mut self, role: &Value, block: &Value) {
        let is_blank = block["text"].as_str().is_some_and(|text| text.trim().is_empty());
        let is_unsigned = block["type"] == "thinking" && block["signature"] == "";
        if !is_blank && !is_unsigned {
            self.hash(role);
            self.hash(block);
        }
    }

    /// The signature of a thinking block with this text that comes next.
    pub fn signature(&self, thinking: &str) -> String {
        let mut hasher = self.0.clone();
        thinking.hash(&mut hasher);
        format!("{CHECKED}{:016x}", hasher.finish())
    }

    fn hash(&mut self, value: &Value) {
        hash(value, &mut self.0);
    }
}

/// The first thinking block of a request that is bound to something else.
pub fn mismatch(body: &Value) -> Option<Mismatch> {
    let mut prefix = Prefix::start(body);
    for (n, message) in body["messages"].as_array()?.iter().enumerate() {
        for (k, block) in blocks(message).iter().enumerate() {
            let (field, signature) = match block["type"].as_str() {
                Some("thinking") => ("signature", block["signature"].as_str()),
                Some("redacted_thinking") => ("data", block["data"].as_str()),
                _ => ("", None),
            };
            let checked = signature.filter(|signature| signature.starts_with(CHECKED));
            let fitting = prefix.signature(block["thinking"].as_str().unwrap_or_default());
            if let Some(found) = checked.filter(|checked| *checked != fitting) {
                let kind = block["type"].as_str().unwrap_or_default();
                let message = format!(
                    "messages.{n}.content.{k}: Invalid `{field}` in `{kind}` block. The block is bound to a different \
                     conversation."
                );
                return Some(Mismatch { message, is_wanted: found == ELSEWHERE });
            }
            prefix.add(&message["role"], block);
        }
    }
    None
}

/// A string counts as one text block.
fn blocks(message: &Value) -> Vec<Value> {
    match &message["content"] {
        Value::Array(blocks) => blocks.clone(),
        text => vec![json!({"type": "text", "text": text})],
    }
}

/// The order of keys counts: what was sent is sent again as it was.
fn hash(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Object(fields) => {
            b'{'.hash(hasher);
            for (name, value) in fields.iter().filter(|(name, _)| *name != "cache_control") {
                name.hash(hasher);
                hash(value, hasher);
            }
            b'}'.hash(hasher);
        }
        Value::Array(values) => {
            b'['.hash(hasher);
            values.iter().for_each(|value| hash(value, hasher));
            b']'.hash(hasher);
        }
        Value::String(text) => text.hash(hasher),
        other => other.to_string().hash(hasher),
    }
}
