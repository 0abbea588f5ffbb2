//! What is left when the program has ended, and the questions a test asks about it.

use super::Test;
use super::dir::Dir;
use super::request::Request;

pub struct Finished {
    pub stdout: String,
    pub stderr: String,
    /// `None` if a signal ended the program.
    pub code: Option<i32>,
    /// The number of the signal that ended the program.
    pub signal: Option<i32>,
    pub requests: Vec<Request>,
    pub command_line: String,
    /// Keeps the folders of the test alive.
    pub dir: Dir,
}

impl Finished {
    #[track_caller]
    pub fn code(self, expected: i32) -> Finished {
        let same = self.code == Some(expected);
        self.ensure(same, &format!("exit code {expected}"));
        self
    }

    #[track_caller]
    pub fn stdout(self, expected: &str) -> Finished {
        let same = self.stdout == expected;
        self.ensure(same, &format!("exactly this in stdout:\n{expected}"));
        self
    }

    #[track_caller]
    pub fn stdout_contains(self, expected: &str) -> Finished {
        let found = self.stdout.contains(expected);
        self.ensure(found, &format!("somewhere in stdout:\n{expected}"));
        self
    }

    #[track_caller]
    pub fn stderr_contains(self, expected: &str) -> Finished {
        let found = self.stderr.contains(expected);
        self.ensure(found, &format!("somewhere in stderr:\n{expected}"));
        self
    }

    #[track_caller]
    pub fn stderr_lacks(self, unwanted: &str) -> Finished {
        let found = self.stderr.contains(unwanted);
        self.ensure(!found, &format!("nowhere in stderr:\n{unwanted}"));
        self
    }

    /// The request number `n`, from 0.
    #[track_caller]
    pub fn request(&self, n: usize) -> &Request {
        self.ensure(n < self.requests.len(), &format!("a request number {n} (from 0)"));
        &self.requests[n]
    }

    /// Another run in the same folders, with a server and a script of its own.
    pub fn again(self) -> Test {
        Test::in_dir(self.dir)
    }

    #[track_caller]
    fn ensure(&self, holds: bool, expected: &str) {
        assert!(
            holds,
            "--- expected {expected}\n--- found: code {:?}, signal {:?}, {} requests\n\
             --- command: {}\n--- stdout:\n{}\n--- stderr:\n{}",
            self.code,
            self.signal,
            self.requests.len(),
            self.command_line,
            self.stdout,
            self.stderr,
        );
    }
}
