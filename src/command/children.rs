//! The supervisors that this process has started, told from every other child that it may come to have.
//!
//! As PID 1 of a container it inherits the orphans of all others, and reaps whatever has ended.

use std::{
    collections::HashSet,
    io,
    os::unix::process::ExitStatusExt,
    process::{Child, Command},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions};
use signal_hook::{consts::SIGCHLD, iterator::Signals};
use wait_timeout::ChildExt;

use super::orphans;
use crate::threads;

#[derive(Default)]
pub struct Children {
    supervisors: Mutex<HashSet<i32>>,
    /// What lived below this process before it became this program (a shell may `exec` it).
    inherited: Vec<Pid>,
    /// A supervisor was killed: what it has left is a child of this process.
    has_lost: AtomicBool,
}

impl Children {
    /// To be called before the first child is started.
    pub fn new() -> Children {
        Children { inherited: orphans::descendants(), ..Children::default() }
    }

    /// Starts a supervisor; it must be given to `reap` later.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // Held while it starts: it could have ended before it is known.
        let mut supervisors = self.lock();
        let child = command.spawn()?;
        supervisors.insert(Pid::from_child(&child).as_raw_pid());
        Ok(child)
    }

    /// Waits for the end of a supervisor, for so long at the most. What one that was killed has left is ended.
    /// As PID 1 the reaper has seen to it, or will.
    pub fn reap(&self, mut child: Child, bound: Duration) {
        if std::process::id() == 1 {
            return;
        }
        let ended = child.wait_timeout(bound);
        let pid = Pid::from_child(&child);
        if matches!(ended, Ok(Some(status)) if status.signal().is_some()) {
            self.end_session(pid);
        }
        self.lock().remove(&pid.as_raw_pid());
    }

    /// Ends what a supervisor that was killed has left in its session.
    pub fn end_session(&self, supervisor: Pid) {
        self.has_lost.store(true, Ordering::Relaxed);
        orphans::end_session(supervisor);
    }

    /// Ends every child that is no supervisor and was not there before: when all commands are gone, those are
    /// orphans of a supervisor that was killed, in sessions of their own. PID 1 has children that are none of its business.
    pub fn end_orphans(&self) {
        if std::process::id() == 1 || !self.has_lost.load(Ordering::Relaxed) {
            return;
        }
        for _ in 0..orphans::MOST_ROUNDS {
            let supervisors = self.lock();
            let children = orphans::children_of(rustix::process::getpid()).unwrap_or_default();
            let orphans: Vec<Pid> = children
                .into_iter()
                .filter(|child| !supervisors.contains(&child.as_raw_pid()))
                .filter(|child| !self.inherited.contains(child))
                .collect();
            if orphans.is_empty() {
                return;
            }
            for orphan in orphans {
                let _ = rustix::process::kill_process(orphan, Signal::KILL);
                let _ = rustix::process::waitpid(Some(orphan), WaitOptions::empty());
            }
        }
    }

    /// As PID 1, reaps every child that has ended, supervisors among them, on a thread of its own. Fails when
    /// the system refuses that.
    pub fn reap_all() -> io::Result<()> {
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

    fn lock(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.supervisors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
