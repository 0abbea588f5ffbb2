//! Background tasks: their results enter the history, and the session records their starts and deliveries.

use std::time::Instant;

use crossbeam_channel::Receiver;

use super::{Agent, Event, Watch};
use crate::api::message::Block;
use crate::background::{Arrival, News, Observer, Tasks, Waited};
use crate::error::{Error, Result};
use crate::session::records::StartedTask;

impl Agent {
    /// Adds `content` to the history, with the results that wait for the next user message. These wait for the one
    /// after if the last reply `is_open`. Returns the results.
    pub(super) fn push_with_results(
        &mut self,
        mut content: Vec<Block>,
        prompt: Option<usize>,
        is_open: bool,
        watch: &mut Watch,
    ) -> Vec<Block> {
        if is_open {
            self.push_user(content, prompt, watch);
            return Vec::new();
        }
        let undelivered = self.transcript.undelivered().iter();
        let lost: Vec<_> =
            undelivered.filter(|task| self.context.tasks.find(&task.id).is_none()).cloned().collect();
        let mut results: Vec<Block> = lost.iter().map(lost_result).collect();
        if let Some(text) = self.context.tasks.drain() {
            let text = self.context.secrets.mask(text);
            watch(Event::BackgroundResults(&text));
            results.push(Block::text(&text));
        }
        content.extend_from_slice(&results);
        self.push_user(content, prompt, watch);
        for task in lost {
            self.transcript.task_delivered(&task.id);
        }
        results
    }

    /// Adds `content` to the history; `prompt` is as in `Transcript::push_user`. Only then do the results in it
    /// count as delivered.
    pub(super) fn push_user(&mut self, content: Vec<Block>, prompt: Option<usize>, watch: &mut Watch) {
        self.record_tasks(watch);
        self.transcript.push_user(content, prompt);
        for id in self.context.tasks.confirm_delivery() {
            self.transcript.task_delivered(&id);
        }
        self.record_tasks(watch);
    }

    /// Records the background tasks that have started and ended since the last call.
    pub(super) fn record_tasks(&mut self, watch: &mut Watch) {
        let transcript = &mut self.transcript;
        self.context.tasks.record(|news| match news {
            News::Started(task) => {
                transcript.task_started(&task.id, &task.command);
                watch(Event::TaskStarted { id: &task.id, command: &task.command });
            }
            News::Ended(task) => watch(Event::TaskEnded(task)),
        });
        if let Some(failure) = self.transcript.take_failure() {
            watch(Event::Notice(&failure));
        }
    }

    /// Waits until no background task runs, and records the end of each at once. Fails if something stops the run.
    pub fn wait_for_tasks(&mut self, watch: &mut Watch) -> Result<()> {
        loop {
            self.record_tasks(watch);
            if self.context.tasks.running() == 0 {
                return Ok(());
            }
            if let Waited::Stopped(stop) = self.context.tasks.wait_for_any(None) {
                return Err(Error::Stopped(stop));
            }
        }
    }

    /// Whether a result is waiting that should start a turn.
    pub fn has_results(&mut self) -> bool {
        self.context.tasks.receive();
        self.context.tasks.has_results()
    }

    /// Ends all tasks and waits until they are gone. A signal ends the wait, but the tasks end all the same.
    pub fn end_tasks(&mut self, watch: &mut Watch) {
        self.context.tasks.end_all();
        self.record_tasks(watch);
    }

    pub fn tasks(&self) -> &Tasks {
        &self.context.tasks
    }

    /// From now on the observer is called at once when a background task starts and when it ends.
    pub fn observe(&mut self, observer: Observer) {
        self.context.tasks.observe(observer);
    }

    /// Waits for a message; see `Tasks::wait`.
    pub fn wait<T>(&mut self, messages: &Receiver<T>, until: Option<Instant>) -> Arrival<T> {
        self.context.tasks.wait(messages, until)
    }
}

/// What the model reads of a task of an earlier run.
fn lost_result(task: &StartedTask) -> Block {
    Block::text(&format!(
        "(Background task {} was started in an earlier run of meanwhile, and its result is lost: {})",
        task.id, task.command
    ))
}
