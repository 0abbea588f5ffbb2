//! How a history is made smaller: which results are shortened, what a summary replaces, and how the model is asked
//! for one. Pure.

use serde_json::Value;

use super::measure::weight;
use super::repair;
use crate::api::message::{Block, Encoded, Role};
use crate::text;

/// Longer tool results are shortened to this many characters.
pub const SHORT_RESULT: usize = 2000;

/// The same where there is no room for that.
pub const HARD_RESULT: usize = 200;

/// The line that says how much was left out is no longer than this, in characters. What was shortened once is not
/// shortened again.
const LEFT_OUT: usize = 100;

/// After a summary, at most this part of the history is kept, counted in bytes: a fifth.
const KEPT_SHARE: usize = 5;

/// An excerpt has no text that takes more than this part of it: an eighth.
const LONGEST_SHARE: usize = 8;

const NO_PICTURE: &str = "(a picture was left out to make room)";

/// Stands for a message that had nothing but thinking: a message must have a block.
const ONLY_THINKING: &str = "(no words)";

/// Asks the model for the summary.
pub const INSTRUCTION: &str = "The conversation is getting too long: a summary that you write now will replace it. \
Call no tools. Write down everything that is needed to continue without the conversation: the goal and what the user asked \
for, in the user's own words where they matter; the decisions and the reasons for them; the files that were read or changed, \
with their paths and what matters in them; commands that work; what is done, what is still open, and what comes next.";

/// Comes before the summary in the new history.
pub const INTRODUCTION: &str = "(The model summarized the conversation before this point, to make room.)";

/// Returns the messages with tool results longer than `limit` characters, shortened, and their numbers.
pub fn shortened(messages: &[Encoded], limit: usize) -> Vec<(usize, Encoded)> {
    // A message that is short itself has no long result.
    let long = messages.iter().enumerate().filter(|(_, message)| message.len() > limit);
    let short = long.map(|(index, message)| {
        let mut message = message.decode();
        message.content.iter_mut().for_each(|block| shorten_result(block, limit));
        (index, message.encode())
    });
    short.filter(|(index, short)| *short != messages[*index]).collect()
}

/// Shortens the long texts among the blocks.
pub fn shortened_texts(mut content: Vec<Block>) -> Vec<Block> {
    content.iter_mut().for_each(|block| shorten_field(block, "text", SHORT_RESULT));
    content
}

/// Returns messages that say about the same as `messages` in `most` bytes: the first one, and the last ones. Long texts
/// are shortened, pictures left out.
pub fn excerpt(messages: &[Encoded], most: usize) -> Vec<Encoded> {
    let limit = most / LONGEST_SHARE;
    let cut = |message: &Encoded| {
        let mut message = message.decode();
        for block in &mut message.content {
            shorten_result(block, limit);
            match block.kind() {
                "text" => shorten_field(block, "text", limit),
                "image" => *block = Block::text(NO_PICTURE),
                _ => {}
            }
        }
        message.encode()
    };
    let mut messages: Vec<Encoded> = messages.iter().map(cut).collect();
    // What it is bound to is left out.
    remove_thinking(&mut messages);
    let mut length = size(&messages);
    // The model's messages have odd numbers. One of them follows the first.
    let mut end = 1;
    while length > most && end + 2 < messages.len() {
        length -= size(&messages[end..end + 2]);
        end += 2;
    }
    messages.drain(1.min(end)..end);
    messages
}

fn shorten_result(block: &mut Block, limit: usize) {
    if block.kind() != "tool_result" {
        return;
    }
    if let Some(content @ Value::Array(_)) = block.get("content")
        && content.to_string().len() > limit + LEFT_OUT
    {
        let text = block.result_text(NO_PICTURE);
        block.set("content", text.into());
    }
    shorten_field(block, "content", limit);
}

fn shorten_field(block: &mut Block, name: &str, limit: usize) {
    let is_long = |text: &&str| text.chars().count() > limit + LEFT_OUT;
    if let Some(text) = block.str(name).filter(is_long) {
        let short = text::head_and_tail(text, limit).into_owned();
        block.set(name, short.into());
    }
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
        length += weight(message) as usize;
        let is_needed = inside_turn && kept == 0;
        if length > total / KEPT_SHARE && !is_needed {
            break;
        }
        if message.role() == Role::Assistant && !repair::answers_another(message) {
            kept = index + 1;
        }
    }
    let older = size(&messages[..messages.len() - kept]);
    let is_worth_it = messages.len() > kept.max(1) && older >= total / KEPT_SHARE;
    is_worth_it.then_some(kept)
}

/// Returns the size of the messages in bytes. A picture counts as a text with as many tokens.
pub fn size(messages: &[Encoded]) -> usize {
    messages.iter().map(|message| weight(message) as usize).sum()
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
    fn a_large_picture_at_the_end_is_no_reason_to_keep_the_rest() {
        let data = "A".repeat(1_000_000);
        let source = format!(r#"{{"type":"base64","media_type":"image/png","data":"{data}"}}"#);
        let json = format!(r#"{{"role":"user","content":[{{"type":"image","source":{source}}}]}}"#);
        let picture = Message::from_json(&json).unwrap().encode();
        let history =
            [message(Role::User, &"text ".repeat(20_000)), message(Role::Assistant, "I look."), picture];
        assert_eq!(kept(&history, true), Some(2));
    }

    #[test]
    fn a_result_of_the_servers_tools_stays_with_its_call() {
        let call = r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{}}"#;
        let found = r#"{"type":"web_search_tool_result","tool_use_id":"s","content":[]}"#;
        let reply = |content: &str| {
            let json = format!(r#"{{"role":"assistant","content":[{content}]}}"#);
            Message::from_json(&json).unwrap().encode()
        };
        let (long, short) = (message(Role::User, &"text ".repeat(1000)), message(Role::User, "text"));
        let apart = [long.clone(), reply(call), short.clone(), reply(found), short.clone()];
        assert_eq!(kept(&apart, true), Some(4));
        let together = [long, reply(&format!("{call},{found}")), short.clone()];
        assert_eq!(kept(&together, true), Some(2));
    }

    #[test]
    fn only_long_results_are_shortened() {
        let long = "x".repeat(5000);
        let result = Message::user(vec![Block::tool_result("t", &long, false), Block::text(&long)]);
        let mut messages = [message(Role::User, "short"), result.encode()];
        let [(1, short)] = &shortened(&messages, SHORT_RESULT)[..] else { panic!("one of them is long") };
        let result = short.decode();
        assert!(result.content[0].str("content").unwrap().len() < 2100);
        assert_eq!(result.content[1], Block::text(&long));
        messages[1] = short.clone();
        assert_eq!(shortened(&messages, SHORT_RESULT), []);
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
