//! The one wait of the main thread: for a message, a task, a time, or a stop, whichever comes first.
//!
//! Whatever the main thread waits for, it hears of tasks, and a stop ends the wait.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};

use super::{Tasks, task::Task};
use crate::stop::Stop;

/// How long a killed task may take to end: the supervisor's grace, and some time for its rounds.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// The same for all tasks at the end of the program: many at once take longer on a busy machine.
const END_WAIT: Duration = Duration::from_secs(15);

/// What a wait has come to.
pub enum Arrival<T> {
    Message(T),
    /// Nobody sends messages any more.
    Closed,
    /// Something has happened to a task.
    Task,
    TimedOut,
    Stopped(Stop),
}

/// How a wait for a task ended.
#[derive(Clone, Copy)]
pub enum Waited {
    /// What was waited for has happened, or there is no such task.
    Ended,
    TimedOut,
    Stopped(Stop),
}

impl Waited {
    /// What stopped the wait.
    pub fn stop(self) -> Option<Stop> {
        match self {
            Waited::Stopped(stop) => Some(stop),
            Waited::Ended | Waited::TimedOut => None,
        }
    }
}

impl<T> Arrival<T> {
    /// The same with another message.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Arrival<U> {
        match self {
            Arrival::Message(message) => Arrival::Message(convert(message)),
            Arrival::Closed => Arrival::Closed,
            Arrival::Task => Arrival::Task,
            Arrival::TimedOut => Arrival::TimedOut,
            Arrival::Stopped(stop) => Arrival::Stopped(stop),
        }
    }
}

impl Tasks {
    /// Waits for whatever comes first. Everything that has happened to tasks is known when it returns.
    pub fn wait<T>(&mut self, messages: &Receiver<T>, until: Option<Instant>) -> Arrival<T> {
        let timer = until.map_or(never(), at);
        select! {
            recv(messages) -> message => message.map_or(Arrival::Closed, Arrival::Message),
            recv(self.events) -> event => {
                event.into_iter().for_each(|event| self.absorb(event));
                self.receive();
                Arrival::Task
            }
            recv(self.stops) -> stop => Arrival::Stopped(stop.expect("signals are listened for to the end")),
            recv(timer) -> _ => Arrival::TimedOut,
        }
    }

    /// Waits until the time has come. Fails at once with a stop.
    pub fn pause(&mut self, until: Instant) -> Result<(), Stop> {
        self.wait_while(Some(until), |_| true).stop().map_or(Ok(()), Err)
    }

    /// Waits until the task has ended; something that it started may still run.
    pub fn wait_for(&mut self, id: &str, until: Instant) -> Waited {
        self.wait_while(Some(until), |tasks| tasks.find(id).is_some_and(|task| task.end.is_none()))
    }

    /// Waits until one of the running background tasks has ended.
    pub fn wait_for_any(&mut self, until: Option<Instant>) -> Waited {
        let running = self.running();
        self.wait_while(until, |tasks| running > 0 && tasks.running() == running)
    }

    /// Ends the task with everything that it started, and waits until all of it is gone.
    pub fn kill(&mut self, id: &str) -> Waited {
        if let Some(task) = self.find(id) {
            task.kill();
        }
        let until = Instant::now() + KILL_WAIT;
        self.wait_while(Some(until), |tasks| tasks.find(id).is_some_and(|task| !task.is_gone()))
    }

    /// Ends all tasks and waits until they are gone. A stop ends the wait; the tasks end all the same.
    pub fn end_all(&mut self) {
        self.tasks.iter().for_each(Task::kill);
        if self.abandoned {
            return;
        }
        let until = Some(Instant::now() + END_WAIT);
        let waited = self.wait_while(until, |tasks| !tasks.tasks.iter().all(Task::is_gone));
        self.abandoned = !matches!(waited, Waited::Ended);
        if !self.abandoned {
            self.settings.commands.children.end_orphans();
        }
    }

    fn wait_while(&mut self, until: Option<Instant>, goes_on: impl Fn(&Tasks) -> bool) -> Waited {
        self.receive();
        while goes_on(self) {
            match self.wait(&never::<Infallible>(), until) {
                Arrival::Message(_) | Arrival::Closed | Arrival::Task => {}
                Arrival::TimedOut => return Waited::TimedOut,
                Arrival::Stopped(stop) => return Waited::Stopped(stop),
            }
        }
        Waited::Ended
    }
}
