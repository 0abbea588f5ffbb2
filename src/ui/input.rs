//! What a task of `-p` consists of: the prompt, a file, and what is piped into standard input.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::Path,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, after, never, select};

use crate::{
    api::message::Block,
    error::{Error, Result},
};

/// A pipe in which nothing appears for so long is one that somebody forgot to close.
pub const SILENCE: Duration = Duration::from_secs(3);

/// The parts of the task, each a text of its own; whether a silent pipe was given up on. Fails when there is no task.
pub fn read_task(
    prompt: Option<&str>,
    file: Option<&Path>,
    signals: &Receiver<i32>,
) -> Result<(Vec<Block>, bool)> {
    let from_file = match file {
        Some(path) => Some(read_file(path)?),
        None => None,
    };
    let has_prompt = prompt.is_some() || from_file.is_some();
    let piped = match io::stdin().is_terminal() {
        true => Some(String::new()),
        false => read_stdin(has_prompt, signals)?,
    };
    let texts = [prompt, from_file.as_deref(), piped.as_deref()]
        .into_iter()
        .flatten();
    let content: Vec<Block> = texts
        .filter(|text| !text.trim().is_empty())
        .map(Block::text)
        .collect();
    match content.is_empty() {
        true => Err(Error::Usage(
            "no prompt: give one after -p, in a --file, or pipe one into standard input".into(),
        )),
        false => Ok((content, piped.is_none())),
    }
}

fn read_file(path: &Path) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(err) => Err(Error::Config(format!(
            "failed to read file `{}`: {err}",
            path.display()
        ))),
    }
}

/// What stdin holds, to its end; None when nothing comes and there is another prompt.
fn read_stdin(has_prompt: bool, signals: &Receiver<i32>) -> Result<Option<String>> {
    let (sender, pieces) = crossbeam_channel::bounded(4);
    let read = move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = io::stdin().read(&mut buffer) {
            if sender.send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("stdin".into()).spawn(read);
    thread.map_err(|err| Error::System {
        doing: "start a thread",
        err,
    })?;
    let mut silence = if has_prompt { after(SILENCE) } else { never() };
    let mut bytes = Vec::new();
    loop {
        select! {
            recv(pieces) -> piece => match piece {
                Ok(piece) => {
                    bytes.extend(piece);
                    silence = never();
                }
                Err(_) => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            },
            recv(silence) -> _ => return Ok(None),
            recv(signals) -> signal => if let Ok(signal) = signal {
                return Err(Error::Interrupted(signal));
            },
        }
    }
}
