//! How a command ended, as a type and in words, and the events that report it.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::text;

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It reached this time limit.
    TimedOut(Duration),
    /// The model, the user or the end of the program ended it.
    Killed,
    /// It could not be started or watched.
    Failed(String),
}

/// The end of a command, or of its shell.
#[derive(Debug, Clone)]
pub struct End {
    pub exit: Exit,
    pub duration: Duration,
    /// How many descendants of the shell live on; 0 once all of the command is gone.
    pub left: u32,
}

/// What a command's thread reports: the end of the shell, if descendants of it live on, and the end of all.
#[derive(Debug)]
pub struct Event {
    pub id: String,
    pub end: End,
}

impl Display for Exit {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => {
                write!(f, "ended by signal {signal}")?;
                let name = signal_hook::low_level::signal_name(*signal);
                name.map_or(Ok(()), |name| write!(f, ", {name}"))
            }
            Exit::TimedOut(limit) => write!(f, "Error: Timeout ({}s)", text::seconds(*limit)),
            Exit::Killed => f.write_str("killed"),
            Exit::Failed(reason) => write!(f, "Error: {reason}"),
        }
    }
}

/// `exit code 1 after 3.0 s`
impl Display for End {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} after {}", self.exit, text::duration(self.duration))
    }
}
