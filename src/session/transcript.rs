//! The history of a session: append-only, held as the JSON that is sent, and written to a file as it grows.
//!
//! It is always a history that the API takes once a user message is at its end: roles alternate, and
//! every `tool_use` is answered in the next message. Loading a file repeats what was done to the history.

mod change;

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    repair,
    store::{SessionFile, Store},
};
use crate::api::{
    message::{self, Block, Encoded, Message, Role},
    reply::Usage,
};

pub use change::Mark;

/// Rather too few: what is estimated then does fit.
const BYTES_PER_TOKEN: usize = 3;

#[derive(Default)]
pub struct Transcript {
    messages: Vec<Encoded>,
    /// Of the session, kept or not.
    pub id: String,
    keeping: Keeping,
    /// What is wrong with the file, until somebody has asked.
    failure: Option<String>,
    /// How often a summary took the place of messages: what was counted before is not there any more.
    compactions: usize,
    /// The background tasks of whose end the model does not know, and those of whose it does.
    untold: Vec<StartedTask>,
    told: Vec<StartedTask>,
    /// What the session has used so far.
    pub usage: Usage,
    /// How many tokens the history takes: as the last reply has said, and by their bytes what came after it.
    pub tokens: u64,
    /// What the last request and its reply took, until the reply is in the history.
    request: u64,
}

/// Where the history is written.
#[derive(Default)]
pub enum Keeping {
    #[default]
    Nowhere,
    /// In a new session, which begins with the first message.
    New {
        store: Store,
        folder: PathBuf,
        model: String,
    },
    In(SessionFile),
}

/// A background task, in this run of the program or in another.
#[derive(Debug, PartialEq)]
pub struct StartedTask {
    pub id: String,
    pub command: String,
}

impl Transcript {
    /// The history that `lines` tell of. Fails when they can't be read.
    pub fn load(lines: impl Iterator<Item = io::Result<String>>) -> io::Result<Transcript> {
        let mut transcript = Transcript::default();
        let mut damaged = 0;
        for line in lines {
            let line = line?;
            if let Some(message) = Message::from_json(&line) {
                drop(line);
                transcript.add(message.encode());
                continue;
            }
            let Ok(record) = serde_json::from_str::<Value>(&line) else {
                damaged += 1;
                continue;
            };
            match record["type"].as_str() {
                Some("usage") => transcript.count(&Usage::from_value(&record)),
                Some(_) => transcript.repeat(&record),
                None => {}
            }
        }
        if damaged > 0 {
            let text = "damaged lines in the session's file, which are left out";
            transcript.failure = Some(format!("{text}: {damaged}"));
        }
        Ok(transcript)
    }

    /// From now on every change is written there.
    pub fn keep(&mut self, keeping: Keeping) {
        self.id = match &keeping {
            Keeping::In(file) => file.id.clone(),
            _ => Uuid::new_v4().to_string(),
        };
        self.keeping = keeping;
    }

    /// The id of the session, once something of it is kept.
    pub fn kept_id(&self) -> Option<&str> {
        matches!(self.keeping, Keeping::In(_)).then_some(&self.id)
    }

    /// There is no place to keep the session in: it is said once.
    pub fn keep_nowhere(&mut self) {
        self.keep(Keeping::Nowhere);
        self.failure = Some("the session is not kept: there is no folder for it".into());
    }

    /// What is wrong with the file, once: it could not be read whole, or can no longer be written.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Adds what the user side says. After a request that failed, it goes on the message that is already there.
    pub fn push_user(&mut self, content: Vec<Block>) {
        self.push(Message::user(content));
    }

    /// Adds what the model said; nothing when it said nothing.
    pub fn push_assistant(&mut self, content: Vec<Block>) {
        self.push(Message::assistant(content));
    }

    /// Adds the message of a reply. After a pause it goes on its own message.
    pub fn push_reply(&mut self, message: Encoded) {
        self.append(message.as_str());
        self.add(message);
    }

    /// The program may have ended while tools ran, or the file was damaged: the history is made one that can be sent. The file is told, since what
    /// it says later of places in the history is about the one that was repaired.
    pub fn repair(&mut self) {
        if repair::repaired(&self.messages) != self.messages {
            self.change(json!({"type": "repaired"}));
        }
    }

