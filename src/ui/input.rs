//! What a task of `-p` consists of: the prompt, a file, and what is piped into standard input.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::{
    agent::Agent,
    api::message::Block,
    background::Arrival,
    error::{Error, Result},
    threads,
};

/// A pipe in which nothing appears for so long is one that somebody forgot to close.
pub const SILENCE: Duration = Duration::from_secs(3);

/// As much as a pipe holds.
const READ_AT_ONCE: usize = 64 * 1024;

/// The parts of the task, each a text of its own; whether a silent pipe was given up on. Fails when there is no task.
pub fn read_task(prompt: Option<&str>, file: Option<&Path>, agent: &mut Agent) -> Result<(Vec<Block>, bool)> {
    let from_file = match file {
        Some(path) => Some(read_file(path, agent)?),
        None => None,
    };
    let has_prompt = prompt.is_some() || from_file.is_some();
    let piped = match io::stdin().is_terminal() {
        true => Some(String::new()),
        false => read_stdin(has_prompt, agent)?,
    };
    let texts = [prompt, from_file.as_deref(), piped.as_deref()].into_iter().flatten();
    let content: Vec<Block> = texts.filter(|text| !text.trim().is_empty()).map(Block::text).collect();
    match content.is_empty() {
        true => Err(Error::Usage(
            "no prompt: give one after -p, in a --file, or pipe one into standard input".into(),
        )),
        false => Ok((content, piped.is_none())),
    }
}

/// A file may be a FIFO, or a substitution that takes its time.
fn read_file(path: &Path, agent: &mut Agent) -> Result<String> {
    let opened = path.to_owned();
    let bytes = read_all(move || File::open(opened), None, agent)?;
    let bytes = bytes.unwrap_or_else(|| Ok(Vec::new()));
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.map_err(|err| Error::Config(format!("failed to read file `{}`: {err}", path.display())))
}

/// What stdin holds, to its end; None when nothing comes and there is another prompt.
fn read_stdin(has_prompt: bool, agent: &mut Agent) -> Result<Option<String>> {
    let (mut bytes, is_all) = read_ready(io::stdin());
    let silence = match has_prompt && bytes.is_empty() {
        true => Some(Instant::now() + SILENCE),
        false => None,
    };
    let rest = match is_all {
        true => Some(Ok(Vec::new())),
        false => read_all(|| Ok(io::stdin()), silence, agent)?,
    };
    match rest {
        None => Ok(None),
        Some(Ok(rest)) => {
            bytes.extend(rest);
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Some(Err(err)) => Err(Error::System { doing: "read standard input", err }),
    }
}

/// What is there already, some of it at least, and whether that is all. Mostly there is nothing to wait for, and
/// so no need for another thread.
fn read_ready(source: impl AsFd) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() < READ_AT_ONCE {
        let mut ready = [PollFd::new(&source, PollFlags::IN)];
        let n = match rustix::event::poll(&mut ready, Some(&Timespec::default())) {
            Ok(1..) => rustix::io::read(&source, &mut buffer),
            _ => break,
        };
        match n {
            Ok(0) => return (bytes, true),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            // Whoever reads the rest sees it too.
            Err(_) => break,
        }
    }
    (bytes, false)
}

/// Everything that a source holds, read by a thread of its own; None when `silence` comes before the first
/// byte. Fails with a stop.
fn read_all<R: Read + AsFd>(
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
    mut silence: Option<Instant>,
    agent: &mut Agent,
) -> Result<Option<io::Result<Vec<u8>>>> {
    let (sender, pieces) = crossbeam_channel::bounded(4);
    let read = move || {
        let ended = open().and_then(|source| send_all(source, &sender));
        if let Err(err) = ended {
            let _ = sender.send(Err(err));
        }
    };
    let thread = threads::start("input", read);
    thread.map_err(|err| Error::System { doing: "start a thread", err })?;
    let mut bytes = Vec::new();
    loop {
        match agent.wait(&pieces, silence) {
            Arrival::Message(Ok(piece)) => {
                bytes.extend(piece);
                silence = None;
            }
            Arrival::Message(Err(err)) => return Ok(Some(Err(err))),
            Arrival::Closed => return Ok(Some(Ok(bytes))),
            Arrival::TimedOut => return Ok(None),
            Arrival::Stopped(stop) => return Err(Error::Stopped(stop)),
            Arrival::Task => {}
        }
    }
}

fn send_all(mut source: impl Read + AsFd, pieces: &Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) if pieces.send(Ok(buffer[..n].to_vec())).is_err() => return Ok(()),
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            // Node and others hand pipes down that do not block.
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                let mut ready = [PollFd::new(&source, PollFlags::IN)];
                let _ = rustix::event::poll(&mut ready, None);
            }
            Err(err) => return Err(err),
        }
    }
}
