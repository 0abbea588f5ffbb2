//! Standard input: as keys, as lines, or as the task of `-p`. Each is read by a thread named "input".

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs::File,
    io::{self, IsTerminal, Read},
    os::fd::AsFd,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use rustix::event::{PollFd, PollFlags};

use crate::{
    agent::Agent,
    api::message::Block,
    background::Arrival,
    error::{Error, Result},
    threads,
};

/// After this time without a byte, a pipe is taken for one that somebody forgot to close.
pub const SILENCE: Duration = Duration::from_secs(3);

/// Lines typed before a question arrive within this time; they don't answer it.
const TYPED_AHEAD: Duration = Duration::from_millis(50);

/// Passes what is typed to `take`, and None at the end, until `take` returns false. Fails if no thread can be started.
pub fn read_keys(mut take: impl FnMut(Option<&[u8]>) -> bool + Send + 'static) -> Result<()> {
    start_thread(move || {
        // A terminal that can't be read is gone.
        let _ = read_pieces(io::stdin(), |bytes| take(Some(bytes)));
        take(None);
    })
}

/// Lines from standard input.
pub struct Lines {
    /// One line at a time.
    pub received: Receiver<String>,
    /// Lines typed before a question was asked, which come before `received`.
    ahead: RefCell<VecDeque<String>>,
}

impl Lines {
    /// Starts to read. Fails if no thread can be started.
    pub fn read() -> Result<Rc<Lines>> {
        let (sender, received) = crossbeam_channel::bounded(0);
        start_thread(move || {
            let mut line = Vec::new();
            let send = |line: &mut Vec<u8>| {
                let text = String::from_utf8_lossy(line).into_owned();
                line.clear();
                sender.send(text).is_ok()
            };
            let _ = read_pieces(io::stdin(), |bytes| {
                bytes.split_inclusive(|byte| *byte == b'\n').all(|part| {
                    line.extend_from_slice(part);
                    !part.ends_with(b"\n") || send(&mut line)
                })
            });
            if !line.is_empty() {
                send(&mut line);
            }
        })?;
        Ok(Rc::new(Lines { received, ahead: RefCell::default() }))
    }

    /// Takes a line that was set aside.
    pub fn ahead(&self) -> Option<String> {
        self.ahead.borrow_mut().pop_front()
    }

    /// Sets aside what was typed so far, so that the next line received is the answer to a question.
    pub fn set_aside(&self) {
        while let Ok(line) = self.received.recv_timeout(TYPED_AHEAD) {
            self.ahead.borrow_mut().push_back(line);
        }
    }
}

/// Reads the task of `-p` from the prompt, the file and standard input. Returns a text block for each, and whether
/// a silent pipe was skipped. Fails if there is no task, if a source can't be read, or with a stop.
pub fn read_task(prompt: Option<&str>, file: Option<&Path>, agent: &mut Agent) -> Result<(Vec<Block>, bool)> {
    let mut content = read_message(prompt, file, agent)?;
    let mut is_skipped = false;
    if !io::stdin().is_terminal() {
        let silence = (!content.is_empty()).then(|| Instant::now() + SILENCE);
        let failed = |err| Error::System { doing: "read standard input", err };
        let piped = read_all(|| Ok(io::stdin()), silence, agent, failed)?;
        is_skipped = piped.is_none();
        content.extend(piped.as_deref().and_then(block));
    }
    if content.is_empty() {
        let what = "no prompt: give one after -p, in a --file, or pipe one into standard input";
        return Err(Error::Usage(what.into()));
    }
    Ok((content, is_skipped))
}

/// Reads the prompt and the file. Returns a text block for each. Fails if the file can't be read, or with a stop.
pub fn read_message(prompt: Option<&str>, file: Option<&Path>, agent: &mut Agent) -> Result<Vec<Block>> {
    let text = file.map(|path| read_file(path, agent)).transpose()?.flatten();
    Ok([prompt, text.as_deref()].into_iter().flatten().filter_map(block).collect())
}

/// None if the text is blank.
fn block(text: &str) -> Option<Block> {
    (!text.trim().is_empty()).then(|| Block::text(text))
}

/// In a thread too: opening a FIFO blocks until somebody writes to it.
fn read_file(path: &Path, agent: &mut Agent) -> Result<Option<String>> {
    let opened = path.to_owned();
    let failed = |err| Error::Config(format!("failed to read file `{}`: {err}", path.display()));
    read_all(move || File::open(opened), None, agent, failed)
}

/// Reads a source to its end. Returns None if no byte has come by the time of `silence`. Fails with a stop.
fn read_all<R: Read + AsFd>(
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
    mut silence: Option<Instant>,
    agent: &mut Agent,
    failed: impl Fn(io::Error) -> Error,
) -> Result<Option<String>> {
    let (sender, pieces) = crossbeam_channel::bounded(4);
    start_thread(move || {
        let send = |bytes: &[u8]| sender.send(Ok(bytes.to_vec())).is_ok();
        let ended = open().and_then(|source| read_pieces(source, send));
        ended.unwrap_or_else(|err| drop(sender.send(Err(err))));
    })?;
    let mut bytes = Vec::new();
    loop {
        match agent.wait(&pieces, silence) {
            Arrival::Message(piece) => {
                bytes.extend(piece.map_err(&failed)?);
                silence = None;
            }
            Arrival::Closed => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Arrival::TimedOut => return Ok(None),
            Arrival::Stopped(stop) => return Err(Error::Stopped(stop)),
            Arrival::Task => {}
        }
    }
}

fn start_thread(read: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = threads::start("input", read);
    started.map(drop).map_err(|err| Error::System { doing: "start a thread", err })
}

/// Passes each piece of a source to `take`, until its end or until `take` returns false.
fn read_pieces(mut source: impl Read + AsFd, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) if take(&buffer[..n]) => {}
            Ok(_) => return Ok(()),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            // Node and others pass on pipes that don't block.
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                let mut ready = [PollFd::new(&source, PollFlags::IN)];
                let _ = rustix::event::poll(&mut ready, None);
            }
            Err(err) => return Err(err),
        }
    }
}
