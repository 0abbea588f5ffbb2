//! The history of a session: held as the JSON that is sent, and written to the session file as it grows.
//!
//! Roles alternate, and every `tool_use` is answered in the next message, so that the API takes the history once
//! a user message is at its end. Every change is a record; loading a session repeats the records.

use std::{path::PathBuf, slice};

use uuid::Uuid;

use super::compaction::SHORT_RESULT;
use super::measure::{self, Measure};
use super::records::{Changes, Mark, Record, StartedTask};
use super::store::{SessionFile, Store, Which};
use super::{compaction, pictures, repair};
use crate::api::message::{Block, Encoded, Message, Role, push};
use crate::api::reply::Usage;
use crate::api::request::Prefix;
use crate::error::{Error, Result};

#[derive(Default)]
pub struct Transcript {
    messages: Vec<Encoded>,
    /// The id of the session, saved or not.
    pub id: String,
    /// What is sent before the messages; empty until the session has begun.
    prefix: Prefix,
    keeping: Keeping,
    /// What went wrong when the session file was read or written, until somebody has asked.
    failure: Option<String>,
    changes: Changes,
    /// How many messages the user wrote.
    turns: usize,
    undelivered: Vec<StartedTask>,
    delivered: Vec<StartedTask>,
    /// What the session has used so far.
    pub usage: Usage,
    measure: Measure,
}

/// Where the history is written.
#[derive(Default)]
pub enum Keeping {
    #[default]
    Nowhere,
    /// To a new session file, which the first record creates. There may be no folder for it.
    New { store: Option<Store>, folder: PathBuf, model: String },
    /// To the open file of a session.
    In(SessionFile),
}

impl Transcript {
    /// Begins a session with an id of its own.
    pub fn new(keeping: Keeping) -> Transcript {
        Transcript { id: Uuid::new_v4().to_string(), keeping, ..Transcript::default() }
    }

    /// Opens a saved session to continue it. Fails if there is no such session, if it can't be read, or if another
    /// process has it open.
    pub fn resume(store: &Store, which: Which) -> Result<Transcript> {
        let (mut transcript, mut damaged, mut is_bound) = (Transcript::default(), 0, true);
        let file = store.open(which, |record| match record {
            Some(record) => {
                is_bound |= record == Record::ThinkingRemoved;
                transcript.apply(record);
            }
            None => {
                is_bound = false;
                damaged += 1;
            }
        })?;
        if damaged > 0 {
            transcript.failure = Some(format!("skipped {damaged} unreadable lines of the session file"));
        }
        transcript.id = file.id.clone();
        transcript.keeping = Keeping::In(file);
        transcript.repair();
        if !is_bound {
            // What an unreadable line said came before some of it.
            transcript.remove_thinking();
        }
        Ok(transcript)
    }

    /// Makes the history one that can be sent. The file says so, since what later records say of places in the
    /// history is about the repaired one.
    fn repair(&mut self) {
        let mut repaired = repair::repaired(&self.messages);
        let pairs = repaired.iter().zip(&self.messages);
        let from = pairs.take_while(|(repaired, message)| repaired == message).count();
        if from < repaired.len().max(self.messages.len()) {
            let mut messages = repaired.split_off(from);
            compaction::remove_thinking(&mut messages);
            self.record(Record::Repaired { from, messages: Some(messages) });
        }
    }

    /// Takes all thinking out of the history.
    pub fn remove_thinking(&mut self) {
        self.record(Record::ThinkingRemoved);
    }

    /// Takes out the calls of server tools with which a reply was left. The next message is not about them.
    pub fn settle(&mut self) {
        if !repair::open_server_calls(&self.messages).is_empty() {
            self.repair();
        }
    }

    /// Returns the id of the session once a part of it is saved.
    pub fn kept_id(&self) -> Option<&str> {
        matches!(self.keeping, Keeping::In(_)).then_some(&self.id)
    }

