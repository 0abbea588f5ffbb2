//! Session files: append-only, one record per line, one file per session, in the state folder.
//!
//! A record is on disk before its message is sent. The last line may be torn: then it is cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::{fs::FlockOperation, io::Errno};

use super::records::{Header, Record, may_change_turns};
use crate::api::request::Prefix;
use crate::error::{Error, Result};
use crate::{private, text};

/// The version of the format. A file of a later version is not opened.
const VERSION: u64 = 2;

const LOCK: FlockOperation = FlockOperation::NonBlockingLockExclusive;

/// The folder of all sessions.
pub struct Store {
    pub folder: PathBuf,
}

/// The open file of one session, locked against every other process.
pub struct SessionFile {
    pub id: String,
    path: PathBuf,
    file: File,
}

/// The whole lines of a session file, read one after another since the file may be large.
struct Lines {
    file: BufReader<File>,
    /// How many bytes they have. What follows the last of them was torn.
    whole: u64,
}

/// Which session to continue.
pub enum Which<'a> {
    /// The latest of this working directory.
    Latest(&'a Path),
    /// The one whose id starts with this.
    Id(&'a str),
}

/// A session as `meanwhile sessions` lists it.
pub struct Summary {
    pub id: String,
    /// How long ago it was last written to.
    pub age: Duration,
    pub folder: String,
    /// How many messages the user wrote.
    pub turns: usize,
    /// How the first of them begins.
    pub first_words: String,
}

impl Store {
    /// Creates the file of a new session with this id. Fails if it exists.
    pub fn create(&self, id: &str, folder: &Path, model: &str, prefix: &Prefix) -> Result<SessionFile> {
        let path = self.path(id);
        let failed = |err| Error::File { doing: "create the session", path: path.clone(), err };
        private::create_folder(&self.folder).map_err(failed)?;
        let file = private::options().append(true).create_new(true).open(&path).map_err(failed)?;
        rustix::fs::flock(&file, LOCK).map_err(|err| failed(err.into()))?;
        let mut session = SessionFile { id: id.to_owned(), path, file };
        session.append(&Record::Session(Header {
            version: VERSION,
            id: id.to_owned(),
            folder: folder.display().to_string(),
            model: model.to_owned(),
            time: now(),
            pid: process::id().into(),
            prefix: Some(prefix.clone()),
        }))?;
        Ok(session)
    }

    /// Opens a session to continue it, and hands every record to `each`: None if its line is unreadable.
    /// Fails if there is no such session, if another process has it open, or if a later version wrote it.
    pub fn open(&self, which: Which, mut each: impl FnMut(Option<Record>)) -> Result<SessionFile> {
        let id = self.find(which)?;
        let path = self.path(&id);
        let failed = |err| Error::File { doing: "open the session", path: path.clone(), err };
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        let locked = rustix::fs::flock(&file, LOCK);
        let mut lines = Lines::open(&path).map_err(failed)?;
        let header = lines.header();
        // A file system without locks must not cost a session.
        if locked == Err(Errno::WOULDBLOCK) {
            return Err(in_use(&id, header, lines));
        }
        let unusable = |why: &str| Error::Session(format!("`{}` {why}", path.display()));
        let header = header.ok_or_else(|| unusable("is damaged: its first line can't be read"))?;
        if header.version > VERSION {
            return Err(unusable("was written by a later version of meanwhile"));
        }
        each(Some(Record::Session(header)));
        while let Some(line) = lines.next().transpose().map_err(failed)? {
            each(Record::parse(line));
        }
        file.set_len(lines.whole).map_err(failed)?;
        let mut session = SessionFile { id, path: path.clone(), file };
        session.append(&Record::Opened { pid: process::id().into(), time: now() })?;
        Ok(session)
    }

    /// Returns all sessions, the latest first.
    pub fn list(&self) -> Vec<Summary> {
        let latest = self.latest_first().into_iter();
        latest.filter_map(|(age, id)| self.summary(age, id)).collect()
    }

    /// Returns how long ago each session was last written to, and its id.
    fn latest_first(&self) -> Vec<(Duration, String)> {
        let age = |id: &String| {
            let modified = fs::metadata(self.path(id)).ok()?.modified().ok()?;
            Some(modified.elapsed().unwrap_or_default())
        };
        let ids = self.ids().into_iter();
        let mut found: Vec<_> = ids.filter_map(|id| Some((age(&id)?, id))).collect();
        found.sort_unstable();
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
                    header.is_some_and(|header| header.folder == folder)
                };
                let mut latest = self.latest_first().into_iter().map(|(_, id)| id);
                let none = || Error::Session(format!("no session to continue in {folder}"));
                latest.find(is_here).ok_or_else(none)
            }
            Which::Id(prefix) => {
                let mut found = self.ids();
                found.retain(|id| id.starts_with(prefix));
                let problem = match found.len() {
                    1 => return Ok(found.remove(0)),
                    0 => format!("no session `{prefix}`; `meanwhile sessions` lists all"),
                    n => format!("the ids of {n} sessions start with `{prefix}`; give more of the id"),
                };
                Err(Error::Session(problem))
            }
        }
    }

    fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| Some(name.strip_suffix(".jsonl")?.to_owned())).collect()
    }

    fn summary(&self, age: Duration, id: String) -> Option<Summary> {
        let mut lines = self.lines(&id)?;
        let header = lines.header()?;
        let (mut turns, mut first_words) = (0, String::new());
        for line in lines.map_while(io::Result::ok).filter(|line| may_change_turns(line)) {
            match Record::parse(line) {
                Some(Record::Message { message, prompt: Some(prompt) }) => {
                    turns += 1;
                    if turns == 1 {
                        let content = message.decode().content;
                        let words = content.get(prompt).and_then(|block| block.str("text"));
                        first_words = text::one_line(words.unwrap_or_default(), 60);
                    }
                }
                Some(Record::RolledBack(mark)) => turns = turns.min(mark.turns),
                _ => {}
            }
        }
        Some(Summary { id, age, folder: header.folder, turns, first_words })
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.jsonl"))
    }
}

