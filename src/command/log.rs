//! The log of one command: everything it wrote, byte for byte, up to a limit.
//!
//! At the limit the log ends with a line that says so. A log that can't be written is given up quietly: the
//! result of the command still comes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::private;

/// The output of a foreground command is kept in memory up to this many bytes; only more needs a file.
const PENDING: usize = 48 * 1024;

/// The last line of a log that has reached its limit.
const END: &str = "\n... (the log ends here, at its size limit) ...\n";

/// Logs that nobody wrote to for this long are deleted.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// The folder of all logs. It is created with the first file.
pub struct Logs {
    folder: PathBuf,
    /// No log gets larger, in bytes.
    limit: u64,
    has_deleted_old: AtomicBool,
}

pub struct Log {
    logs: Arc<Logs>,
    path: PathBuf,
    state: State,
    /// How many bytes may still come.
    room: u64,
}

enum State {
    /// Not created yet; the output so far.
    Pending(Vec<u8>),
    Open(File),
    /// The command is gone, or the log has reached its limit.
    Closed,
    /// It was not needed, or could not be created or written.
    Absent,
}

impl Logs {
    pub fn new(folder: PathBuf, limit: u64) -> Arc<Logs> {
        Arc::new(Logs { folder, limit, has_deleted_old: AtomicBool::new(false) })
    }

    /// Whether a task with this id has a log.
    pub fn has(&self, id: &str) -> bool {
        self.path(id).exists()
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.log"))
    }

    /// Deletes the logs older than a week, once in a run: that takes long where there are many, and nobody
    /// should wait for it.
    pub fn delete_old(&self) {
        if !self.has_deleted_old.swap(true, Ordering::Relaxed) {
            for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
                let modified = entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::now());
                let is_old = modified.elapsed().is_ok_and(|age| age > KEEP);
                if is_old && entry.path().extension().is_some_and(|extension| extension == "log") {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}

impl Log {
    /// The log of the task with this id. Its file is created at once, or when `lazy` only once the output is
    /// too large for memory.
    pub fn new(logs: &Arc<Logs>, id: &str, lazy: bool) -> Log {
        let room = logs.limit.saturating_sub(END.len() as u64);
        let state = State::Pending(Vec::new());
        let mut log = Log { logs: Arc::clone(logs), path: logs.path(id), state, room };
        if !lazy {
            log.create();
        }
        log
    }

    /// Takes the next bytes of the output.
    pub fn write(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Pending(pending) => {
                pending.extend_from_slice(bytes);
                if pending.len() > PENDING {
                    self.create();
                }
            }
            State::Open(file) => {
                let fitting = bytes.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
                self.room -= fitting as u64;
                let is_full = fitting < bytes.len();
                let end = if is_full { END } else { "" };
                let written = file.write_all(&bytes[..fitting]).and_then(|()| file.write_all(end.as_bytes()));
                if written.is_err() {
                    self.state = State::Absent;
                } else if is_full {
                    self.state = State::Closed;
                }
            }
            State::Closed | State::Absent => {}
        }
    }

    /// Writes what was kept in memory: from now on the log is complete at any moment.
    pub fn create(&mut self) {
        let State::Pending(pending) = &mut self.state else { return };
        let pending = std::mem::take(pending);
        let open = || private::options().write(true).create_new(true).open(&self.path);
        let created = open().or_else(|_| {
            private::create_folder(&self.logs.folder)?;
            open()
        });
        self.state = created.map_or(State::Absent, State::Open);
        self.write(&pending);
    }

    /// Where the log is, if it is in a file.
    pub fn path(&self) -> Option<&Path> {
        matches!(self.state, State::Open(_) | State::Closed).then_some(&self.path)
    }

    /// Closes the file. Returns its folder, if there is one.
    pub fn close(&mut self) -> Option<Arc<Logs>> {
        let is_file = self.path().is_some();
        self.state = if is_file { State::Closed } else { State::Absent };
        is_file.then(|| Arc::clone(&self.logs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_its_limit_the_log_ends_with_a_line_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let limit = 100 + END.len() as u64;
        let logs = Logs::new(folder.path().join("state"), limit);
        for total in [99, 100, 101, 150, 1000] {
            let mut log = Log::new(&logs, &total.to_string(), false);
            let bytes: Vec<u8> = (0..total).map(|i| b'a' + (i % 26) as u8).collect();
            bytes.chunks(7).for_each(|chunk| log.write(chunk));
            let kept = fs::read_to_string(log.path().unwrap()).unwrap();
            let mut expected = String::from_utf8(bytes[..total.min(100)].to_vec()).unwrap();
            if total > 100 {
                expected.push_str(END);
            }
            assert_eq!(kept, expected);
            assert!(kept.len() as u64 <= limit);
        }
    }

    #[test]
    fn a_small_output_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path().to_owned(), 1 << 20);
        let mut log = Log::new(&logs, "small", true);
        log.write(b"a few bytes");
        assert_eq!(log.path(), None);
        assert!(!logs.has("small"));
        log.write(&[b'x'; PENDING]);
        log.write(b"end");
        assert_eq!(fs::read(log.path().unwrap()).unwrap().len(), PENDING + 14);
    }

    #[test]
    fn a_log_that_cannot_be_written_is_given_up() {
        let mut log = Log::new(&Logs::new("/proc/nowhere".into(), 100), "x", false);
        log.write(b"text");
        assert_eq!(log.path(), None);
    }
}
