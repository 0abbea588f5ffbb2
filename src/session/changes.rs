//! What a session is told when its system prompt and tools, which stay as they were sent, no longer say what is so.
//! Pure.

use serde_json::{Map, Value};

use super::prompt::INSTRUCTIONS;
use crate::api::message::{Block, Encoded};
use crate::api::request::Prefix;

/// How every such text begins: by this it is found again in the history.
const OPENING: &str = "(Since this session began, what the system prompt and the tools say has changed.";
const NOW: &str = " From now on this holds instead:)";
const AS_BEFORE: &str = " It is again as it was at the beginning.)";
const NO_INSTRUCTIONS: &str = "The project has no file with instructions.";

/// Returns what to tell before the next message, if `today` differs from what the session has `sent` and was last
/// told in `messages`.
pub fn news(sent: &Prefix, today: &Prefix, messages: &[Encoded]) -> Option<Block> {
    let changes = changes(sent, today);
    let now = (!changes.is_empty()).then(|| format!("{OPENING}{NOW}\n\n{}", changes.join("\n\n")));
    let told = messages.iter().rev().filter(|message| message.as_str().contains(OPENING));
    let told = told.flat_map(|message| message.decode().content).find(is_news);
    let now = now.or_else(|| told.as_ref().map(|_| format!("{OPENING}{AS_BEFORE}")));
    now.map(|now| Block::text(&now)).filter(|now| told.as_ref() != Some(now))
}

/// Whether `news` has returned this block.
pub fn is_news(block: &Block) -> bool {
    block.str("text").is_some_and(|text| text.starts_with(OPENING))
}

fn changes(sent: &Prefix, today: &Prefix) -> Vec<String> {
    let mut changes = Vec::new();
    let (old, new) = (parts(&sent.system), parts(&today.system));
    if old.0 != new.0 {
        changes.push(new.0.to_owned());
    }
    if old.1 != new.1 {
        changes.push(if new.1.is_empty() { NO_INSTRUCTIONS } else { new.1 }.to_owned());
    }
    let (old, new) = (tools(&sent.tools), tools(&today.tools));
    for tool in old.iter().filter(|tool| !new.contains(tool)) {
        let name = tool.get("name");
        let text = match new.iter().find(|new| new.get("name") == name) {
            Some(new) => format!("The definition of a tool: {}", Value::Object(new.clone())),
            None => format!("There is no tool {} any more.", name.unwrap_or(&Value::Null)),
        };
        changes.push(text);
    }
    changes
}

/// The system prompt without the project's instructions, and these.
fn parts(system: &str) -> (&str, &str) {
    let at = system.find(INSTRUCTIONS).unwrap_or(system.len());
    (system[..at].trim_end(), &system[at..])
}

fn tools(json: &str) -> Vec<Map<String, Value>> {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::message::Message;

    fn prefix(system: &str, tools: &str) -> Prefix {
        Prefix { system: system.into(), tools: tools.into() }
    }

    /// What is told, without its opening.
    fn told(sent: &Prefix, today: &Prefix, history: &[Block]) -> Option<String> {
        let messages = history.iter().map(|block| Message::user(vec![block.clone()]).encode());
        let block = news(sent, today, &messages.collect::<Vec<_>>())?;
        Some(block.str("text").unwrap().strip_prefix(OPENING).unwrap().to_owned())
    }

    #[test]
    fn what_has_changed_is_told_once() {
        let one = prefix("At /a.\n\n<instructions file=\"A\">\none</instructions>", r#"[{"name":"t"}]"#);
        let two =
            prefix("At /b.\n\n<instructions file=\"A\">\ntwo</instructions>", r#"[{"name":"t","d":1}]"#);
        let bare = prefix("At /a.", r#"[{"name":"u"}]"#);
        assert_eq!(told(&one, &one, &[]), None);
        let text = " From now on this holds instead:)\n\nAt /b.\n\n<instructions file=\"A\">\ntwo</instructions>\n\n\
                    The definition of a tool: {\"name\":\"t\",\"d\":1}";
        assert_eq!(told(&one, &two, &[]).as_deref(), Some(text));
        let history = [news(&one, &two, &[]).unwrap(), Block::text("hello")];
        assert_eq!(told(&one, &two, &history), None);
        assert_eq!(told(&one, &one, &history).as_deref(), Some(AS_BEFORE));
        let text = " From now on this holds instead:)\n\nThe project has no file with instructions.\n\n\
                    There is no tool \"t\" any more.";
        assert_eq!(told(&one, &bare, &history).as_deref(), Some(text));
    }
}
