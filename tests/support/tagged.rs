//! The processes of one test, found through `/proc` by a mark that no other test has: in a variable
//! of their environment, or in an argument like `sleep 987654.MARK`.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

/// The variable to be set for the program: everything it starts inherits it.
pub const VARIABLE: &str = "MEANWHILE_TEST_MARK";

/// Between two looks at `/proc`.
const INTERVAL: Duration = Duration::from_millis(10);

/// Drop ends what is left, each by its pid.
pub struct Mark(String);

impl Mark {
    /// Digits only, so that it can be part of a number of seconds.
    pub fn new() -> Mark {
        Mark(format!("{:010}", Uuid::new_v4().as_u128() % 10_000_000_000))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// `sleep` for longer than any test, marked as ours also where the environment is not.
    pub fn sleep(&self) -> String {
        format!("sleep 987654.{}", self.0)
    }

    /// The living processes with this mark, and what they run.
    pub fn processes(&self) -> BTreeMap<i32, String> {
        let entries = fs::read_dir("/proc").expect("/proc is there");
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| Some((pid, self.command_line(pid)?))).collect()
    }

    /// Waits until no process with this mark lives, and returns how long that took; on failure the survivors.
    pub fn wait_for_end(&self, deadline: Duration) -> Result<Duration, BTreeMap<i32, String>> {
        let start = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return Ok(start.elapsed());
            }
            if start.elapsed() > deadline {
                return Err(left);
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// None if the process has ended or is not ours.
    fn command_line(&self, pid: i32) -> Option<String> {
        // Of a zombie both files are empty.
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let marked = text.contains(&self.0) || String::from_utf8_lossy(&variables).contains(&self.0);
        marked.then(|| text.trim().to_owned())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        for pid in self.processes().into_keys().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
