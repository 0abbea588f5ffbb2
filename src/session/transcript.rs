//! The history of a session: append-only, and held as the JSON that is sent.
//!
//! It is always a history that the API takes once a user message is at its end: roles alternate,
//! and every `tool_use` is answered in the next message.

use std::sync::Arc;

use crate::api::message::{Block, Message, Role};

#[derive(Default)]
pub struct Transcript {
    messages: Vec<Arc<str>>,
    last: Option<Role>,
}

impl Transcript {
    /// Adds what the user side says. After a request that failed, it goes on the message that is already there.
    pub fn push_user(&mut self, content: Vec<Block>) {
        if content.is_empty() {
            return;
        }
        let mut message = Message::user(content);
        if self.last == Some(Role::User)
            && let Some(unanswered) = self
                .messages
                .pop()
                .and_then(|json| Message::from_json(&json))
        {
            let added = std::mem::replace(&mut message, unanswered);
            message.content.extend(added.content);
        }
        self.push(message);
    }

    /// Adds what the model said; nothing when it said nothing.
    pub fn push_assistant(&mut self, content: Vec<Block>) {
        if !content.is_empty() {
            self.push(Message::assistant(content));
        }
    }

    /// The messages as they are sent; cloned by reference.
    pub fn messages(&self) -> Vec<Arc<str>> {
        self.messages.clone()
    }

    fn push(&mut self, message: Message) {
        self.last = Some(message.role);
        self.messages.push(message.to_json().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_alternate_whatever_failed() {
        let mut transcript = Transcript::default();
        transcript.push_user(vec![Block::text("one")]);
        transcript.push_user(vec![Block::text("two")]);
        transcript.push_assistant(vec![]);
        transcript.push_user(vec![]);
        transcript.push_user(vec![Block::text("three")]);
        transcript.push_assistant(vec![Block::text("four")]);
        let expected = [
            r#"{"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"},{"type":"text","text":"three"}]}"#,
            r#"{"role":"assistant","content":[{"type":"text","text":"four"}]}"#,
        ];
        assert_eq!(transcript.messages(), expected.map(Arc::from));
    }
}