    /// Returns what went wrong when the session file was read or written, and forgets it.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Begins a session with `prefix`. A saved session keeps what it has sent; if an earlier version did not write
    /// that down, `prefix` takes its place, and all thinking leaves the history; and so it does if only `prefix` has
    /// the tools for the web, which are added then.
    pub fn begin(&mut self, prefix: &Prefix) {
        match self.keeping {
            _ if self.prefix != Prefix::default() => {
                if prefix.has_web() && !self.prefix.has_web() {
                    self.record(Record::Prefix(self.prefix.clone().with_web()));
                }
            }
            Keeping::In(_) => self.record(Record::Prefix(prefix.clone())),
            // The first record will have it.
            Keeping::Nowhere | Keeping::New { .. } => {
                self.prefix = prefix.clone();
                self.measure.change(&self.prefix, &self.messages);
            }
        }
    }

    /// Returns what is sent before the messages.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Returns the messages as they are sent; their texts are shared.
    pub fn messages(&self) -> Vec<Encoded> {
        self.messages.clone()
    }

    /// Returns how many tokens the history takes, with what is sent before it: what the server has counted, or else an
    /// estimate.
    pub fn tokens(&self) -> u64 {
        self.measure.tokens()
    }

    /// Does the same for other messages that are sent in this session.
    pub fn tokens_of(&self, messages: &[Encoded]) -> u64 {
        // Texts that are shared are not compared.
        if messages == self.messages {
            return self.tokens();
        }
        self.measure.tokens_of(measure::size(&self.prefix, messages))
    }

    /// Takes note of what the server has counted for these messages, in tokens.
    pub fn counted(&mut self, messages: &[Encoded], tokens: u64) {
        self.measure.counted(tokens, measure::size(&self.prefix, messages));
    }

    /// Returns the tasks whose result is not in the history.
    pub fn undelivered(&self) -> &[StartedTask] {
        &self.undelivered
    }

    /// Adds a user message, or adds to the one that is last. `prompt` is the index of the block where the user's
    /// own words begin, if there are any.
    pub fn push_user(&mut self, content: Vec<Block>, prompt: Option<usize>) {
        if !content.is_empty() {
            self.record(Record::Message { message: Message::user(content).encode(), prompt });
        }
    }

    /// Adds the message of a reply, or adds to the one that is last: a turn that was paused goes on.
    pub fn push_reply(&mut self, message: Encoded) {
        self.record(Record::Message { message, prompt: None });
    }

    /// Counts what a request used.
    pub fn add_usage(&mut self, usage: &Usage) {
        self.record(Record::Usage(*usage));
    }

    /// Adds a task whose result is not delivered yet.
    pub fn task_started(&mut self, id: &str, command: &str) {
        self.record(Record::TaskStarted(StartedTask { id: id.to_owned(), command: command.to_owned() }));
    }

    /// Says that the history now has the result of a task.
    pub fn task_delivered(&mut self, id: &str) {
        self.record(Record::TaskDelivered(id.to_owned()));
    }

    /// Returns the point in the history that is reached now.
    pub fn mark(&self) -> Mark {
        Mark {
            changes: self.changes,
            turns: self.turns,
            delivered: self.delivered.len(),
            messages: self.messages.len(),
            last: self.messages.last().cloned(),
        }
    }

    /// Returns the ids of the tasks that were delivered since `mark`.
    pub fn delivered_since(&self, mark: &Mark) -> Vec<String> {
        self.delivered.iter().skip(mark.delivered).map(|task| task.id.clone()).collect()
    }

    /// Takes everything since `mark` out of the history; results delivered since are undelivered again. What was
    /// summarized since can't be restored: the summary stays.
    pub fn roll_back(&mut self, mark: Mark) {
        self.record(Record::RolledBack(mark));
    }

    /// Shortens the tool results of all but the last `keep` messages to `limit` characters. Returns whether one was
    /// longer.
    pub fn shorten(&mut self, keep: usize, limit: usize) -> bool {
        let older = self.messages.len().saturating_sub(keep);
        let messages = compaction::shortened(&self.messages[..older], limit);
        let has_long = !messages.is_empty();
        if has_long {
            self.record(Record::Shortened { messages, keep: None });
        }
        has_long
    }

    /// Takes out all but the last `keep` pictures.
    pub fn remove_pictures(&mut self, keep: usize) {
        let messages = pictures::removed(&self.messages, keep);
        if !messages.is_empty() {
            self.record(Record::Shortened { messages, keep: None });
        }
    }

    /// Replaces all but the last `keep` messages, of which the first is the model's, by a summary.
    pub fn compact(&mut self, summary: &str, keep: usize) {
        self.record(Record::Compacted { summary: summary.to_owned(), keep });
    }

