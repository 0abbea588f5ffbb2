//! The records of a session file, one a line, to and from their text. Pure.
//!
//! A record is a message as it entered the history, or an object with a `type`: who opened the file, what a
//! request used, what was done to the history. To load a session is to repeat its records in order.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::api::message::{Encoded, Message, Role};
use crate::api::reply::Usage;
use crate::api::request::Prefix;

/// How the line of a user message ends if none of its words are the user's own.
const NO_PROMPT: &str = r#","prompt":null}"#;

/// One line of a session file.
#[derive(Debug, PartialEq)]
pub enum Record {
    /// The first line.
    Session(Header),
    /// A process goes on with the session.
    Opened { pid: u64, time: u64 },
    /// A message of the history. `prompt` is the index of the block where the user's own words begin; tool
    /// results and notices have none.
    Message { message: Encoded, prompt: Option<usize> },
    /// What one request used.
    Usage(Usage),
    /// A background task began.
    TaskStarted(StartedTask),
    /// The history has the result of the task with this id.
    TaskDelivered(String),
    /// Everything since the mark was taken out of the history.
    RolledBack(Mark),
    /// Another prefix is sent from here on. All thinking left the history.
    Prefix(Prefix),
    /// Long tool results were shortened: these messages, with their numbers, took the place of what was there. All
    /// thinking behind the first left the history. Earlier versions wrote only how many messages at the end they kept.
    Shortened { messages: Vec<(usize, Encoded)>, keep: Option<usize> },
    /// A summary took the place of all but the last `keep` messages. Their thinking left the history.
    Compacted { summary: String, keep: usize },
    /// The history was made one that can be sent: these messages took the place of all from number `from` on.
    /// Earlier versions did not write them down.
    Repaired { from: usize, messages: Option<Vec<Encoded>> },
    /// All thinking left the history.
    ThinkingRemoved,
    /// Everything was taken out of the history.
    Cleared,
    /// Of a type that only a later version knows.
    Unknown(Value),
}

/// Which session it is, and who began it.
#[derive(Debug, PartialEq)]
pub struct Header {
    pub version: u64,
    pub id: String,
    pub folder: String,
    pub model: String,
    /// In seconds since 1970.
    pub time: u64,
    pub pid: u64,
    /// What is sent before the messages. Earlier versions did not write it down.
    pub prefix: Option<Prefix>,
}

/// A point in the history to go back to. Numbers that earlier versions did not write down are `usize::MAX`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub messages: usize,
    /// The last message as it was: it may have grown since.
    pub last: Option<Encoded>,
    /// How many tasks were delivered.
    pub delivered: usize,
    pub turns: usize,
    pub changes: Changes,
}

/// What was done to earlier messages so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Changes {
    /// By how many messages summaries have shortened the history.
    pub replaced: usize,
    /// How often something was changed, which the thinking behind it does not survive.
    pub rewrites: usize,
}

/// A background task, of this run of the program or an earlier one.
#[derive(Debug, Clone, PartialEq)]
pub struct StartedTask {
    pub id: String,
    pub command: String,
}

impl Record {
    /// Returns None if the line is damaged.
    pub fn parse(line: Vec<u8>) -> Option<Record> {
        let value: Value = serde_json::from_slice(&line).ok()?;
        drop(line);
        let Some(kind) = value["type"].as_str() else {
            return parse_message(value);
        };
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let number = |name: &str| value[name].as_u64();
        let count = |name: &str| number(name).map(|number| number as usize);
        Some(match kind {
            "session" => Record::Session(Header {
                version: number("version")?,
                id: text("id")?,
                folder: text("cwd")?,
                model: text("model")?,
                time: number("time")?,
                pid: number("pid")?,
                prefix: parse_prefix(&value),
            }),
            "opened" => Record::Opened { pid: number("pid")?, time: number("time")? },
            "usage" => Record::Usage(Usage::from_value(&value)),
            "task" => Record::TaskStarted(StartedTask { id: text("id")?, command: text("command")? }),
            "delivered" => Record::TaskDelivered(text("id")?),
            "roll_back" => Record::RolledBack(Mark {
                messages: count("messages")?,
                last: value["last"].as_str().and_then(Message::from_json).map(|last| last.encode()),
                delivered: count("told").unwrap_or(usize::MAX),
                turns: count("turns").unwrap_or(usize::MAX),
                changes: Changes {
                    replaced: count("replaced").unwrap_or(usize::MAX),
                    rewrites: count("rewrites").unwrap_or(usize::MAX),
                },
            }),
            "prefix" => Record::Prefix(parse_prefix(&value)?),
            "thinking_removed" => Record::ThinkingRemoved,
            "shortened" => Record::Shortened {
                messages: value["messages"].as_array().map_or(Some(Vec::new()), |all| numbered(all))?,
                keep: count("keep"),
            },
            "compacted" => Record::Compacted { summary: text("summary")?, keep: count("keep")? },
            "repaired" => {
                let parse = |value: &Value| Some(Message::from_value(value.clone())?.encode());
                let messages =
                    value["messages"].as_array().map(|messages| messages.iter().map(parse).collect());
                Record::Repaired { from: count("from").unwrap_or(0), messages: messages.flatten() }
            }
            "cleared" => Record::Cleared,
            _ => Record::Unknown(value),
        })
    }

