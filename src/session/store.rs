//! Session files: append-only JSON lines, one file a session, under the state folder.
//!
//! A line is a message as it entered the history, or a record with a `type`: the header, who has opened
//! the file, what was done to the history since. A line is on disk before its message is sent; the last
//! one may be torn, every other is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{fs::FlockOperation, io::Errno};
use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    text,
};

/// The version of the format; files of a later one are not touched.
const VERSION: u64 = 1;

/// The folder with all sessions.
pub struct Store {
    pub folder: PathBuf,
}

/// The open file of one session, locked against every other process.
pub struct SessionFile {
    pub id: String,
    path: PathBuf,
    file: File,
}

/// Which session to go on with.
pub enum Which<'a> {
    /// The last one of this working directory.
    Latest(&'a Path),
    /// The one whose id starts so.
    Id(&'a str),
}

/// A session as `meanwhile sessions` lists it.
pub struct Summary {
    pub id: String,
    /// How long ago it was last written to.
    pub age: Duration,
    pub folder: String,
    pub turns: usize,
    pub first_words: String,
}

impl Store {
    /// Creates the file of a new session with this id.
    pub fn create(&self, id: &str, folder: &Path, model: &str) -> io::Result<SessionFile> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let path = self.path(id);
        let file = OpenOptions::new()
            .append(true)
            .read(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let id = id.to_owned();
        let mut session = SessionFile { id, path, file };
        let header = json!({
            "type": "session", "version": VERSION, "id": session.id, "cwd": folder.display().to_string(),
            "model": model, "time": now(), "pid": std::process::id(),
        });
        session.append(&header.to_string())?;
        Ok(session)
    }

    /// Opens a session to go on with it, and returns its lines. Fails when there is none, when it is open
    /// in another process, or when a later version has written it.
    pub fn open(&self, which: Which) -> Result<(SessionFile, Vec<String>)> {
        let id = self.find(which)?;
        let path = self.path(&id);
        let failed = |err| Error::File {
            doing: "open the session",
            path: path.clone(),
            err,
        };
        let mut file = OpenOptions::new()
            .append(true)
            .read(true)
            .open(&path)
            .map_err(failed)?;
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let (lines, whole) = whole_lines(&text);
        // A file system without locks is no reason to lose a session.
        if locked == Err(Errno::WOULDBLOCK) {
            return Err(in_use(&id, &lines));
        }
        let header: Value = lines
            .first()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        if header["version"]
            .as_u64()
            .is_none_or(|version| version > VERSION)
        {
            let text = format!(
                "`{}` is no session that this version of meanwhile can read",
                path.display()
            );
            return Err(Error::Session(text));
        }
        file.set_len(whole as u64).map_err(failed)?;
        let mut session = SessionFile {
            id,
            path: path.clone(),
            file,
        };
        let opened = json!({"type": "opened", "pid": std::process::id(), "time": now()});
        session.append(&opened.to_string()).map_err(failed)?;
        Ok((session, lines))
    }

    /// All sessions, the latest first.
    pub fn list(&self) -> Vec<Summary> {
        let mut found: Vec<Summary> = self
            .ids()
            .iter()
            .filter_map(|id| self.summary(id))
            .collect();
        found.sort_by_key(|summary| summary.age);
        found
    }

    fn find(&self, which: Which) -> Result<String> {
        match which {
            Which::Latest(folder) => {
                let folder = folder.display().to_string();
                let latest = self
                    .list()
                    .into_iter()
                    .find(|summary| summary.folder == folder);
                latest.map(|summary| summary.id).ok_or_else(|| {
                    Error::Session(format!("there is no session of {folder} to continue"))
                })
            }
            Which::Id(prefix) => {
                let mut found = self.ids();
                found.retain(|id| id.starts_with(prefix));
                match found.len() {
                    1 => Ok(found.remove(0)),
                    0 => Err(Error::Session(format!(
                        "there is no session `{prefix}`; `meanwhile sessions` lists them"
                    ))),
                    n => Err(Error::Session(format!(
                        "{n} sessions start with `{prefix}`: give more of the id"
                    ))),
                }
            }
        }
    }

    fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter_map(|name| Some(name.strip_suffix(".jsonl")?.to_owned()))
            .collect()
    }

    fn summary(&self, id: &str) -> Option<Summary> {
        let path = self.path(id);
        let age = fs::metadata(&path)
            .ok()?
            .modified()
            .ok()?
            .elapsed()
            .unwrap_or_default();
        let text = fs::read(&path).ok()?;
        let (lines, _) = whole_lines(&text);
        let header: Value = serde_json::from_str(lines.first()?).ok()?;
        let prompts = lines.iter().filter_map(|line| prompt(line));
        let prompts: Vec<String> = prompts.collect();
        Some(Summary {
            id: id.to_owned(),
            age,
            folder: header["cwd"].as_str()?.to_owned(),
            turns: prompts.len(),
            first_words: text::one_line(prompts.first().map_or("", String::as_str), 60),
        })
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.jsonl"))
    }
}

impl SessionFile {
    /// Writes one line, in one piece.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        let mut pieces = [IoSlice::new(line.as_bytes()), IoSlice::new(b"\n")];
        let mut left = &mut pieces[..];
        while !left.is_empty() {
            match self.file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut left, n),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What a user has typed, if the line is a message that starts with it.
fn prompt(line: &str) -> Option<String> {
    if !line.starts_with(r#"{"role":"user""#) {
        return None;
    }
    let message: Value = serde_json::from_str(line).ok()?;
    let first = &message["content"][0];
    let text = first["text"].as_str()?;
    (!text.starts_with('<')).then(|| text.to_owned())
}

/// The lines that end with a line feed and are JSON, and how many bytes they take.
fn whole_lines(text: &[u8]) -> (Vec<String>, usize) {
    let end = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let lines = text[..end].split(|byte| *byte == b'\n');
    let lines = lines.map(|line| String::from_utf8_lossy(line).into_owned());
    (lines.filter(|line| !line.is_empty()).collect(), end)
}

fn in_use(id: &str, lines: &[String]) -> Error {
    let records = lines
        .iter()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let pid = records
        .into_iter()
        .find_map(|record| record["pid"].as_u64());
    let pid = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    Error::Session(format!("session {id} is open in {pid}"))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
