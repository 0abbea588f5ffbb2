//! A conversation as Markdown, for people. Pure.

use crate::api::message::{Block, Encoded, Role};
use crate::text::head_and_tail;

/// A longer tool result is cut to this many characters.
const LONGEST_RESULT: usize = 4_000;

/// Stands for a picture.
const PICTURE: &str = "(a picture)";

/// Returns the conversation with a heading for each speaker.
pub fn markdown(messages: &[Encoded]) -> String {
    let mut text = String::from("# A conversation with meanwhile\n");
    for message in messages.iter().map(Encoded::decode) {
        let is_result = |block: &Block| block.kind() == "tool_result";
        let heading = match message.role {
            Role::Assistant => "\n## Model\n",
            Role::User if message.content.iter().all(is_result) => "",
            Role::User => "\n## User\n",
        };
        text.push_str(heading);
        message.content.iter().for_each(|block| text.push_str(&block_text(block)));
    }
    text
}

fn block_text(block: &Block) -> String {
    match block.kind() {
        "text" => format!("\n{}\n", block.str("text").unwrap_or_default().trim_end()),
        "tool_use" => {
            let input = block.get("input").map(ToString::to_string).unwrap_or_default();
            format!("\n**{}**\n{}", block.str("name").unwrap_or_default(), fenced(&input))
        }
        "tool_result" => fenced(&head_and_tail(&block.result_text(PICTURE), LONGEST_RESULT)),
        "image" => format!("\n{PICTURE}\n"),
        _ => String::new(),
    }
}

/// The fence is longer than any in the text.
fn fenced(text: &str) -> String {
    let ticks = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(ticks.max(2) + 1);
    format!("\n{fence}\n{}\n{fence}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::message::Message;

    #[test]
    fn a_conversation_reads_well() {
        let messages = [
            r#"{"role":"user","content":[{"type":"text","text":"Do it."}]}"#,
            r#"{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"text","text":"I look."},{"type":"tool_use","id":"1","name":"bash","input":{"command":"ls"}}]}"#,
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"```\nx"}]}"#,
        ];
        let expected = "# A conversation with meanwhile\n\n## User\n\nDo it.\n\n## Model\n\nI look.\n\n**bash**\n\n```\n{\"command\":\"ls\"}\n```\n\n````\n```\nx\n````\n";
        assert_eq!(markdown(&messages.map(|json| Message::from_json(json).unwrap().encode())), expected);
    }
}