    /// Takes everything out of the history.
    pub fn clear(&mut self) {
        self.record(Record::Cleared);
    }

    /// Writes the record, then does what it says.
    fn record(&mut self, record: Record) {
        if let Err(err) = self.keeping.append(&self.id, &self.prefix, &record) {
            self.failure = Some(format!("the session is no longer saved: {err}"));
            self.keeping = Keeping::Nowhere;
        }
        self.apply(record);
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Session(header) => {
                self.prefix = header.prefix.unwrap_or_default();
                self.measure.change(&self.prefix, &self.messages);
            }
            Record::Opened { .. } | Record::Unknown(_) => {}
            Record::Message { message, prompt } => {
                self.turns += usize::from(prompt.is_some());
                self.measure.add(&message, message.role() == Role::Assistant);
                push(&mut self.messages, message);
            }
            Record::Usage(usage) => {
                self.usage.add(&usage);
                self.measure.used(&usage);
            }
            Record::TaskStarted(task) => self.undelivered.push(task),
            Record::TaskDelivered(id) => {
                self.delivered.extend(self.undelivered.extract_if(.., |task| task.id == id));
            }
            change => self.rewrite(change),
        }
    }

    /// Applies a record that changes what is in the history.
    fn rewrite(&mut self, change: Record) {
        match change {
            Record::RolledBack(mark) => self.go_back(mark),
            Record::Shortened { mut messages, keep } => {
                if let Some(keep) = keep {
                    let older = self.messages.len().saturating_sub(keep);
                    messages = compaction::shortened(&self.messages[..older], SHORT_RESULT);
                }
                pictures::replace(&mut self.messages, &messages);
                self.changes.rewrites += 1;
            }
            Record::Compacted { summary, keep } => {
                let older = self.messages.len().saturating_sub(keep);
                let summary = Message::user(vec![Block::text(&summary)]).encode();
                self.messages.splice(..older, [summary]);
                self.unbind();
                self.changes.replaced += older.saturating_sub(1);
                self.measure.forget();
            }
            Record::Repaired { messages: None, .. } => {
                self.messages = repair::repaired(&self.messages);
                self.changes.rewrites += 1;
            }
            Record::Repaired { from, messages: Some(messages) } => {
                self.messages.truncate(from);
                self.messages.extend(messages);
                self.changes.rewrites += 1;
            }
            Record::Prefix(prefix) => {
                self.prefix = prefix;
                self.unbind();
            }
            Record::ThinkingRemoved => self.unbind(),
            Record::Cleared => {
                self.messages.clear();
                self.measure.forget();
            }
            _ => {}
        }
        self.measure.change(&self.prefix, &self.messages);
    }

    fn go_back(&mut self, mark: Mark) {
        let delivered = self.delivered.len().min(mark.delivered);
        self.undelivered.extend(self.delivered.drain(delivered..));
        self.turns = self.turns.min(mark.turns);
        // What was summarized since can't be restored: the summary stays.
        let replaced = self.changes.replaced.saturating_sub(mark.changes.replaced);
        let messages = mark.messages.saturating_sub(replaced).max(replaced.min(1));
        self.messages.truncate(messages);
        let is_kept = replaced == 0 || messages > 1;
        if let Some(last) = mark.last.filter(|_| is_kept)
            && let Some(place) = self.messages.last_mut()
        {
            *place = last;
            // Since then, something before it was changed.
            if self.changes.rewrites != mark.changes.rewrites {
                compaction::remove_thinking(slice::from_mut(place));
            }
        }
    }

    /// Takes out all thinking: what it is bound to was changed.
    fn unbind(&mut self) {
        compaction::remove_thinking(&mut self.messages);
        self.changes.rewrites += 1;
    }
}

