//! The log of one command: everything it wrote, byte for byte, up to a cap.
//!
//! Past the cap the first half stays and the second half is a ring of the newest bytes, put in
//! order when the log is closed. A log that can't be written is given up quietly: the result still comes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

/// A foreground command whose output is smaller than this is shown whole and needs no file.
const PENDING: usize = 48 * 1024;

/// The line in the middle of a log past its cap is no longer: a number of bytes and some words.
const LONGEST_MARK: u64 = 64;

/// Logs that nobody wrote to for this long are removed when there is a new one.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

pub struct Log {
    path: PathBuf,
    cap: u64,
    state: State,
    written: u64,
}

enum State {
    /// Not created yet; what came so far.
    Pending(Vec<u8>),
    Open(File),
    /// It could not be created or written, or it is closed.
    Done,
}

impl Log {
    /// A log at `path` that is created with the first byte, or as soon as it is worth a file when `lazy`.
    pub fn new(path: PathBuf, cap: u64, lazy: bool) -> Log {
        let cap = cap.saturating_sub(LONGEST_MARK);
        let state = State::Pending(Vec::new());
        let mut log = Log { path, cap, state, written: 0 };
        if !lazy {
            log.create();
        }
        log
    }

    /// Takes the next bytes of the output.
    pub fn write(&mut self, bytes: &[u8]) {
        if let State::Pending(pending) = &mut self.state {
            pending.extend_from_slice(bytes);
            if pending.len() > PENDING {
                self.create();
            }
            return;
        }
        let State::Open(file) = &self.state else {
            return;
        };
        if append(file, self.cap, &mut self.written, bytes).is_err() {
            self.state = State::Done;
        }
    }

    /// Writes what was held back: from now on the log is complete at any moment.
    pub fn create(&mut self) {
        let State::Pending(pending) = std::mem::replace(&mut self.state, State::Done) else {
            return;
        };
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let created = open_new(&self.path).or_else(|_| {
            create_private_folder(folder)?;
            open_new(&self.path)
        });
        if let Ok(file) = created {
            self.state = State::Open(file);
            self.write(&pending);
        }
    }

    /// Where the log is, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self.state {
            State::Open(_) => Some(&self.path),
            _ => None,
        }
    }

    /// Puts a log past its cap in order and closes it; returns where it is, if there is one.
    pub fn close(mut self) -> Option<PathBuf> {
        let State::Open(file) = std::mem::replace(&mut self.state, State::Done) else {
            return None;
        };
        if self.written > self.cap && unroll(&file, &self.path, self.cap, self.written).is_err() {
            let _ = fs::remove_file(&self.path);
            return None;
        }
        Some(self.path)
    }
}

/// Removes the logs beside `log` that are older than a week, and what a kill has left of putting one in order;
/// once in a run. It takes its time where there are many: nobody should wait for it.
pub fn remove_old(log: &Path) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        remove_old_in(log.parent().unwrap_or(Path::new("/")));
    }
}

fn remove_old_in(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::now());
        let old = modified.elapsed().is_ok_and(|age| age > KEEP);
        if old && let Some("log" | "part") = entry.path().extension().and_then(|e| e.to_str()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Creates a folder and its parents that only the user may open.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Appends up to the cap, then overwrites the oldest bytes of the second half.
fn append(file: &File, cap: u64, written: &mut u64, mut bytes: &[u8]) -> io::Result<()> {
    let half = cap / 2;
    let ring = cap - half;
    while !bytes.is_empty() {
        let (at, room) = match *written {
            w if w < cap => (w, cap - w),
            w => {
                let turn = (w - half) % ring;
                (half + turn, ring - turn)
            }
        };
        let (now, later) = bytes.split_at(bytes.len().min(room as usize));
        file.write_all_at(now, at)?;
        *written += now.len() as u64;
        bytes = later;
    }
    Ok(())
}

/// Writes head, a line about what is missing, and the ring from its oldest byte on to a new file in its place.
fn unroll(file: &File, path: &Path, cap: u64, written: u64) -> io::Result<()> {
    let half = cap / 2;
    let turn = (written - half) % (cap - half);
    let ordered_path = path.with_extension("part");
    let mut ordered = open_new(&ordered_path)?;
    let copy = |from: u64, to: u64, out: &mut File| -> io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        let mut at = from;
        while at < to {
            let n = file.read_at(&mut buffer[..(to - at).min(64 * 1024) as usize], at)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&buffer[..n])?;
            at += n as u64;
        }
        Ok(())
    };
    copy(0, half, &mut ordered)?;
    writeln!(ordered, "\n... ({} bytes left out) ...", written - cap)?;
    copy(half + turn, cap, &mut ordered)?;
    copy(half, half + turn, &mut ordered)?;
    fs::rename(&ordered_path, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_cap_head_and_tail_stay_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for total in [100, 101, 150, 333, 1000] {
            let path = folder.path().join(format!("state/{total}.log"));
            let mut log = Log::new(path.clone(), 100 + LONGEST_MARK, false);
            let bytes: Vec<u8> = (0..total).map(|i| b'a' + (i % 26) as u8).collect();
            bytes.chunks(7).for_each(|chunk| log.write(chunk));
            assert_eq!(log.close(), Some(path.clone()));
            let kept = fs::read(&path).unwrap();
            let mut expected = bytes[..50].to_vec();
            if total > 100 {
                expected.extend(format!("\n... ({} bytes left out) ...\n", total - 100).bytes());
            }
            expected.extend_from_slice(&bytes[total - 50..]);
            assert_eq!(String::from_utf8(kept).unwrap(), String::from_utf8(expected).unwrap());
        }
    }

    #[test]
    fn a_small_output_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.log");
        let mut log = Log::new(path.clone(), 1 << 20, true);
        log.write(b"a few bytes");
        assert_eq!(log.close(), None);
        assert!(!path.exists());
        let mut log = Log::new(path.clone(), 1 << 20, true);
        log.write(&[b'x'; PENDING + 1]);
        log.write(b"end");
        assert_eq!(log.close(), Some(path.clone()));
        assert_eq!(fs::read(&path).unwrap().len(), PENDING + 4);
    }

    #[test]
    fn a_log_that_cannot_be_written_is_given_up() {
        let mut log = Log::new("/proc/nowhere/x.log".into(), 100, false);
        log.write(b"text");
        assert_eq!(log.path(), None);
        assert_eq!(log.close(), None);
    }
}
