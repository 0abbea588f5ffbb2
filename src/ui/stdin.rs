//! Standard input: as keys, as lines, or as the task of `-p`. Each is read by a thread named "input".

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::agent::Agent;
use crate::api::message::Block;
use crate::background::Arrival;
use crate::error::{Error, Result};
use crate::threads;

/// After this time without a byte, a pipe is taken for one that somebody forgot to close.
pub const SILENCE: Duration = Duration::from_secs(3);

/// Lines typed before a question arrive within this time; they don't answer it.
const TYPED_AHEAD: Duration = Duration::from_millis(50);

/// Passes what is typed to `take`, and None at the end, until `take` returns false. Fails if no thread can be started.
pub fn read_keys(mut take: impl FnMut(Option<&[u8]>) -> bool + Send + 'static) -> Result<()> {
    start_thread(move || {
        // A terminal that can't be read is gone.
        let _ = read_pieces(io::stdin().as_fd(), &mut |bytes| take(Some(bytes)));
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
            let send = |line: Vec<u8>| sender.send(String::from_utf8_lossy(&line).into_owned()).is_ok();
            let _ = read_pieces(io::stdin().as_fd(), &mut |bytes| {
                bytes.split_inclusive(|byte| *byte == b'\n').all(|part| {
                    line.extend_from_slice(part);
                    !part.ends_with(b"\n") || send(mem::take(&mut line))
                })
            });
            if !line.is_empty() {
                send(line);
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
        let piped = read_all(None, silence, agent)?;
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
    let text = file.map(|path| read_all(Some(path), None, agent)).transpose()?.flatten();
    Ok([prompt, text.as_deref()].into_iter().flatten().filter_map(block).collect())
}

/// None if the text is blank.
fn block(text: &str) -> Option<Block> {
    (!text.trim().is_empty()).then(|| Block::text(text))
}

/// Reads a file, or standard input, to its end. Returns None if no byte has come by the time of `silence`. Fails if it
/// can't be read, or with a stop.
fn read_all(file: Option<&Path>, mut silence: Option<Instant>, agent: &mut Agent) -> Result<Option<String>> {
    let failed = |err| match file {
        Some(path) => Error::Config(format!("failed to read file `{}`: {err}", path.display())),
        None => Error::System { doing: "read standard input", err },
    };
    let path = file.map(Path::to_owned);
    let (sender, pieces) = crossbeam_channel::bounded(4);
    start_thread(move || {
        let mut send = |bytes: &[u8]| sender.send(Ok(bytes.to_vec())).is_ok();
        let ended = match path {
            // Opening a FIFO blocks until somebody writes to it.
            Some(path) => File::open(path).and_then(|file| read_pieces(file.as_fd(), &mut send)),
            None => read_pieces(io::stdin().as_fd(), &mut send),
        };
        ended.unwrap_or_else(|err| drop(sender.send(Err(err))));
    })?;
    let mut bytes = Vec::new();
    loop {
        match agent.wait(&pieces, silence) {
            Arrival::Message(piece) => {
                bytes.extend(piece.map_err(failed)?);
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
    threads::start("input", read).map(drop).map_err(|err| Error::System { doing: "start a thread", err })
}

/// Passes each piece of a source to `take`, until its end or until `take` returns false.
fn read_pieces(source: BorrowedFd, take: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match rustix::io::read(source, &mut buffer[..]) {
            Ok(n) if n > 0 && take(&buffer[..n]) => {}
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            // Node and others pass on pipes that don't block.
            Err(Errno::AGAIN) => {
                let mut ready = [PollFd::from_borrowed_fd(source, PollFlags::IN)];
                let _ = rustix::event::poll(&mut ready, None);
            }
            Err(err) => return Err(err.into()),
        }
    }
}
