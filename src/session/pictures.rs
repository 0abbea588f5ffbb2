//! The pictures in a history: how many a request may hold, and what takes their place. Pure.

use serde_json::Value;

use super::compaction::remove_thinking;
use super::measure::lengths;
use crate::api::message::{Block, Encoded};

/// With more pictures in a request, the API refuses those with a side of more than 2000 pixels; with more than 100, it
/// refuses the request (<https://docs.anthropic.com/en/docs/build-with-claude/vision>).
const MOST: usize = 20;

/// Their longest data, in bytes. The API takes requests of 32 MB, and there are words too.
const LONGEST: usize = 20 * 1024 * 1024;

/// Stands in a history before the data of a picture. In a text, the quotes would be escaped.
const BEGIN: &str = r#""type":"image","source":{"type":"base64","#;

/// What takes the place of a picture.
const GONE: &str = "(a picture was here, and was taken out of the conversation)";

/// Returns how many pictures at the end stay if there are more than a request may hold: half of what it may, so that
/// the history seldom changes. None if all stay.
pub fn kept(messages: &[Encoded]) -> Option<usize> {
    // Only the newest message can have brought more, and a long history is not searched for each request.
    messages.last().filter(|newest| !lengths(newest, BEGIN).is_empty())?;
    let all = messages.iter().rev().flat_map(|message| lengths(message, BEGIN).into_iter().rev());
    let lengths: Vec<usize> = all.collect();
    if lengths.len() <= MOST && lengths.iter().sum::<usize>() <= LONGEST {
        return None;
    }
    let mut room = LONGEST / 2;
    let fits = |length: &&usize| {
        let rest = room.checked_sub(**length);
        room = rest.unwrap_or(0);
        rest.is_some()
    };
    Some(lengths.iter().take(MOST / 2).take_while(fits).count())
}

/// Returns how many pictures there are.
pub fn count(messages: &[Encoded]) -> usize {
    messages.iter().map(|message| lengths(message, BEGIN).len()).sum()
}

/// Returns the messages with all but the last `keep` pictures, without these, and their numbers.
pub fn removed(messages: &[Encoded], mut keep: usize) -> Vec<(usize, Encoded)> {
    let mut changed = Vec::new();
    for (index, encoded) in
        messages.iter().enumerate().rev().filter(|(_, message)| !lengths(message, BEGIN).is_empty())
    {
        let mut message = encoded.decode();
        for block in message.content.iter_mut().rev() {
            remove(block, &mut keep);
        }
        let message = message.encode();
        if message != *encoded {
            changed.push((index, message));
        }
    }
    changed.reverse();
    changed
}

fn remove(block: &mut Block, keep: &mut usize) {
    let is_kept = |keep: &mut usize| std::mem::replace(keep, keep.saturating_sub(1)) > 0;
    match (block.kind(), block.get("content")) {
        ("image", _) if !is_kept(keep) => *block = Block::text(GONE),
        ("tool_result", Some(Value::Array(parts))) => {
            let mut parts = parts.clone();
            for part in parts.iter_mut().rev().filter(|part| part["type"] == "image") {
                if !is_kept(keep) {
                    *part = Value::Object(Block::text(GONE).fields().clone());
                }
            }
            block.set("content", Value::Array(parts));
        }
        _ => {}
    }
}

/// Puts the changed messages in their places, and takes out the thinking behind the first.
pub fn replace(messages: &mut [Encoded], changed: &[(usize, Encoded)]) {
    let first = changed.first().map_or(usize::MAX, |(first, _)| *first);
    for (index, message) in changed {
        messages.get_mut(*index).into_iter().for_each(|place| *place = message.clone());
    }
    messages.get_mut(first..).map(remove_thinking);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::message::Message;

    fn picture(length: usize) -> Value {
        let data = "A".repeat(length);
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}})
    }

    fn message(role: &str, content: Value) -> Encoded {
        Message::from_value(json!({"role": role, "content": content})).unwrap().encode()
    }

    fn result(parts: Value) -> Value {
        json!({"type": "tool_result", "tool_use_id": "t", "content": parts})
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    #[test]
    fn half_of_what_a_request_may_hold_stays() {
        let history = |lengths: &[usize]| -> Vec<Encoded> {
            lengths.iter().map(|length| message("user", json!([picture(*length), text(BEGIN)]))).collect()
        };
        let mib = 1024 * 1024;
        for (lengths, expected) in [
            (vec![], None),
            (vec![8; MOST], None),
            (vec![8; MOST + 1], Some(MOST / 2)),
            (vec![5 * mib; 4], None),
            (vec![5 * mib, 5 * mib, 5 * mib, 5 * mib, 8], Some(2)),
            (vec![5 * mib; 5], Some(2)),
        ] {
            assert_eq!(kept(&history(&lengths)), expected, "{} pictures", lengths.len());
        }
    }

    #[test]
    fn the_last_pictures_stay_where_they_are() {
        let result_of = |parts: Value| message("user", json!([result(parts), picture(4)]));
        let history = [
            message("user", json!([picture(1), text("see")])),
            message("assistant", json!([text("yes")])),
            result_of(json!([text("two"), picture(2), picture(3)])),
            message("user", json!([result(json!("no picture"))])),
        ];
        let whole = result_of(json!([text("two"), text(GONE), picture(3)]));
        let first = message("user", json!([text(GONE), text("see")]));
        assert_eq!(removed(&history, 4), []);
        assert_eq!(removed(&history, 3), [(0, first.clone())]);
        assert_eq!(removed(&history, 2), [(0, first), (2, whole)]);
        let none = removed(&history, 0);
        assert!(none.iter().all(|(_, message)| lengths(message, BEGIN).is_empty()) && none.len() == 2);
    }

    #[test]
    fn the_thinking_behind_a_change_goes_too() {
        let thinking = json!({"type": "thinking", "thinking": "", "signature": "s"});
        let thought = message("assistant", json!([thinking, text("a")]));
        let mut history = [thought.clone(), message("user", json!([picture(1)])), thought.clone()];
        let changed = removed(&history, 0);
        replace(&mut history, &changed);
        let expected =
            [thought, message("user", json!([text(GONE)])), message("assistant", json!([text("a")]))];
        assert_eq!(history, expected);
    }
}