impl SessionFile {
    /// Writes the line of a record in one piece.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let (start, end) = record.text();
        let mut pieces = [start.as_bytes(), end.as_bytes(), b"\n"].map(IoSlice::new);
        let written = write_all(&mut self.file, &mut pieces);
        written.map_err(|err| Error::File { doing: "write the session", path: self.path.clone(), err })
    }
}

impl Lines {
    fn open(path: &Path) -> io::Result<Lines> {
        // To open a FIFO of that name would wait for a writer.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        Ok(Lines { file: BufReader::new(file), whole: 0 })
    }

    /// Reads the first line.
    fn header(&mut self) -> Option<Header> {
        let Record::Session(header) = Record::parse(self.next()?.ok()?)? else { return None };
        Some(header)
    }
}

impl Iterator for Lines {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        let mut line = Vec::new();
        if let Err(err) = self.file.read_until(b'\n', &mut line) {
            return Some(Err(err));
        }
        let length = line.len() as u64;
        line.pop_if(|byte| *byte == b'\n')?;
        self.whole += length;
        Some(Ok(line))
    }
}

fn write_all(file: &mut File, mut pieces: &mut [IoSlice]) -> io::Result<()> {
    while !pieces.is_empty() {
        match file.write_vectored(pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut pieces, n),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

fn in_use(id: &str, header: Option<Header>, lines: Lines) -> Error {
    let records = lines.map_while(io::Result::ok).filter_map(Record::parse);
    let opened = records.filter_map(|record| match record {
        Record::Opened { pid, .. } => Some(pid),
        _ => None,
    });
    let pid = opened.last().or(header.map(|header| header.pid));
    let process = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    Error::Session(format!("session {id} is open in {process}"))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