    /// Returns the line, without its line feed, in two parts: the first may be large, and is not copied.
    pub fn text(&self) -> (Cow<'_, str>, String) {
        let value = match self {
            Record::Message { message, .. } if message.role() == Role::Assistant => {
                return (message.as_str().into(), String::new());
            }
            Record::Message { message, prompt: None } => return (unclosed(message), NO_PROMPT.to_owned()),
            Record::Message { message, prompt: Some(n) } => {
                return (unclosed(message), format!(r#","prompt":{n}}}"#));
            }
            Record::Session(header) => {
                let mut value = json!({
                    "type": "session", "version": header.version, "id": header.id, "cwd": header.folder,
                    "model": header.model, "time": header.time, "pid": header.pid,
                });
                if let Some(prefix) = &header.prefix {
                    write_prefix(&mut value, prefix);
                }
                value
            }
            Record::Prefix(prefix) => {
                let mut value = json!({"type": "prefix"});
                write_prefix(&mut value, prefix);
                value
            }
            Record::Opened { pid, time } => json!({"type": "opened", "pid": pid, "time": time}),
            Record::Usage(usage) => {
                let mut value = usage.to_value();
                value["type"] = "usage".into();
                value
            }
            Record::TaskStarted(task) => json!({"type": "task", "id": task.id, "command": task.command}),
            Record::TaskDelivered(id) => json!({"type": "delivered", "id": id}),
            Record::RolledBack(mark) => json!({
                "type": "roll_back", "messages": mark.messages, "last": mark.last.as_ref().map(Encoded::as_str),
                "told": mark.delivered, "turns": mark.turns, "replaced": mark.changes.replaced,
                "rewrites": mark.changes.rewrites,
            }),
            Record::Shortened { keep: Some(keep), .. } => json!({"type": "shortened", "keep": keep}),
            Record::Shortened { messages, keep: None } => {
                let messages = messages.iter().map(|(n, message)| format!("[{n},{}]", message.as_str()));
                let messages = messages.collect::<Vec<String>>().join(",");
                return (format!(r#"{{"type":"shortened","messages":[{messages}]}}"#).into(), String::new());
            }
            Record::Compacted { summary, keep } => {
                json!({"type": "compacted", "summary": summary, "keep": keep})
            }
            Record::Repaired { messages: None, .. } => json!({"type": "repaired"}),
            Record::Repaired { from, messages: Some(messages) } => {
                let messages: Vec<&str> = messages.iter().map(Encoded::as_str).collect();
                let text =
                    format!(r#"{{"type":"repaired","from":{from},"messages":[{}]}}"#, messages.join(","));
                return (text.into(), String::new());
            }
            Record::ThinkingRemoved => json!({"type": "thinking_removed"}),
            Record::Cleared => json!({"type": "cleared"}),
            Record::Unknown(value) => return (value.to_string().into(), String::new()),
        };
        (value.to_string().into(), String::new())
    }
}

/// Whether the line may begin or take back a turn of the user. Most lines are messages that don't, and those can
/// be large: how they begin and end tells, so that they need not be parsed.
pub fn may_change_turns(line: &[u8]) -> bool {
    let begins = |role: Role| line.starts_with(role.opening().as_bytes());
    let is_answer = begins(Role::User) && line.ends_with(NO_PROMPT.as_bytes());
    !is_answer && !begins(Role::Assistant)
}

/// Reads messages with their numbers.
fn numbered(values: &[Value]) -> Option<Vec<(usize, Encoded)>> {
    let parse = |value: &Value| {
        let message = Message::from_value(value[1].clone())?;
        Some((value[0].as_u64()? as usize, message.encode()))
    };
    values.iter().map(parse).collect()
}

/// Returns None if there is no system prompt or no tool. (The file may be damaged, or written by hand.)
fn parse_prefix(value: &Value) -> Option<Prefix> {
    let (system, tools) = (value["system"].as_str()?, value["tools"].as_str()?);
    let tools = tools.trim();
    let all: Vec<Map<String, Value>> = serde_json::from_str(tools).ok()?;
    // The cache marker goes into the last one.
    let can_be_sent = all.last().is_some_and(|last| !last.is_empty()) && tools.ends_with("}]");
    can_be_sent.then(|| Prefix { system: system.to_owned(), tools: tools.to_owned() })
}

fn write_prefix(value: &mut Value, prefix: &Prefix) {
    value["system"] = prefix.system.as_str().into();
    value["tools"] = prefix.tools.as_str().into();
}

fn parse_message(value: Value) -> Option<Record> {
    let prompt = value.get("prompt").map(|prompt| prompt.as_u64().map(|prompt| prompt as usize));
    let message = Message::from_value(value)?;
    // Earlier versions did not write down who spoke.
    let prompt = prompt.unwrap_or_else(|| {
        let text = message.content[0].str("text").filter(|text| !text.starts_with('<'));
        text.filter(|_| message.role == Role::User).map(|_| 0)
    });
    Some(Record::Message { message: message.encode(), prompt })
}

/// The text of the message, to which fields can be added.
fn unclosed(message: &Encoded) -> Cow<'_, str> {
    let text = message.as_str();
    text[..text.len() - 1].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Record> {
        Record::parse(line.as_bytes().to_vec())
    }

    #[test]
    fn every_record_is_read_as_it_was_written() {
        let lines = [
            r#"{"type":"session","version":1,"id":"0a1b","cwd":"/work","model":"m","time":2,"pid":3}"#,
            r#"{"type":"session","version":2,"id":"0a1b","cwd":"/work","model":"m","time":2,"pid":3,"system":"You","tools":"[{\"name\":\"bash\"}]"}"#,
            r#"{"type":"opened","pid":3,"time":2}"#,
            r#"{"role":"user","content":[{"type":"text","text":"<b>"}],"prompt":0}"#,
            r#"{"role":"user","content":[{"type":"text","text":"(a notice)"}],"prompt":null}"#,
            r#"{"role":"assistant","content":[{"type":"text","text":"yes"}]}"#,
            r#"{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":4,"type":"usage"}"#,
            r#"{"type":"task","id":"a1","command":"true"}"#,
            r#"{"type":"delivered","id":"a1"}"#,
            r#"{"type":"roll_back","messages":1,"last":null,"told":2,"turns":3,"replaced":0,"rewrites":1}"#,
            r#"{"type":"prefix","system":"You","tools":"[{\"name\":\"bash\"}]"}"#,
            r#"{"type":"thinking_removed"}"#,
            r#"{"type":"shortened","keep":1}"#,
            r#"{"type":"shortened","messages":[[2,{"role":"user","content":[{"type":"text","text":"a"}]}]]}"#,
            r#"{"type":"compacted","summary":"sum","keep":1}"#,
            r#"{"type":"repaired"}"#,
            r#"{"type":"repaired","from":1,"messages":[{"role":"assistant","content":[{"type":"text","text":"yes"}]}]}"#,
            r#"{"type":"cleared"}"#,
            r#"{"type":"of a later version","field":[1]}"#,
        ];
        for line in lines {
            let record = parse(line).unwrap();
            let (start, end) = record.text();
            assert_eq!(format!("{start}{end}"), line);
        }
    }

    #[test]
    fn who_spoke_is_guessed_in_files_of_earlier_versions() {
        let prompt = |role: &str, text: &str| {
            let block = json!({"type": "text", "text": text});
            match parse(&json!({"role": role, "content": [block]}).to_string()) {
                Some(Record::Message { prompt, .. }) => prompt,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(prompt("user", "hello"), Some(0));
        assert_eq!(prompt("user", "<background-results>"), None);
        assert_eq!(prompt("assistant", "hello"), None);
    }

    #[test]
    fn a_damaged_line_is_no_record() {
        let prefix = |tools: &str| json!({"type": "prefix", "system": "You", "tools": tools}).to_string();
        for tools in ["", "[]", "[{}]", "[{\"name\":\"bash\"} ]", "[1]"] {
            assert_eq!(parse(&prefix(tools)), None, "{tools}");
        }
        for line in ["", "[]", "{}", "{\"type\":1}", "{\"type\":\"roll_back\"}", "{\"role\":\"user\"}", "\0"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