    /// The messages as they are sent; cloned by reference.
    pub fn messages(&self) -> Vec<Encoded> {
        self.messages.clone()
    }

    /// Their size in bytes.
    pub fn size(&self) -> usize {
        self.messages.iter().map(|message| message.len()).sum()
    }

    /// The background tasks of whose end the model does not know.
    pub fn untold(&self) -> &[StartedTask] {
        &self.untold
    }

    pub fn add_usage(&mut self, usage: &Usage) {
        self.count(usage);
        let mut record = usage.to_value();
        record["type"] = "usage".into();
        self.append(&record.to_string());
    }

    fn count(&mut self, usage: &Usage) {
        self.usage.add(usage);
        self.request = usage.context();
    }

    fn push(&mut self, message: Message) {
        if !message.content.is_empty() {
            let message = message.encode();
            self.append(message.as_str());
            self.add(message);
        }
    }

    fn add(&mut self, message: Encoded) {
        match message.role() {
            Role::User => self.tokens = self.tokens.saturating_add(estimate(message.len())),
            Role::Assistant if self.request > 0 => self.tokens = std::mem::take(&mut self.request),
            Role::Assistant => {}
        }
        message::push(&mut self.messages, message);
    }

    fn append(&mut self, line: &str) {
        if let Err(err) = self.keeping.append(&self.id, line) {
            self.failure = Some(format!("the session is not kept from here on: {err}"));
            self.keeping = Keeping::Nowhere;
        }
    }
}

impl Keeping {
    fn append(&mut self, id: &str, line: &str) -> io::Result<()> {
        let describe = |path: &Path, err: io::Error| {
            io::Error::new(err.kind(), format!("failed to write `{}`: {err}", path.display()))
        };
        if let Keeping::New { store, folder, model } = self {
            let file = store.create(id, folder, model).map_err(|err| describe(&store.folder, err))?;
            *self = Keeping::In(file);
        }
        match self {
            Keeping::In(file) => file.append(line).map_err(|err| describe(file.path(), err)),
            _ => Ok(()),
        }
    }
}

