//! A running command: a thread of its own reads its output, keeps its deadline and reports its end.
//!
//! Dropping its `Process` ends the command.

use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use crossbeam_channel::Sender;

use super::{
    exit::{Event, Exit},
    shared::Shared,
    start::Start,
    watcher::Watcher,
};
use crate::threads;

/// A command that was started.
pub struct Process {
    shared: Arc<Shared>,
}

/// Ends a command from another thread. Does not keep the command alive.
pub struct Killer(Weak<Shared>);

impl Killer {
    /// Does nothing if the command has ended.
    pub fn kill(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.end(Exit::Killed);
        }
    }
}

impl Process {
    /// Starts the command and its thread, which sends its changes to `events`. Fails if the system refuses
    /// another process or thread, or the command is too long.
    pub fn start(mut start: Start, events: Sender<Event>) -> io::Result<Process> {
        let (lifeline, supervisors_end) = UnixStream::pair()?;
        let (output, write_end) = io::pipe()?;
        let supervisor = start.supervise(supervisors_end, write_end)?;
        let shared = Arc::new(Shared::new(lifeline, supervisor, start.log.take(), start.children));
        let watcher = Watcher::new(&start, Arc::clone(&shared), output, events);
        threads::start(&format!("task-{}", start.id), || watcher.watch())?;
        Ok(Process { shared })
    }

    /// Ends the command with everything that it started: TERM, a grace of two seconds, KILL. Returns at once.
    pub fn kill(&self) {
        self.shared.end(Exit::Killed);
    }

    pub fn killer(&self) -> Killer {
        Killer(Arc::downgrade(&self.shared))
    }

    /// Its output so far.
    pub fn text(&self) -> String {
        self.shared.state().output.text()
    }

    /// What it printed since the last call.
    pub fn take_new(&self) -> String {
        self.shared.state().output.take_new()
    }

    /// How many characters of its output `text` leaves out.
    pub fn left_out(&self) -> u64 {
        self.shared.state().output.left_out()
    }

    /// How long it has been running.
    pub fn age(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Its log, if that is in a file.
    pub fn log(&self) -> Option<PathBuf> {
        let state = self.shared.state();
        state.log.as_ref()?.path().map(Path::to_owned)
    }

    /// From now on the log is a file, however small the output is.
    pub fn keep_log(&self) {
        if let Some(log) = &mut self.shared.state().log {
            log.create();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
