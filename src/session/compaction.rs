//! How a history is made smaller: which results are shortened, what a summary replaces, and how the model is asked
//! for one. Pure.

use crate::api::message::{Block, Encoded, Message, Role};
use crate::text;

/// Longer tool results are shortened to this many characters.
const SHORT_RESULT: usize = 2000;

/// The line that says how much was left out is no longer than this, in characters. What was shortened once is not
/// shortened again.
const LEFT_OUT: usize = 100;

/// After a summary, at most this part of the history is kept, counted in bytes: a fifth.
const KEPT_SHARE: usize = 5;

/// Stands for a message that had nothing but thinking: a message must have a block.
const ONLY_THINKING: &str = "(no words)";

/// Asks the model for the summary.
pub const INSTRUCTION: &str = "The conversation is getting too long: a summary that you write now will replace it. \
Call no tools. Write down everything that is needed to continue without the conversation: the goal and what the user asked \
for, in the user's own words where they matter; the decisions and the reasons for them; the files that were read or changed, \
with their paths and what matters in them; commands that work; what is done, what is still open, and what comes next.";

/// Comes before the summary in the new history.
pub const INTRODUCTION: &str = "(The model summarized the conversation before this point, to make room.)";

/// Returns the messages with long tool results, shortened, and their numbers.
pub fn shortened(messages: &[Encoded]) -> Vec<(usize, Encoded)> {
    // A message that is short itself has no long result.
    let long = messages.iter().enumerate().filter(|(_, message)| message.len() > SHORT_RESULT);
    let short = long.map(|(index, message)| (index, shorten(message.decode()).encode()));
    short.filter(|(index, short)| *short != messages[*index]).collect()
}

fn shorten(mut message: Message) -> Message {
    for result in message.content.iter_mut().filter(|block| block.kind() == "tool_result") {
        let is_long = |content: &&str| content.chars().count() > SHORT_RESULT + LEFT_OUT;
        if let Some(content) = result.str("content").filter(is_long) {
            let short = text::head_and_tail(content, SHORT_RESULT).into_owned();
            result.set("content", short.into());
        }
    }
    message
}

/// Takes the thinking out of `messages`. The API binds it to everything that was sent before it
/// (<https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking>), so this is done to all that follows
/// something changed: one block less would break the next. Returns whether there was some.
pub fn remove_thinking(messages: &mut [Encoded]) -> bool {
    let mut had_some = false;
    // The words of thinking are seldom in a message without it, and most messages have neither.
    for encoded in messages.iter_mut().filter(|message| message.as_str().contains("thinking\"")) {
        let mut message = encoded.decode();
        let count = message.content.len();
        message.content.retain(|block| !block.is_thinking());
        if message.content.len() < count {
            if message.content.is_empty() {
                message.content.push(Block::text(ONLY_THINKING));
            }
            *encoded = message.encode();
            had_some = true;
        }
    }
    had_some
}

/// Returns how many messages at the end to keep beside a summary: a fifth of the history at most. The first of
/// them is the model's, so that no result is kept without its call. Inside a turn, the model's last message and
/// what follows it are kept however long they are. Returns None if a summary would gain too little.
pub fn kept(messages: &[Encoded], inside_turn: bool) -> Option<usize> {
    let total = size(messages);
    let (mut length, mut kept) = (0, 0);
    for (index, message) in messages.iter().rev().enumerate() {
        length += message.len();
        let is_needed = inside_turn && kept == 0;
        if length > total / KEPT_SHARE && !is_needed {
            break;
        }
        if message.role() == Role::Assistant {
            kept = index + 1;
        }
    }
    let older = size(&messages[..messages.len() - kept]);
    let is_worth_it = messages.len() > kept.max(1) && older >= total / KEPT_SHARE;
    is_worth_it.then_some(kept)
}

/// Returns the size of the messages in bytes.
pub fn size(messages: &[Encoded]) -> usize {
    messages.iter().map(Encoded::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let [(1, short)] = &shortened(&messages)[..] else { panic!("one of them is long") };
        let result = short.decode();
        assert!(result.content[0].str("content").unwrap().len() < 2100);
        assert_eq!(result.content[1], Block::text(&long));
        messages[1] = short.clone();
        assert_eq!(shortened(&messages), []);
    }

    #[test]
    fn all_thinking_is_taken_out() {
        let reply = |thought: &str| {
            let json = format!(
                r#"{{"role":"assistant","content":[{{"type":"thinking","thinking":"","signature":"{thought}"}},{{"type":"text","text":"a"}},{{"type":"redacted_thinking","data":"x"}},{{"type":"text","text":"b"}}]}}"#
            );
            Message::from_json(&json).unwrap().encode()
        };
        let mut messages = [message(Role::User, "thinking\""), reply("s"), message(Role::User, "b")];
        let before = messages.clone();
        remove_thinking(&mut messages);
        assert_eq!((&messages[0], &messages[2]), (&before[0], &before[2]));
        let bare = Message::assistant(vec![Block::text("a"), Block::text("b")]).encode();
        assert_eq!(messages[1], bare);
        let json = r#"{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"s"}]}"#;
        let mut only = [Message::from_json(json).unwrap().encode()];
        remove_thinking(&mut only);
        assert_eq!(only[0], message(Role::Assistant, ONLY_THINKING));
    }
}