fn estimate(bytes: usize) -> u64 {
    (bytes / BYTES_PER_TOKEN) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(transcript: &Transcript) -> Vec<String> {
        transcript.messages().iter().map(|message| message.as_str().to_owned()).collect()
    }

    fn load(lines: Vec<String>) -> Transcript {
        Transcript::load(lines.into_iter().map(Ok)).unwrap()
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| line.to_string()).collect()
    }

    const ONE: &str = r#"{"role":"user","content":[{"type":"text","text":"one"}]}"#;
    const TWO: &str = r#"{"role":"assistant","content":[{"type":"text","text":"two"}]}"#;
    const THREE: &str = r#"{"role":"user","content":[{"type":"text","text":"three"}]}"#;
    const CALL: &str =
        r#"{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"bash","input":{}}]}"#;

    #[test]
    fn roles_alternate_whatever_failed() {
        let mut transcript = Transcript::default();
        for text in ["one", "two"] {
            transcript.push_user(vec![Block::text(text)]);
        }
        transcript.push_assistant(vec![]);
        transcript.push_user(vec![]);
        transcript.push_user(vec![Block::text("three")]);
        transcript.push_assistant(vec![Block::text("four")]);
        let expected = [
            r#"{"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"},{"type":"text","text":"three"}]}"#,
            r#"{"role":"assistant","content":[{"type":"text","text":"four"}]}"#,
        ];
        assert_eq!(texts(&transcript), expected);
    }

    #[test]
    fn what_is_rolled_back_is_gone_after_loading_too() {
        let mut transcript = Transcript::default();
        transcript.push_user(vec![Block::text("one")]);
        let mark = transcript.mark();
        transcript.push_user(vec![Block::text("more")]);
        transcript.push_assistant(vec![Block::text("no")]);
        transcript.roll_back(mark);
        assert_eq!(texts(&transcript), [ONE]);

        let back = json!({"type": "roll_back", "messages": 1, "last": ONE}).to_string();
        let loaded = load(lines(&[ONE, THREE, TWO, &back, TWO]));
        assert_eq!(texts(&loaded), [ONE, TWO]);
    }

    #[test]
    fn what_was_summarized_since_is_not_brought_back() {
        let mut transcript = Transcript::default();
        transcript.push_user(vec![Block::text("one")]);
        transcript.push_assistant(vec![Block::text("two")]);
        let mark = transcript.mark();
        transcript.push_user(vec![Block::text("three")]);
        transcript.compact("sum", 1);
        transcript.push_assistant(vec![Block::text("no")]);
        transcript.roll_back(mark);
        let summary = r#"{"role":"user","content":[{"type":"text","text":"sum"}]}"#;
        assert_eq!(texts(&transcript), [summary]);
    }

    #[test]
    fn loading_names_tasks_nobody_was_told_of_and_repair_answers_open_calls() {
        let mut loaded = load(lines(&[
            r#"{"type":"session","version":1}"#,
            ONE,
            r#"{"type":"task","id":"a1","command":"sleep 9"}"#,
            r#"{"type":"task","id":"b2","command":"true"}"#,
            r#"{"type":"delivered","id":"b2"}"#,
            "not JSON",
            r#"{"type":"of a later version"}"#,
            CALL,
        ]));
        assert_eq!(loaded.untold(), [StartedTask { id: "a1".into(), command: "sleep 9".into() }]);
        loaded.repair();
        let texts = texts(&loaded);
        assert_eq!(texts[..2], [ONE, CALL]);
        let answer =
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"result lost: "#;
        assert!(texts[2].starts_with(answer), "{}", texts[2]);
    }

    #[test]
    fn a_damaged_file_is_repaired_once_and_its_history_goes_on() {
        let result =
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"ok"}]}"#;
        let back = json!({"type": "roll_back", "messages": 2, "last": "no message"}).to_string();
        let damaged = [result, TWO, THREE, TWO, &back];
        let mut loaded = load(lines(&damaged));
        loaded.repair();
        assert_eq!(texts(&loaded)[1..], [TWO]);
        loaded.repair();
        assert_eq!(texts(&loaded).len(), 2);

        let repaired = r#"{"type":"repaired"}"#;
        let rest = [THREE, TWO, r#"{"type":"roll_back","messages":3,"last":null}"#];
        let again = load(lines(&[&damaged[..], &[repaired], &rest].concat()));
        assert_eq!(texts(&again)[1..], [TWO, THREE]);
    }

    #[test]
    fn a_summary_takes_the_place_of_what_is_old() {
        let compacted = r#"{"type":"compacted","summary":"sum","keep":1}"#;
        let loaded = load(lines(&[ONE, TWO, THREE, TWO, compacted, THREE]));
        let summary = r#"{"role":"user","content":[{"type":"text","text":"sum"}]}"#;
        assert_eq!(texts(&loaded), [summary, TWO, THREE]);
        let cleared = load(lines(&[ONE, r#"{"type":"cleared"}"#, THREE]));
        assert_eq!(texts(&cleared), [THREE]);
    }

    #[test]
    fn what_a_summary_took_is_not_what_the_history_takes() {
        let mut transcript = Transcript::default();
        let usage = Usage { input: 9000, ..Usage::default() };
        transcript.push_user(vec![Block::text("one")]);
        transcript.add_usage(&usage);
        transcript.push_assistant(vec![Block::text("two")]);
        assert_eq!(transcript.tokens, 9000);
        transcript.add_usage(&usage);
        transcript.compact("sum", 0);
        // Interrupted: it has no usage.
        transcript.push_assistant(vec![Block::text("three")]);
        assert!(transcript.tokens < 100, "{}", transcript.tokens);
    }

    #[test]
    fn what_was_told_in_a_turn_that_is_rolled_back_is_untold() {
        let mut transcript = Transcript::default();
        for id in ["a1", "b2"] {
            transcript.task_started(id, "true");
        }
        transcript.task_delivered("a1");
        let mark = transcript.mark();
        transcript.task_delivered("b2");
        assert_eq!(transcript.untold(), []);
        transcript.roll_back(mark);
        assert_eq!(transcript.untold()[0].id, "b2");
        assert_eq!(transcript.untold().len(), 1);
    }
}
