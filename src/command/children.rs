//! The supervisors that this process has started, told apart from every other child that it may get.
//!
//! As PID 1 of a container it inherits the orphans of all other processes, and a thread of its own reaps every
//! child that has ended. A pid may then be reused at any moment, so as PID 1 it signals no supervisor and leaves
//! orphans alone, but for those in the session of a supervisor that was killed.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use signal_hook::{consts::SIGCHLD, iterator::Signals};
use wait_timeout::ChildExt;

use super::orphans;
use crate::threads;

#[derive(Default)]
pub struct Children {
    supervisors: Mutex<HashSet<i32>>,
    /// Descendants from before this process became this program: a shell may `exec` it.
    inherited: Vec<Pid>,
    /// A supervisor was killed: the processes that it left are children of this process.
    has_lost: AtomicBool,
    is_init: bool,
}

impl Children {
    /// Call it before the first child is started. As PID 1 it starts the thread that reaps; fails if the
    /// system refuses that.
    pub fn new() -> io::Result<Children> {
        let is_init = std::process::id() == 1;
        let inherited = orphans::descendants();
        if is_init {
            reap_all()?;
        }
        Ok(Children { inherited, is_init, ..Children::default() })
    }

    /// Starts a supervisor. Give it to `reap` later.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // Locked while it starts: `end_orphans` must not see it before it is in the set.
        let mut supervisors = self.lock();
        let child = command.spawn()?;
        supervisors.insert(Pid::from_child(&child).as_raw_pid());
        Ok(child)
    }

    /// Resumes a supervisor that was suspended.
    pub fn resume(&self, supervisor: &Child) {
        if !self.is_init {
            let _ = rustix::process::kill_process(Pid::from_child(supervisor), Signal::CONT);
        }
    }

    /// Waits until a supervisor has ended, at most `bound`. If it was killed, ends what it left.
    pub fn reap(&self, mut child: Child, bound: Duration) {
        if self.is_init {
            return;
        }
        let ended = child.wait_timeout(bound);
        let pid = Pid::from_child(&child);
        if matches!(ended, Ok(Some(status)) if status.signal().is_some()) {
            self.end_session(pid);
        }
        self.lock().remove(&pid.as_raw_pid());
    }

    /// Ends what a killed supervisor left in its session. Processes that left the session are not found.
    pub fn end_session(&self, supervisor: Pid) {
        self.has_lost.store(true, Ordering::Relaxed);
        let in_session = |child| rustix::process::getsid(Some(child)) == Ok(supervisor);
        orphans::end_children(|child| *child != supervisor && in_session(*child));
    }

    /// Ends every child that is not a supervisor and was not there at the start. Once all commands are gone,
    /// these are orphans of a killed supervisor, in sessions of their own.
    pub fn end_orphans(&self) {
        if self.is_init || !self.has_lost.load(Ordering::Relaxed) {
            return;
        }
        let supervisors = self.lock();
        orphans::end_children(|child| {
            !supervisors.contains(&child.as_raw_pid()) && !self.inherited.contains(child)
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.supervisors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reaps every child that has ended, supervisors among them, on a thread of its own.
fn reap_all() -> io::Result<()> {
    let mut changes = Signals::new([SIGCHLD])?;
    let reap = move || {
        loop {
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            changes.wait().for_each(drop);
        }
    };
    threads::start("reaper", reap)?;
    Ok(())
}
