//! Making a history smaller: what to shorten, where to cut, and what to ask the model for. Pure.

use serde_json::Value;

use crate::{
    api::message::{Block, Encoded, Role},
    text,
};

/// An old tool result longer than this many characters is shortened to it.
const SHORT_RESULT: usize = 2000;

/// What is kept word for word is at most this part of the history.
const KEPT_SHARE: usize = 5;

/// The model's task when a history is to be summarized.
pub const INSTRUCTION: &str = "The conversation is getting too long and is about to be replaced by a summary that you \
write now. Call no tools. Write down what is needed to go on without the conversation: the goal and the user's wishes, in \
the user's own words where they matter; the decisions and why; the files that were read or changed, with their paths and \
what matters in them; commands that work; what is done, what is open, and what comes next.";

/// What stands before the summary in the new history.
pub const INTRODUCTION: &str =
    "(The conversation before this point was summarized by the model, to make room.)";

/// Shortens the long tool results in `messages`.
pub fn shorten(messages: &mut [Encoded]) {
    // A short message has no long result, and most are short.
    for encoded in messages.iter_mut().filter(|message| message.len() > SHORT_RESULT) {
        let mut message = encoded.decode();
        message.content.iter_mut().for_each(shorten_result);
        *encoded = message.encode();
    }
}

fn shorten_result(block: &mut Block) {
    if block.kind() != "tool_result" {
        return;
    }
    if let Some(content) = block.str("content")
        && content.chars().count() > SHORT_RESULT
    {
        let short = text::head_and_tail(content, SHORT_RESULT).into_owned();
        block.set("content", Value::String(short));
    }
}

/// How many messages at the end are kept: a fifth of the history at most, and the first of them is the
/// model's, so that no call is separated from its result. Inside a turn the model's last message and what
/// came after it are kept in any case. None when nothing would be gained.
pub fn kept(messages: &[Encoded], inside_turn: bool) -> Option<usize> {
    let total: usize = messages.iter().map(|message| message.len()).sum();
    let mut size = 0;
    let mut kept = 0;
    for (index, message) in messages.iter().rev().enumerate() {
        size += message.len();
        let needed = inside_turn && kept == 0;
        if size > total / KEPT_SHARE && !needed {
            break;
        }
        if message.role() == Role::Assistant {
            kept = index + 1;
        }
    }
    let older: usize = messages[..messages.len() - kept].iter().map(|message| message.len()).sum();
    let is_worth_it = messages.len() > kept.max(1) && older >= total / KEPT_SHARE;
    is_worth_it.then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::message::Message;

    fn message(role: Role, text: &str) -> Encoded {
        let content = vec![Block::text(text)];
        Message { role, content }.encode()
    }

    #[test]
    fn the_last_fifth_stays_and_starts_with_the_model() {
        let history: Vec<Encoded> =
            (0..40).map(|i| message(if i % 2 == 0 { Role::User } else { Role::Assistant }, "text")).collect();
        let few = kept(&history, false).unwrap();
        assert!((6..=8).contains(&few), "{few}");
        assert_eq!(history[40 - few].role(), Role::Assistant);
        assert_eq!(kept(&history[..1], false), None);
        assert_eq!(kept(&[], true), None);
    }

    #[test]
    fn inside_a_turn_the_last_exchange_stays_however_long_it_is() {
        let history = [
            message(Role::User, &"text ".repeat(1000)),
            message(Role::Assistant, &"long ".repeat(1000)),
            message(Role::User, "what the user wants now"),
        ];
        assert_eq!(kept(&history, false), Some(0));
        assert_eq!(kept(&history, true), Some(2));
        // Next to nothing would be summarized.
        let paused = [message(Role::User, "text"), history[1].clone()];
        assert_eq!(kept(&paused, true), None);
    }

    #[test]
    fn only_long_results_are_shortened() {
        let long = "x".repeat(5000);
        let result = Message::user(vec![Block::tool_result("t", &long, false), Block::text(&long)]);
        let mut messages = [message(Role::User, "short"), result.encode()];
        shorten(&mut messages);
        assert_eq!(messages[0], message(Role::User, "short"));
        let result = messages[1].decode();
        assert!(result.content[0].str("content").unwrap().len() < 2100);
        assert_eq!(result.content[1], Block::text(&long));
    }
}
