//! The supervisor's record about the shell of a command: one line on the lifeline.

use std::io::Read;
use std::os::unix::net::UnixStream;

use super::exit::Exit;

pub struct ShellEnd {
    pub exit: Exit,
    /// How many descendants of the shell live on.
    pub left: u32,
}

impl ShellEnd {
    /// Reads a record: `code 0 2`, `signal 9 0` or `failed REASON`. None if the supervisor has ended.
    pub fn read(mut lifeline: &UnixStream) -> Option<ShellEnd> {
        let mut record = [0; 1024];
        let n = lifeline.read(&mut record).unwrap_or(0);
        let text = String::from_utf8_lossy(&record[..n]);
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let (exit, left) = match text.split(' ').collect::<Vec<_>>()[..] {
            ["code", code, left] => (code.parse().map(Exit::Code), left.parse().unwrap_or(0)),
            ["signal", signal, left] => (signal.parse().map(Exit::Signal), left.parse().unwrap_or(0)),
            _ => {
                let reason = text.trim_start_matches("failed ");
                (Ok(Exit::Failed(reason.to_owned())), 0)
            }
        };
        let exit = exit.unwrap_or_else(|_| Exit::Failed(format!("its supervisor said `{text}`")));
        Some(ShellEnd { exit, left })
    }
}
