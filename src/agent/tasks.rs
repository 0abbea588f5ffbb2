//! Background tasks: what the model is told of them, what is written down, and what the user's side does with them.

use std::time::Instant;

use crossbeam_channel::Receiver;

use super::{Agent, Event};
use crate::{
    api::message::Block,
    background::{Arrival, Entry, Observer, Tasks, Waited},
    error::{Error, Result},
    session::records::StartedTask,
};

fn told_lost(task: &StartedTask) -> Block {
    Block::text(&format!(
        "(Background task {} ended with the program, and its result is lost: {})",
        task.id, task.command
    ))
}

impl Agent {
    /// Adds what has become of background tasks, in this run and in the one before.
    pub(super) fn add_news(&mut self, content: &mut Vec<Block>, watch: &mut dyn FnMut(Event)) {
        let tasks = &mut self.context.tasks;
        for task in self.transcript.undelivered() {
            if tasks.find(&task.id).is_none() {
                content.push(told_lost(task));
                tasks.mark_delivered(&task.id);
            }
        }
        if let Some(results) = tasks.drain() {
            let results = self.context.secrets.mask(results);
            watch(Event::BackgroundResults(&results));
            content.push(Block::text(&results));
        }
    }

    /// Waits for the background tasks that are running; the end of each is told at once.
    pub fn wait_for_tasks(&mut self, watch: &mut dyn FnMut(Event)) -> Result<()> {
        loop {
            self.keep_journal(watch);
            if self.context.tasks.running() == 0 {
                return Ok(());
            }
            let waited = self.context.tasks.wait_for_any(None);
            if let Waited::Stopped(stop) = waited {
                return Err(Error::Stopped(stop));
            }
        }
    }

    /// Whether a background task has a result that the model has not been told.
    pub fn has_results(&mut self) -> bool {
        self.context.tasks.receive();
        self.context.tasks.has_results()
    }

    /// Ends all background tasks and waits until they are gone; a signal ends the wait.
    pub fn end_tasks(&mut self, watch: &mut dyn FnMut(Event)) {
        self.context.tasks.end_all();
        self.keep_journal(watch);
    }

    pub fn tasks(&self) -> &Tasks {
        &self.context.tasks
    }

    /// From now on this one hears of every start and end of a background task at once.
    pub fn observe(&mut self, observer: Observer) {
        self.context.tasks.observe(observer);
    }

    /// Waits for a message; see `Tasks::wait`.
    pub fn wait<T>(&mut self, messages: &Receiver<T>, until: Option<Instant>) -> Arrival<T> {
        self.context.tasks.wait(messages, until)
    }

    /// What it tells of background tasks counts as told when it is in the history, and no sooner.
    pub(super) fn push_user(
        &mut self,
        content: Vec<Block>,
        prompt: Option<usize>,
        watch: &mut dyn FnMut(Event),
    ) {
        self.keep_journal(watch);
        self.transcript.push_user(content, prompt);
        for id in self.context.tasks.take_delivered() {
            self.transcript.task_delivered(&id);
        }
        self.keep_journal(watch);
    }

    /// Writes down what became of background tasks, for whoever continues the session.
    pub(super) fn keep_journal(&mut self, watch: &mut dyn FnMut(Event)) {
        for entry in self.context.tasks.take_journal() {
            match entry {
                Entry::Started { id, command } => {
                    self.transcript.task_started(&id, &command);
                    watch(Event::TaskStarted { id: &id, command: &command });
                }
                Entry::Ended { id } => {
                    if let Some(task) = self.context.tasks.find(&id) {
                        watch(Event::TaskEnded(task));
                    }
                }
            }
        }
        if let Some(failure) = self.transcript.take_failure() {
            watch(Event::Notice(&failure));
        }
    }
}
