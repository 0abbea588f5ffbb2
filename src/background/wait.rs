//! Waiting for tasks, and ending them: whatever is waited for, a signal ends the wait.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use super::{
    Tasks,
    task::{Held, Task},
};
use crate::stop::Stop;

/// How long the end of a task is waited for after it was killed: the supervisor's grace and its rounds.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// The same for all tasks at the end of the program: many at once, on a busy machine, take longer.
const END_WAIT: Duration = Duration::from_secs(15);

/// Why a wait for a task ended.
pub enum Waited {
    /// Its shell has ended; something of it may live on.
    Ended,
    TimedOut,
    Stopped(Stop),
}

impl Tasks {
    /// Waits until the shell of the task has ended; something that it started may live on.
    pub fn wait_for_shell(&mut self, id: &str, until: Instant, stops: &Receiver<Stop>) -> Waited {
        self.wait_while(Some(until), stops, |tasks| {
            let task = tasks.find(id);
            task.is_some_and(|task| task.end.is_none() && task.shell_end.is_none())
        })
    }

    /// Waits until the task has ended.
    pub fn wait_for(&mut self, id: &str, until: Instant, stops: &Receiver<Stop>) -> Waited {
        self.wait_while(Some(until), stops, |tasks| tasks.find(id).is_some_and(|task| task.end.is_none()))
    }

    /// Waits until one of the background tasks that are running has ended.
    pub fn wait_for_any(&mut self, until: Option<Instant>, stops: &Receiver<Stop>) -> Waited {
        let running = self.running();
        self.wait_while(until, stops, |tasks| running > 0 && tasks.running() == running)
    }

    /// Ends the task with everything that it started, and waits until all of it is gone.
    pub fn kill(&mut self, id: &str, stops: &Receiver<Stop>) -> Waited {
        if let Some(Held::Process(process)) = self.find(id).map(|task| &task.held) {
            process.kill();
        }
        self.wait_while(Some(Instant::now() + KILL_WAIT), stops, |tasks| {
            tasks.find(id).is_some_and(Task::is_held)
        })
    }

    /// Ends everything and waits until it is gone; a signal ends the wait, but not the end.
    pub fn end_all(&mut self, stops: &Receiver<Stop>) {
        for task in &self.tasks {
            if let Held::Process(process) = &task.held {
                process.kill();
            }
        }
        if self.abandoned {
            return;
        }
        let until = Some(Instant::now() + END_WAIT);
        let waited = self.wait_while(until, stops, |tasks| tasks.tasks.iter().any(Task::is_held));
        self.abandoned = !matches!(waited, Waited::Ended);
        if !self.abandoned {
            self.settings.children.end_orphans();
        }
    }

    fn wait_while(
        &mut self,
        until: Option<Instant>,
        stops: &Receiver<Stop>,
        goes_on: impl Fn(&Tasks) -> bool,
    ) -> Waited {
        let timer = until.map_or(never(), crossbeam_channel::at);
        loop {
            self.receive();
            if !goes_on(self) {
                return Waited::Ended;
            }
            select! {
                recv(self.events) -> event => event.into_iter().for_each(|event| self.absorb(event)),
                recv(stops) -> stop => if let Ok(stop) = stop {
                    return Waited::Stopped(stop);
                },
                recv(timer) -> _ => return Waited::TimedOut,
            }
        }
    }
}
