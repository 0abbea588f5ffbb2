//! The thread of one command: polls its output and its lifeline against its deadline.
//!
//! It reports the end exactly once, also when it panics, and ends by itself in every case.

use std::{
    io::{self, PipeReader, Read},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::Pid,
};

use super::{
    exit::{Change, End, Event, Exit},
    shared::Shared,
    supervisor,
};
use crate::secrets::MaskStream;

/// How long output is still read when the shell has ended and its children hold the pipe.
const DRAIN: Duration = Duration::from_millis(100);

/// How long a supervisor may take to end what it was told to end: its grace and some rounds of KILL.
const BOUND: Duration = supervisor::GRACE.saturating_add(Duration::from_secs(3));

/// Most commands print little; one that fills the buffer gets a larger one, and a larger pipe:
/// 64 KiB unless asked for, up to 1 MiB for an unprivileged user (pipe(7)).
const READ: usize = 4 * 1024;
const LARGE_READ: usize = 128 * 1024;
const LARGE_PIPE: usize = 256 * 1024;

/// A command's thread: polls output and lifeline against the deadline.
pub struct Watcher {
    report: Report,
    shared: Arc<Shared>,
    /// None once it has ended.
    output: Option<PipeReader>,
    deadline: Instant,
    limit: Duration,
    buffer: Vec<u8>,
    mask: MaskStream,
}

/// What a wait ended with.
struct Ready {
    output: bool,
    lifeline: bool,
}

/// What the supervisor's record says about the shell.
struct ShellEnd {
    exit: Exit,
    left: u32,
    drain_until: Option<Instant>,
}

enum Record {
    Ended(ShellEnd),
    Closed,
}

impl Watcher {
    /// Watches the command that prints to `output`, and ends it after `limit`.
    pub fn new(
        shared: Arc<Shared>,
        output: PipeReader,
        limit: Duration,
        mask: MaskStream,
        report: Report,
    ) -> Watcher {
        let deadline = shared.started + limit;
        Watcher { report, shared, output: Some(output), deadline, limit, buffer: vec![0; READ], mask }
    }

    /// Returns when the command has ended, was ended, or can't be ended within the bound.
    pub fn watch(mut self) {
        let mut shell: Option<ShellEnd> = None;
        while Instant::now() < self.deadline + BOUND {
            let ready = self.wait(shell.as_ref().and_then(|shell| shell.drain_until));
            if Instant::now() >= self.deadline {
                self.shared.end(Exit::TimedOut(self.limit));
            }
            if ready.output {
                self.read_output();
            }
            if ready.lifeline {
                match self.read_record() {
                    Record::Ended(end) => shell = Some(end),
                    Record::Closed => break,
                }
            }
            match &mut shell {
                // Nothing of it lives any more: its supervisor's end needs no waiting for.
                Some(shell) if shell.left == 0 && self.output.is_none() => break,
                // What is being ended is not left.
                Some(shell) if shell.left > 0 && self.shared.state().ended_by.is_none() => {
                    self.tell_what_is_left(shell)
                }
                _ => {}
            }
        }
        self.finish(shell);
    }

    /// Waits for output, for a record, for the deadline, or for the end of the drain.
    fn wait(&self, drain_until: Option<Instant>) -> Ready {
        let now = Instant::now();
        let deadline = if now < self.deadline { self.deadline } else { self.deadline + BOUND };
        let until = drain_until.map_or(deadline, |drain| drain.min(deadline));
        // Rounded up, so that the wait does not end just before the deadline, again and again.
        let timeout = timespec(until.saturating_duration_since(now) + Duration::from_millis(1));
        let mut fds = vec![PollFd::new(&self.shared.lifeline, PollFlags::IN)];
        fds.extend(self.output.iter().map(|output| PollFd::new(output, PollFlags::IN)));
        if rustix::event::poll(&mut fds, Some(&timeout)).is_err() {
            // A signal: look again.
            return Ready { output: false, lifeline: false };
        }
        let ready = |fd: Option<&PollFd>| fd.is_some_and(|fd| !fd.revents().is_empty());
        Ready { lifeline: ready(fds.first()), output: ready(fds.get(1)) }
    }

