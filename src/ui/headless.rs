//! `-p`: one task; its answer on stdout, everything else on stderr.

use std::{
    io::{self, IsTerminal, Read, Write},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, after, select};

use super::terminal::Terminal;
use crate::{
    agent::{Agent, Event},
    api::message::Block,
    error::{Error, Result},
};

/// A pipe in which nothing appears for so long is one that somebody forgot to close.
const SILENCE: Duration = Duration::from_secs(3);

/// Does one task with everything that belongs to it. `text` goes to stderr but for the last message's.
pub fn print(agent: &mut Agent, prompt: Option<&str>) -> Result<()> {
    let mut stderr = Terminal::new(io::stderr());
    let content = read_task(prompt, agent.signals(), &mut stderr)?;
    let mut unshown = String::new();
    let answer = run(agent, content, &mut |event| match event {
        Event::Text(text) => unshown.push_str(text),
        Event::Reply => {}
        event => {
            stderr.line(&std::mem::take(&mut unshown));
            stderr.show(event);
        }
    })?;
    let mut stdout = io::stdout();
    let written = writeln!(stdout, "{answer}").and_then(|()| stdout.flush());
    match written {
        // A reader who has seen enough is no error.
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(Error::System {
            doing: "write the answer",
            err,
        }),
        _ => Ok(()),
    }
}

/// The turn, and one more for the background tasks that still ran at its end, until none is left: a result
/// that nobody reads is a lost result. Returns the last thing that the model said.
pub fn run(agent: &mut Agent, content: Vec<Block>, watch: &mut dyn FnMut(Event)) -> Result<String> {
    let mut answer = agent.turn(content, watch)?;
    while agent.wait_for_tasks()? {
        let last = agent.turn(Vec::new(), watch)?;
        if !last.is_empty() {
            answer = last;
        }
    }
    Ok(answer)
}

/// The prompt and what is piped into stdin, each a text of its own.
fn read_task(
    prompt: Option<&str>,
    signals: &Receiver<i32>,
    stderr: &mut Terminal<io::Stderr>,
) -> Result<Vec<Block>> {
    let piped = match io::stdin().is_terminal() {
        true => None,
        false => read_stdin(prompt.is_some(), signals, stderr)?,
    };
    let texts = [prompt, piped.as_deref()].into_iter().flatten();
    let content: Vec<Block> = texts
        .filter(|text| !text.trim().is_empty())
        .map(Block::text)
        .collect();
    match content.is_empty() {
        true => Err(Error::Usage(
            "no prompt: give one after -p, or pipe one into standard input".into(),
        )),
        false => Ok(content),
    }
}

/// What stdin holds, to its end; None when nothing comes and there is another prompt.
fn read_stdin(
    has_prompt: bool,
    signals: &Receiver<i32>,
    stderr: &mut Terminal<io::Stderr>,
) -> Result<Option<String>> {
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
    let silence = after(SILENCE);
    let mut bytes = Vec::new();
    loop {
        let silence = if bytes.is_empty() && has_prompt {
            silence.clone()
        } else {
            crossbeam_channel::never()
        };
        select! {
            recv(pieces) -> piece => match piece {
                Ok(piece) => bytes.extend(piece),
                Err(_) => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            },
            recv(silence) -> _ => {
                let seconds = SILENCE.as_secs();
                stderr.line(&format!(
                    "meanwhile: nothing came on standard input for {seconds} s: going on without it (</dev/null avoids the wait)"
                ));
                return Ok(None);
            },
            recv(signals) -> signal => if let Ok(signal) = signal {
                return Err(Error::Interrupted(signal));
            },
        }
    }
}
