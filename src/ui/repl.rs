//! The prompt loop.

use std::{io, thread};

use crossbeam_channel::{Receiver, select};
use signal_hook::consts::SIGINT;

use super::terminal::Terminal;
use crate::{
    agent::{Agent, Event},
    api::message::Block,
    error::{Error, Result},
};

const PROMPT: &str = "meanwhile > ";

/// Takes tasks until the user leaves: `q`, `exit`, end of input. `first` is the task from the command line.
pub fn run(agent: &mut Agent, first: Option<&str>) -> Result<()> {
    let mut terminal = Terminal::new(io::stdout());
    let lines = read_lines()?;
    let mut task = first.map(str::to_owned);
    loop {
        let line = match task.take() {
            Some(line) => line,
            None => match next_line(&lines, agent.signals(), &mut terminal)? {
                Some(line) => line,
                None => return Ok(()),
            },
        };
        match line.trim() {
            "" => {}
            "q" | "exit" => return Ok(()),
            line => {
                let mut show = |event: Event| terminal.show(event);
                let turn = match line {
                    "/compact" => agent.compact(&mut show),
                    line => agent.turn(vec![Block::text(line)], &mut show).map(drop),
                };
                match turn {
                    Ok(()) => terminal.usage(&agent.transcript().usage),
                    Err(err @ Error::Interrupted(signal)) if signal != SIGINT => return Err(err),
                    Err(err) => terminal.error(&err),
                }
            }
        }
    }
}

/// The next line; None at the end of input.
fn next_line(
    lines: &Receiver<String>,
    signals: &Receiver<i32>,
    terminal: &mut Terminal<io::Stdout>,
) -> Result<Option<String>> {
    loop {
        terminal.prompt(PROMPT);
        select! {
            recv(lines) -> line => return Ok(line.ok()),
            recv(signals) -> signal => match signal {
                Ok(SIGINT) | Err(_) => terminal.line("\n(`exit` or Ctrl-D leaves)"),
                Ok(signal) => return Err(Error::Interrupted(signal)),
            },
        }
    }
}

/// Lines from standard input, read by a thread of its own, one ahead at the most.
fn read_lines() -> Result<Receiver<String>> {
    let (sender, lines) = crossbeam_channel::bounded(0);
    let read = move || {
        let mut bytes = Vec::new();
        while let Ok(1..) = io::BufRead::read_until(&mut io::stdin().lock(), b'\n', &mut bytes) {
            let line = String::from_utf8_lossy(&bytes).into_owned();
            bytes.clear();
            if sender.send(line).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("input".into())
        .spawn(read)
        .map_err(|err| Error::System {
            doing: "start a thread",
            err,
        })?;
    Ok(lines)
}