impl Keeping {
    fn append(&mut self, id: &str, prefix: &Prefix, record: &Record) -> Result<()> {
        if let Keeping::New { store, folder, model } = self {
            let no_folder = || Error::Session("there is no folder for it".into());
            let store = store.as_ref().ok_or_else(no_folder)?;
            *self = Keeping::In(store.create(id, folder, model, prefix)?);
        }
        match self {
            Keeping::In(file) => file.append(record),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(transcript: &Transcript) -> Vec<String> {
        transcript.messages().iter().map(|message| message.as_str().to_owned()).collect()
    }

    fn load(lines: Vec<String>) -> Transcript {
        let mut transcript = Transcript::default();
        let records = lines.into_iter().filter_map(|line| Record::parse(line.into_bytes()));
        records.for_each(|record| transcript.apply(record));
        transcript
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| line.to_string()).collect()
    }

    fn user(transcript: &mut Transcript, text: &str) {
        transcript.push_user(vec![Block::text(text)], Some(0));
    }

    fn model(transcript: &mut Transcript, text: &str) {
        transcript.push_reply(Message::assistant(vec![Block::text(text)]).encode());
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
            user(&mut transcript, text);
        }
        transcript.push_user(vec![], None);
        user(&mut transcript, "three");
        model(&mut transcript, "four");
        let expected = [
            r#"{"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"},{"type":"text","text":"three"}]}"#,
            r#"{"role":"assistant","content":[{"type":"text","text":"four"}]}"#,
        ];
        assert_eq!(texts(&transcript), expected);
    }

    #[test]
    fn what_is_rolled_back_is_gone_after_loading_too() {
        let mut transcript = Transcript::default();
        user(&mut transcript, "one");
        let mark = transcript.mark();
        user(&mut transcript, "more");
        model(&mut transcript, "no");
        transcript.roll_back(mark);
        assert_eq!(texts(&transcript), [ONE]);

        let back = json!({"type": "roll_back", "messages": 1, "last": ONE}).to_string();
        let loaded = load(lines(&[ONE, THREE, TWO, &back, TWO]));
        assert_eq!(texts(&loaded), [ONE, TWO]);
    }

    #[test]
    fn what_was_kept_beside_a_summary_since_stays_when_rolled_back() {
        let mut transcript = Transcript::default();
        user(&mut transcript, "one");
        model(&mut transcript, "two");
        user(&mut transcript, "three");
        model(&mut transcript, "two");
        let mark = transcript.mark();
        user(&mut transcript, "no");
        transcript.compact("sum", 2);
        transcript.roll_back(mark);
        let summary = r#"{"role":"user","content":[{"type":"text","text":"sum"}]}"#;
        assert_eq!(texts(&transcript), [summary, TWO]);
    }

    #[test]
    fn what_was_summarized_since_is_not_brought_back() {
        let mut transcript = Transcript::default();
        user(&mut transcript, "one");
        model(&mut transcript, "two");
        let mark = transcript.mark();
        user(&mut transcript, "three");
        transcript.compact("sum", 1);
        model(&mut transcript, "no");
        transcript.roll_back(mark);
        let summary = r#"{"role":"user","content":[{"type":"text","text":"sum"}]}"#;
        assert_eq!(texts(&transcript), [summary]);
    }

    #[test]
    fn loading_names_undelivered_tasks_and_repair_answers_open_calls() {
        let mut loaded = load(lines(&[
            r#"{"type":"opened","pid":1,"time":2}"#,
            ONE,
            r#"{"type":"task","id":"a1","command":"sleep 9"}"#,
            r#"{"type":"task","id":"b2","command":"true"}"#,
            r#"{"type":"delivered","id":"b2"}"#,
            "not JSON",
            r#"{"type":"of a later version"}"#,
            CALL,
        ]));
        assert_eq!(loaded.undelivered(), [StartedTask { id: "a1".into(), command: "sleep 9".into() }]);
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
        user(&mut transcript, "one");
        transcript.add_usage(&usage);
        model(&mut transcript, "two");
        assert_eq!(transcript.tokens(), 9000);
        transcript.add_usage(&usage);
        transcript.compact("sum", 0);
        // Interrupted: it has no usage.
        model(&mut transcript, "three");
        assert!(transcript.tokens() < 100, "{}", transcript.tokens());
    }

    #[test]
    fn what_was_delivered_in_a_turn_that_is_rolled_back_is_undelivered() {
        let mut transcript = Transcript::default();
        for id in ["a1", "b2"] {
            transcript.task_started(id, "true");
        }
        transcript.task_delivered("a1");
        let mark = transcript.mark();
        transcript.task_delivered("b2");
        assert_eq!(transcript.undelivered(), []);
        transcript.roll_back(mark);
        assert_eq!(transcript.undelivered()[0].id, "b2");
        assert_eq!(transcript.undelivered().len(), 1);
    }
}
