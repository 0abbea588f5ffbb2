//! A running command: a thread of its own reads its output, keeps its deadline and reports its end.
//!
//! Dropping its `Process` ends the command.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use crossbeam_channel::Sender;

use super::exit::{Event, Exit};
use super::kept::Kept;
use super::shared::{Shared, State};
use super::start::{Settings, Start};
use super::watcher::{Report, Watcher};
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
    pub fn start(start: Start, settings: &Settings, events: Sender<Event>) -> io::Result<Process> {
        let (lifeline, supervisors_end) = UnixStream::pair()?;
        let (output, write_end) = io::pipe()?;
        let supervisor = start.supervise(settings, supervisors_end, write_end.try_clone()?, write_end)?;
        let shared = Arc::new(Shared {
            lifeline,
            started: Instant::now(),
            children: Arc::clone(&settings.children),
            kept: Arc::new(Kept::new(start.log)),
            state: Mutex::new(State { supervisor: Some(supervisor), ended_by: None }),
        });
        let report = Report::new(start.id, shared.started, events);
        let mask = settings.secrets.stream();
        let watcher = Watcher::new(Arc::clone(&shared), output, start.limit, mask, report);
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

    pub fn kept(&self) -> Arc<Kept> {
        Arc::clone(&self.shared.kept)
    }

    pub fn started(&self) -> Instant {
        self.shared.started
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
