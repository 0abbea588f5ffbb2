//! The thread of one command: polls the output and the lifeline until the deadline.
//!
//! It reports the end of the shell if something the shell started still runs, and then the end of everything,
//! exactly once, even if it panics. It always ends by itself.

use std::io::{self, PipeReader, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;

use super::exit::{End, Event, Exit};
use super::shared::Shared;
use super::shell_end::ShellEnd;
use super::supervisor::BOUND;
use crate::secrets::MaskStream;

/// How long output is still read after the shell has ended while its children hold the pipe.
const DRAIN: Duration = Duration::from_millis(100);

/// Most commands print little. One that fills the buffer gets a larger buffer and a larger pipe. A pipe holds
/// 64 KiB by default, and up to 1 MiB on request of an unprivileged user (pipe(7)).
const READ: usize = 4 * 1024;
const LARGE_READ: usize = 128 * 1024;
const LARGE_PIPE: usize = 256 * 1024;

pub struct Watcher {
    report: Report,
    shared: Arc<Shared>,
    /// None after its end of file.
    output: Option<PipeReader>,
    deadline: Instant,
    limit: Duration,
    buffer: Vec<u8>,
    mask: MaskStream,
}

/// What can be read.
struct Ready {
    output: bool,
    lifeline: bool,
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

    /// Returns when the command has ended, or could not be ended within `BOUND`.
    pub fn watch(mut self) {
        let mut shell: Option<ShellEnd> = None;
        // Until when a report waits for more output; None if there is nothing to report, or no longer.
        let mut drain_until = None;
        while Instant::now() < self.deadline + BOUND {
            let ready = self.wait(drain_until);
            if Instant::now() >= self.deadline {
                self.shared.end(Exit::TimedOut(self.limit));
            }
            if ready.output {
                self.read_output();
            }
            if ready.lifeline {
                let Some(end) = ShellEnd::read(&self.shared.lifeline) else { break };
                drain_until = (end.left > 0).then(|| Instant::now() + DRAIN);
                shell = Some(end);
            }
            match &shell {
                // All of the command is gone, so there is no need to wait for the end of its supervisor.
                Some(shell) if shell.left == 0 && self.output.is_none() => break,
                // Of a command that is being ended, nothing will be left.
                Some(shell) if shell.left > 0 && self.shared.state().ended_by.is_none() => {
                    self.report_shell(shell, &mut drain_until)
                }
                _ => {}
            }
        }
        self.finish(shell);
    }

    /// Waits for output, a record, the deadline, or `drain_until`.
    fn wait(&self, drain_until: Option<Instant>) -> Ready {
        let now = Instant::now();
        let deadline = if now < self.deadline { self.deadline } else { self.deadline + BOUND };
        let until = drain_until.map_or(deadline, |drain| drain.min(deadline));
        // Rounded up: otherwise the wait could end just before the deadline again and again.
        let timeout = timespec(until.saturating_duration_since(now) + Duration::from_millis(1));
        let mut fds = vec![PollFd::new(&self.shared.lifeline, PollFlags::IN)];
        fds.extend(self.output.iter().map(|output| PollFd::new(output, PollFlags::IN)));
        if rustix::event::poll(&mut fds, Some(&timeout)).is_err() {
            // Interrupted by a signal: the caller tries again.
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
                    // The command prints a lot: fewer, larger reads. If the kernel refuses, the pipe stays as it is.
                    let _ = rustix::pipe::fcntl_setpipe_size(&pipe, LARGE_PIPE);
                    self.buffer.resize(LARGE_READ, 0);
                }
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
        self.output = Some(pipe);
    }

    /// Reports the end of the shell, once, after a short wait: output that its children print at once belongs to
    /// the result, and most of them end with the shell.
    fn report_shell(&self, shell: &ShellEnd, drain_until: &mut Option<Instant>) {
        if drain_until.take_if(|at| Instant::now() >= *at).is_some() {
            self.report.send(shell.exit.clone(), shell.left);
        }
    }

    fn finish(mut self, shell: Option<ShellEnd>) {
        self.drain();
        let supervisor = self.shared.state().supervisor.take();
        if shell.is_none()
            && let Some(supervisor) = &supervisor
        {
            // Only a killed supervisor ends without a record.
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

    /// Reads the rest of the pipe. Its end of file comes at once, unless a process outside the tree holds it.
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

const LOST: &str =
    "its supervisor was killed; the processes of the command that could be found were killed too";

/// Sends the events of a command. Dropping it sends the last one, if that was not sent before: a task whose thread
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

    fn send(&self, exit: Exit, left: u32) {
        let end = End { exit, duration: self.started.elapsed(), left };
        // Fails when the program ends: nobody listens then.
        let _ = self.events.send(Event { id: self.id.clone(), end });
    }

    fn gone(&mut self, exit: Exit) {
        self.ended = true;
        self.send(exit, 0);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.ended {
            self.gone(Exit::Failed("internal error: the thread that watched it panicked".into()));
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
        assert!(matches!(event.end, End { exit: Exit::Failed(_), left: 0, .. }));
        assert!(received.recv().is_err(), "the end is reported once");
    }
}
