//! Why a turn or a run stops before it is done, with the exit code and every sentence about it.
//!
//! `ui::interrupt` makes each `Stop` and sends it to the main thread, which hears of it wherever it waits.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ctrl-C or SIGINT. At the prompt it ends the turn; all others end the program.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// SIGHUP, or the terminal is gone.
    HungUp,
    /// The run has taken as long as `--max-time` allows.
    TimeUp(Duration),
    /// Nobody reads standard output any more.
    OutputClosed,
}

impl Stop {
    /// The exit code of a run that ends with it. A shell reports a program that a signal ended as 128 + its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Stop::Interrupted => 130,
            Stop::Terminated => 143,
            Stop::HungUp => 129,
            Stop::TimeUp(_) => 4,
            Stop::OutputClosed => 1,
        }
    }

    /// Whether it ends the program even at the prompt, where Ctrl-C only ends a turn.
    pub fn ends_program(self) -> bool {
        self != Stop::Interrupted
    }

    /// For the user: the last sentence of the run.
    pub fn sentence(self) -> String {
        match self {
            Stop::Interrupted => "interrupted".into(),
            Stop::TimeUp(limit) => {
                format!("--max-time: the run took {} s and is not done", crate::text::seconds(limit))
            }
            Stop::OutputClosed => "standard output was closed".into(),
            Stop::Terminated | Stop::HungUp => format!("interrupted by {}", self.cause()),
        }
    }

    /// For the model: what follows a reply that was cut off.
    pub fn reply_note(self) -> String {
        format!("(The reply above was interrupted by {}.)", self.cause())
    }

    /// For the model: the result of a command that was running.
    pub fn command_result(self, output: &str) -> String {
        format!("interrupted by {}; it had printed:\n{output}", self.cause())
    }

    /// For the model: the result of a call that was not run.
    pub fn not_run(self) -> String {
        format!("not run: the turn was interrupted by {}", self.cause())
    }

    /// What follows "interrupted by".
    fn cause(self) -> &'static str {
        match self {
            Stop::Interrupted => "the user",
            Stop::Terminated => "SIGTERM",
            Stop::HungUp => "SIGHUP (the terminal was closed)",
            Stop::TimeUp(_) => "the time limit of the run (--max-time)",
            Stop::OutputClosed => "the closing of standard output",
        }
    }
}
