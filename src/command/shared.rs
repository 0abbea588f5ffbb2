//! What the thread of a command and the main thread share, and the one way to end a command: its lifeline
//! closes (see `supervisor`). The first reason to end it counts.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{children::Children, exit::Exit, kept::Kept};

pub struct Shared {
    /// The supervisor reports the end of the shell on it.
    pub lifeline: UnixStream,
    pub started: Instant,
    pub children: Arc<Children>,
    pub kept: Arc<Kept>,
    pub state: Mutex<State>,
}

pub struct State {
    /// None once the watcher has taken it to reap it.
    pub supervisor: Option<Child>,
    /// Why it was ended, if it did not end by itself.
    pub ended_by: Option<Exit>,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
