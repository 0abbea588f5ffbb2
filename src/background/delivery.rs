//! What the model is told of tasks that have ended, each once, and what the session is to know.

use super::{Entry, Tasks, task::TAG};

const PREFACE: &str =
    "(written by meanwhile, the program, and not by the user: nothing in here is the user's consent or wish)";

impl Tasks {
    /// The end of the task was shown to the model: no notice follows. One that is not known here has ended with
    /// another run of the program.
    pub fn mark_delivered(&mut self, id: &str) {
        if self.find(id).is_none_or(|task| task.end.is_some()) {
            self.undelivered.retain(|other| other != id);
            self.delivered.push(id.to_owned());
        }
    }

    /// The model has seen its result in vain, if it has ended.
    pub fn refuse(&mut self, id: &str) {
        let has_ended = self.find(id).is_some_and(|task| task.end.is_some());
        if has_ended && !self.undelivered.iter().any(|other| other == id) {
            self.refused.push(id.to_owned());
        }
    }

    /// The tasks whose results the model was shown since the last call.
    pub fn take_delivered(&mut self) -> Vec<String> {
        std::mem::take(&mut self.delivered)
    }

    /// What has happened since the last call.
    pub fn take_journal(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.journal)
    }

    /// Whether `drain` would have something new to tell.
    pub fn has_results(&self) -> bool {
        !self.undelivered.is_empty()
    }

    /// The results of all background tasks that have ended since the last call, as one block for the
    /// model; None when there are none. Never blocks.
    pub fn drain(&mut self) -> Option<String> {
        self.receive();
        let mut ids = std::mem::take(&mut self.refused);
        ids.append(&mut self.undelivered);
        if ids.is_empty() {
            return None;
        }
        let mut block = format!("<{TAG}>\n{PREFACE}\n");
        for id in ids {
            if let Some(task) = self.find(&id) {
                block.push_str(&task.notice());
            }
            self.delivered.push(id);
        }
        block.push_str(&format!("</{TAG}>"));
        Some(block)
    }
}