    fn read_output(&mut self) {
        let Some(mut pipe) = self.output.take() else {
            return;
        };
        match pipe.read(&mut self.buffer) {
            Ok(0) => return,
            Ok(n) => {
                self.mask.pass(&self.buffer[..n], &mut |bytes| self.shared.kept.write(bytes));
                if n == self.buffer.len() && n < LARGE_READ {
                    // A command that prints a lot: fewer, larger reads. A refusal changes nothing.
                    let _ = rustix::pipe::fcntl_setpipe_size(&pipe, LARGE_PIPE);
                    self.buffer.resize(LARGE_READ, 0);
                }
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
        self.output = Some(pipe);
    }

    /// Reads what the supervisor wrote: `code 0 2`, `signal 9 0` or `failed REASON`.
    fn read_record(&mut self) -> Record {
        let mut record = [0; 1024];
        let n = (&self.shared.lifeline).read(&mut record).unwrap_or(0);
        let text = String::from_utf8_lossy(&record[..n]);
        let text = text.trim();
        if text.is_empty() {
            return Record::Closed;
        }
        let (exit, left) = match text.split(' ').collect::<Vec<_>>()[..] {
            ["code", code, left] => (code.parse().map(Exit::Code), left.parse().unwrap_or(0)),
            ["signal", signal, left] => (signal.parse().map(Exit::Signal), left.parse().unwrap_or(0)),
            _ => {
                let reason = text.trim_start_matches("failed ");
                (Ok(Exit::Failed(reason.to_owned())), 0)
            }
        };
        Record::Ended(ShellEnd {
            exit: exit.unwrap_or_else(|_| Exit::Failed(format!("its supervisor said `{text}`"))),
            left,
            drain_until: (left > 0).then(|| Instant::now() + DRAIN),
        })
    }

    /// Reports the end of the shell, once, after a while: what its children still print at once belongs to
    /// the result, and most of them end with it.
    fn tell_what_is_left(&self, shell: &mut ShellEnd) {
        if shell.drain_until.is_some_and(|at| Instant::now() >= at) {
            shell.drain_until = None;
            self.report.shell_ended(shell.exit.clone(), shell.left);
        }
    }

    fn finish(mut self, shell: Option<ShellEnd>) {
        self.drain();
        let supervisor = self.shared.state().supervisor.take();
        if shell.is_none()
            && let Some(supervisor) = &supervisor
        {
            // Only a supervisor that was killed leaves without a word.
            self.shared.children.end_session(Pid::from_child(supervisor));
        }
        self.mask.end(&mut |bytes| self.shared.kept.write(bytes));
        let logs = self.shared.kept.close();
        let exit = self.shared.state().ended_by.clone().or(shell.map(|shell| shell.exit));
        self.report.gone(exit.unwrap_or(Exit::Failed(LOST.into())));
        // The result does not wait for this: the supervisor has nothing left to do.
        if let Some(supervisor) = supervisor {
            self.shared.children.reap(supervisor, BOUND);
        }
        if let Some(logs) = logs {
            logs.delete_old();
        }
    }

    /// Reads what is left in the pipe. Its end comes at once, unless somebody outside the tree holds it.
    fn drain(&mut self) {
        let until = Instant::now() + BOUND;
        while let Some(output) = &self.output
            && Instant::now() < until
        {
            let mut fds = [PollFd::new(output, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timespec(DRAIN))) {
                Ok(0) => return,
                Ok(_) => self.read_output(),
                Err(_) => {}
            }
        }
    }
}

const LOST: &str = "its supervisor was killed, and so was what it had started, as far as it can be found";

/// Sends the changes; the last one when it is dropped, if nobody did before: a task whose thread
/// panics must not stay `running`.
pub struct Report {
    id: String,
    events: Sender<Event>,
    started: Instant,
    ended: bool,
}

impl Report {
    pub fn new(id: &str, started: Instant, events: Sender<Event>) -> Report {
        Report { id: id.to_owned(), events, started, ended: false }
    }

    fn shell_ended(&self, exit: Exit, left: u32) {
        let end = End { exit, duration: self.started.elapsed(), left };
        self.send(Change::ShellEnded(end));
    }

    fn gone(&mut self, exit: Exit) {
        self.ended = true;
        let end = End { exit, duration: self.started.elapsed(), left: 0 };
        self.send(Change::Gone(end));
    }

    fn send(&self, change: Change) {
        // Nobody listens any more when the program ends.
        let _ = self.events.send(Event { id: self.id.clone(), change });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.ended {
            self.gone(Exit::Failed("the thread that watched it failed".into()));
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_reports_an_error() {
        let (events, received) = crossbeam_channel::unbounded();
        let started = Instant::now();
        let report = Report::new("a1b2c3d4", started, events);
        let thread = std::thread::spawn(move || {
            let _report = report;
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
        let event = received.recv().unwrap();
        assert!(matches!(event.change, Change::Gone(End { exit: Exit::Failed(_), .. })));
        assert!(received.recv().is_err(), "the end is reported once");
    }
}
