//! What is done to a history beside adding to it. Each change is a record in the session's file, and loading it
//! repeats what the record says.

use serde_json::{Value, json};

use super::{StartedTask, Transcript, estimate};
use crate::{
    api::message::{Block, Encoded, Message},
    session::{compaction, repair},
};

/// A point in the history to go back to.
pub struct Mark {
    compactions: usize,
    told: usize,
    count: usize,
    last: Option<Encoded>,
}

impl Transcript {
    pub fn mark(&self) -> Mark {
        Mark {
            compactions: self.compactions,
            told: self.told.len(),
            count: self.messages.len(),
            last: self.messages.last().cloned(),
        }
    }

    /// Takes everything since `mark` out of the history; the file keeps it. What was told since is untold. What was summarized since can't
    /// be brought back: then the summary alone stays.
    pub fn roll_back(&mut self, mark: Mark) {
        let (count, last) = match mark.compactions == self.compactions {
            true => (mark.count, mark.last),
            false => (1, None),
        };
        let told = mark.told;
        self.change(json!({"type": "roll_back", "messages": count, "last": last.as_ref().map(Encoded::as_str), "told": told}));
    }

    /// Shortens the long tool results of all but the last `keep` messages.
    pub fn shorten(&mut self, keep: usize) {
        self.change(json!({"type": "shortened", "keep": keep}));
    }

    /// Puts a summary in the place of all but the last `keep` messages, of which the first is the model's.
    pub fn compact(&mut self, summary: &str, keep: usize) {
        self.change(json!({"type": "compacted", "summary": summary, "keep": keep}));
    }

    /// Takes everything out of the history; the file keeps it.
    pub fn clear(&mut self) {
        self.change(json!({"type": "cleared"}));
    }

    pub fn task_started(&mut self, id: &str, command: &str) {
        self.change(json!({"type": "task", "id": id, "command": command}));
    }

    pub fn task_delivered(&mut self, id: &str) {
        self.change(json!({"type": "delivered", "id": id}));
    }

    pub(super) fn change(&mut self, record: Value) {
        self.append(&record.to_string());
        self.repeat(&record);
    }

    pub(super) fn repeat(&mut self, record: &Value) {
        let keep = record["keep"].as_u64().unwrap_or_default() as usize;
        let old = self.messages.len().saturating_sub(keep);
        let before = self.size().max(1) as u64;
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        match record["type"].as_str() {
            Some("task") => self.untold.push(StartedTask { id: text("id"), command: text("command") }),
            Some("delivered") => {
                let told = self.untold.extract_if(.., |task| task.id == text("id"));
                self.told.extend(told);
            }
            Some("roll_back") => {
                if let Some(told) = record["told"].as_u64() {
                    let told = self.told.len().min(told as usize);
                    self.untold.extend(self.told.drain(told..));
                }
                let count = record["messages"].as_u64().unwrap_or_default() as usize;
                self.messages.truncate(count);
                let last = record["last"].as_str().and_then(Message::from_json);
                if let (Some(place), Some(last)) = (self.messages.last_mut(), last) {
                    *place = last.encode();
                }
            }
            Some("shortened") => compaction::shorten(&mut self.messages[..old]),
            Some("compacted") => {
                self.compactions += 1;
                let summary = Block::text(record["summary"].as_str().unwrap_or_default());
                let summary = Message::user(vec![summary]).encode();
                self.messages.splice(..old, [summary]);
            }
            Some("repaired") => self.messages = repair::repaired(&self.messages),
            Some("cleared") => self.messages.clear(),
            _ => {}
        }
        self.tokens = match record["type"].as_str() {
            Some("compacted") => estimate(self.size()),
            _ => self.tokens.saturating_mul(self.size() as u64) / before,
        };
        // A reply that has become part of this change stands in the history no more.
        self.request = 0;
    }
}
