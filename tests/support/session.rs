//! The program while it runs: what it is told, what it says, how it ends.
//!
//! Whoever holds the session holds the child: dropping it kills exactly that process.

use std::io::Write;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use wait_timeout::ChildExt;

use super::Scene;
use super::capture::Capture;
use super::dir::Dir;
use super::finished::Finished;
use super::pty::Terminal;
use super::server::Server;

/// How long `expect` waits for a text.
const EXPECT_DEADLINE: Duration = Duration::from_secs(30);

/// How long the program may run on.
const EXIT_DEADLINE: Duration = Duration::from_secs(60);

/// How long stdout and stderr may stay open behind the program.
const STREAMS_DEADLINE: Duration = Duration::from_secs(10);

pub struct Session {
    process: Process,
    input: Input,
    stdout: Capture,
    stderr: Capture,
    /// How much of stdout and stderr earlier calls of `expect` have used up.
    seen: (usize, usize),
    scene: Scene,
}

/// Where the program reads from.
pub enum Input {
    Pipe(ChildStdin),
    Terminal(Terminal),
    Closed,
}

/// Owns the child: ends and reaps it at the latest when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Session {
    pub fn new(child: Child, input: Input, stdout: Capture, stderr: Capture, scene: Scene) -> Session {
        Session { process: Process(child), input, stdout, stderr, seen: (0, 0), scene }
    }

    pub fn server(&self) -> &Server {
        &self.scene.server
    }

    pub fn dir(&self) -> &Dir {
        &self.scene.dir
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process.0)
    }

    #[track_caller]
    pub fn send_line(&mut self, text: &str) {
        self.send(format!("{text}\n"));
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = match &mut self.input {
            Input::Pipe(stdin) => stdin.write_all(bytes.as_ref()).and_then(|()| stdin.flush()),
            Input::Terminal(terminal) => terminal.write_all(bytes.as_ref()),
            Input::Closed => panic!("the program's stdin is closed"),
        };
        if let Err(err) = sent {
            self.fail(&format!("failed to write to the program: {err}"));
        }
    }

    /// Ends the program's input; on a terminal this is Ctrl-D, which counts on an empty line.
    #[track_caller]
    pub fn close_stdin(&mut self) {
        match self.input {
            Input::Terminal(_) => self.send([0x04]),
            Input::Pipe(_) | Input::Closed => drop(self.take_input()),
        }
    }

    pub fn take_input(&mut self) -> Input {
        mem::replace(&mut self.input, Input::Closed)
    }

    /// The terminal, to be resized.
    #[track_caller]
    pub fn terminal(&self) -> &Terminal {
        match &self.input {
            Input::Terminal(terminal) => terminal,
            Input::Pipe(_) | Input::Closed => panic!("the program does not run on a terminal"),
        }
    }

    /// Waits until `text` stands in stdout (on a terminal: on the screen, stderr and the echo of
    /// the input included) behind what was expected before. Returns everything up to its end.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let from = self.seen.0;
        let Some(to) = self.stdout.find(text, from, EXPECT_DEADLINE) else {
            self.fail(&format!("{text:?} did not come in stdout behind byte {from}"));
        };
        self.seen.0 = to;
        self.stdout.between(from, to)
    }

    /// What stands on the terminal of 80 by 24, without the spaces at the ends of lines.
    pub fn screen(&self) -> String {
        let mut terminal = vt100::Parser::default();
        terminal.process(self.stdout.text().as_bytes());
        let contents = terminal.screen().contents();
        let lines: Vec<&str> = contents.lines().map(str::trim_end).collect();
        lines.join("\n")
    }

    /// Waits until `text` stands on the terminal.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        self.shows_that(&format!("{text:?}"), |screen| screen.contains(text))
    }

    /// Waits until the terminal looks so.
    #[track_caller]
    pub fn shows_that(&self, what: &str, looks_so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + EXPECT_DEADLINE;
        let mut seen = 0;
        loop {
            let screen = self.screen();
            if looks_so(&screen) {
                return screen;
            }
            if Instant::now() > deadline {
                self.fail(&format!("{what} did not come on the screen:\n{screen}\n"));
            }
            seen = self.stdout.grows(seen, Duration::from_millis(100));
        }
    }

    /// Whether `text` comes in stdout within this time; if so, it was expected.
    pub fn sees(&mut self, text: &str, within: Duration) -> bool {
        let found = self.stdout.find(text, self.seen.0, within);
        self.seen.0 = found.unwrap_or(self.seen.0);
        found.is_some()
    }

    /// The same for stderr.
    #[track_caller]
    pub fn expect_stderr(&mut self, text: &str) -> String {
        let from = self.seen.1;
        let Some(to) = self.stderr.find(text, from, EXPECT_DEADLINE) else {
            self.fail(&format!("{text:?} did not come in stderr behind byte {from}"));
        };
        self.seen.1 = to;
        self.stderr.between(from, to)
    }

    /// Waits until `text` stands anywhere in stderr, whatever was expected before.
    #[track_caller]
    pub fn sees_stderr(&self, text: &str) {
        if self.stderr.find(text, 0, EXPECT_DEADLINE).is_none() {
            self.fail(&format!("{text:?} did not come in stderr"));
        }
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        if let Err(err) = kill_process(self.pid(), signal) {
            self.fail(&format!("failed to send {signal:?}: {err}"));
        }
    }

    /// Waits for the program's end, without closing its stdin. Panics if it does not end, leaves
    /// its output open to others, or if the server has something to complain of.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        let status = self.exit_status();
        if !(self.stdout.ends(STREAMS_DEADLINE) && self.stderr.ends(STREAMS_DEADLINE)) {
            self.fail("the program has ended, but a process it left behind holds its output");
        }
        if let Some(complaint) = self.scene.complaint() {
            self.fail(&complaint);
        }
        Finished {
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            code: status.code(),
            signal: status.signal(),
            requests: self.scene.server.requests(),
            command_line: self.scene.command_line,
            dir: self.scene.dir,
        }
    }

    #[track_caller]
    fn exit_status(&mut self) -> ExitStatus {
        match self.process.0.wait_timeout(EXIT_DEADLINE) {
            Ok(Some(status)) => status,
            Ok(None) => self.fail(&format!("the program did not end in {EXIT_DEADLINE:?}")),
            Err(err) => self.fail(&format!("failed to wait for the program: {err}")),
        }
    }

    /// Panics with all that is known; unwinding drops the session and so kills the program.
    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!(
            "{what}\n--- command: {}\n--- stdout:\n{}\n--- stderr:\n{}\n\
             --- requests: {}, violations: {:?}",
            self.scene.command_line,
            self.stdout.text(),
            self.stderr.text(),
            self.scene.server.requests().len(),
            self.scene.server.violations(),
        );
    }
}
