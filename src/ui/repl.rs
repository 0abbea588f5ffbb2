//! The prompt loop.

use std::{io, thread};

use crossbeam_channel::{Receiver, select};
use signal_hook::consts::SIGINT;

use super::{interrupt::Interrupts, terminal::Terminal};
use crate::{
    agent::{Agent, Event},
    api::message::Block,
    cli::Args,
    error::{Error, Result},
};

const PROMPT: &str = "meanwhile > ";

/// Takes tasks until the user leaves: `q`, `exit`, end of input. The first may stand on the command line.
pub fn run(args: &Args, make_agent: impl FnOnce(&Interrupts) -> Result<Agent>) -> Result<()> {
    let mut agent = make_agent(&Interrupts::listen(None)?)?;
    let left = converse(&mut agent, args);
    // A second signal while tasks are being ended ends the program at once.
    agent.end_tasks(&mut |_| ());
    left
}

fn converse(agent: &mut Agent, args: &Args) -> Result<()> {
    let mut terminal = Terminal::new(io::stdout(), args.color);
    let lines = read_lines()?;
    let mut task = args.prompt.clone();
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
