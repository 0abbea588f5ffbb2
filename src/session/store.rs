//! Session files: append-only JSON lines, one file a session, under the state folder.
//!
//! A line is a message as it entered the history, or a record with a `type`: the header, who has opened
//! the file, what was done to the history since. A line is on disk before its message is sent; the last
//! one may be torn, every other is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, IoSlice, Read, Take, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    string::FromUtf8Error,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{fs::FlockOperation, io::Errno};
use serde_json::{Value, json};

use crate::{
    api::message::Message,
    error::{Error, Result},
    private, text,
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

/// The lines of a session's file that are whole, one after another: it may be large.
pub struct Lines(BufReader<Take<File>>);

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
        private::create_folder(&self.folder)?;
        let path = self.path(id);
        let file = private::options().append(true).read(true).create_new(true).open(&path)?;
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

    /// Opens a session to go on with it, and returns its lines after the first. Fails when there is none, when it is open
    /// in another process, or when a later version has written it.
    pub fn open(&self, which: Which) -> Result<(SessionFile, Lines)> {
        let id = self.find(which)?;
        let path = self.path(&id);
        let failed = |err| Error::File { doing: "open the session", path: path.clone(), err };
        let file = OpenOptions::new().append(true).read(true).open(&path).map_err(failed)?;
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        let mut lines = Lines::open(&path).map_err(failed)?;
        let whole = lines.length();
        let header = lines.header().unwrap_or_default();
        // A file system without locks is no reason to lose a session.
        if locked == Err(Errno::WOULDBLOCK) {
            return Err(in_use(&id, &header, lines));
        }
        if header["version"].as_u64().is_none_or(|version| version > VERSION) {
            let text = format!("`{}` is no session that this version of meanwhile can read", path.display());
            return Err(Error::Session(text));
        }
        file.set_len(whole).map_err(failed)?;
        let mut session = SessionFile { id, path: path.clone(), file };
        let opened = json!({"type": "opened", "pid": std::process::id(), "time": now()});
        session.append(&opened.to_string()).map_err(failed)?;
        Ok((session, lines))
    }

    /// All sessions, the latest first.
    pub fn list(&self) -> Vec<Summary> {
        let latest = self.latest_first();
        let summaries = latest.iter().filter_map(|(age, id)| self.summary(*age, id));
        summaries.collect()
    }

    /// How long ago each session was last written to, and its id.
    fn latest_first(&self) -> Vec<(Duration, String)> {
        let age = |id: &String| {
            let modified = fs::metadata(self.path(id)).ok()?.modified().ok()?;
            Some(modified.elapsed().unwrap_or_default())
        };
        let ids = self.ids().into_iter();
        let mut found: Vec<_> = ids.filter_map(|id| Some((age(&id)?, id))).collect();
        found.sort();
        found
    }

    fn lines(&self, id: &str) -> Option<Lines> {
        Lines::open(&self.path(id)).ok()
    }

    fn find(&self, which: Which) -> Result<String> {
        match which {
            Which::Latest(folder) => {
                let folder = folder.display().to_string();
                let is_here = |id: &String| {
                    let header = self.lines(id).and_then(|mut lines| lines.header());
                    header.is_some_and(|header| header["cwd"] == folder.as_str())
                };
                let mut latest = self.latest_first().into_iter().map(|(_, id)| id);
                latest
                    .find(is_here)
                    .ok_or_else(|| Error::Session(format!("there is no session of {folder} to continue")))
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
        names.filter_map(|name| Some(name.strip_suffix(".jsonl")?.to_owned())).collect()
    }

    fn summary(&self, age: Duration, id: &str) -> Option<Summary> {
        let mut lines = self.lines(id)?;
        let header = lines.header()?;
        let mut prompts = lines.map_while(io::Result::ok).filter(|line| is_prompt(line));
        let first = prompts.next().and_then(|line| Message::from_json(&line));
        let words = first.as_ref().and_then(|first| first.content[0].str("text"));
        Some(Summary {
            id: id.to_owned(),
            age,
            folder: header["cwd"].as_str()?.to_owned(),
            turns: words.iter().len() + prompts.count(),
            first_words: text::one_line(words.unwrap_or_default(), 60),
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

impl Lines {
    /// What is appended from now on is not among them.
    fn open(path: &Path) -> io::Result<Lines> {
        // A FIFO of that name would wait for a writer.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let length = whole_length(&file)?;
        Ok(Lines(BufReader::new(file.take(length))))
    }

    /// The bytes that have not been read.
    fn length(&self) -> u64 {
        self.0.get_ref().limit()
    }

    /// The first line.
    fn header(&mut self) -> Option<Value> {
        serde_json::from_str(&self.next()?.ok()?).ok()
    }
}

impl Iterator for Lines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        loop {
            let mut line = Vec::new();
            if let Err(err) = self.0.read_until(b'\n', &mut line) {
                return Some(Err(err));
            }
            if line.pop() != Some(b'\n') {
                return None;
            }
            if !line.is_empty() {
                let lossy = |err: FromUtf8Error| String::from_utf8_lossy(err.as_bytes()).into_owned();
                return Some(Ok(String::from_utf8(line).unwrap_or_else(lossy)));
            }
        }
    }
}

/// Whether the line is a message that begins with something that a user has typed, as `Message::to_json` writes it:
/// the results of tools stand first, and those of background tasks in a tag.
fn is_prompt(line: &str) -> bool {
    let rest = line.strip_prefix(r#"{"role":"user","content":[{"type":"text","text":""#);
    rest.is_some_and(|text| !text.starts_with('<'))
}

/// The bytes up to the last line feed: what follows it was torn.
fn whole_length(file: &File) -> io::Result<u64> {
    let mut buffer = [0; 4096];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let piece = &mut buffer[..(end - start) as usize];
        file.read_exact_at(piece, start)?;
        if let Some(at) = memchr::memrchr(b'\n', piece) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn in_use(id: &str, header: &Value, lines: Lines) -> Error {
    let lines = lines.map_while(io::Result::ok);
    let records = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let pids = records.filter_map(|record| record["pid"].as_u64());
    let pid = pids.last().or(header["pid"].as_u64());
    let pid = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    Error::Session(format!("session {id} is open in {pid}"))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
