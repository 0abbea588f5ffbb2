//! What the thread of a command and the main thread share, and the one way to end a command: its lifeline
//! closes (see `supervisor`). The first reason to end it stays.

use std::{
    net::Shutdown,
    os::unix::net::UnixStream,
    process::Child,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{children::Children, exit::Exit, log::Log, output::Output};

pub struct Shared {
    lifeline: UnixStream,
    pub started: Instant,
    pub children: Arc<Children>,
    state: Mutex<State>,
}

pub struct State {
    pub output: Output,
    pub log: Option<Log>,
    /// None once the watcher has taken it to reap it.
    pub supervisor: Option<Child>,
    /// Why it was ended, if it did not end by itself.
    pub ended_by: Option<Exit>,
}

impl Shared {
    pub fn new(
        lifeline: UnixStream,
        supervisor: Child,
        log: Option<Log>,
        children: &Arc<Children>,
    ) -> Shared {
        let output = Output::default();
        Shared {
            lifeline,
            started: Instant::now(),
            children: Arc::clone(children),
            state: Mutex::new(State { output, log, supervisor: Some(supervisor), ended_by: None }),
        }
    }

    /// Where the supervisor reports the end of the shell.
    pub fn lifeline(&self) -> &UnixStream {
        &self.lifeline
    }

    /// A panic in the thread poisons the lock, but leaves an output that can still be read.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was told to end.
    pub fn is_ending(&self) -> bool {
        self.state().ended_by.is_some()
    }

    /// Closes the lifeline, unless that was done before.
    pub fn end(&self, why: Exit) {
        let state = &mut *self.state();
        state.ended_by.get_or_insert(why);
        if let Some(supervisor) = &state.supervisor {
            // The command may have stopped it.
            self.children.resume(supervisor);
        }
        // Fails if the supervisor has ended already.
        let _ = self.lifeline.shutdown(Shutdown::Write);
    }
}

impl State {
    /// Takes the next bytes of the output.
    pub fn write(&mut self, bytes: &[u8]) {
        self.output.write(bytes);
        if let Some(log) = &mut self.log {
            log.write(bytes);
        }
    }
}
