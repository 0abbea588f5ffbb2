//! The prompt loop.

use std::{io, rc::Rc};

use crossbeam_channel::Receiver;
use signal_hook::consts::SIGINT;

use super::{interrupt::Interrupts, lines::Lines, question, terminal::Terminal};
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
    let lines = Lines::read()?;
    if question::is_possible() {
        agent.ask(Rc::clone(&lines).asker());
    }
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
    lines: &Lines,
    signals: &Receiver<i32>,
    terminal: &mut Terminal<io::Stdout>,
) -> Result<Option<String>> {
    loop {
        terminal.prompt(PROMPT);
        match lines.next(signals) {
            Err(Error::Interrupted(SIGINT)) => terminal.line("\n(`exit` or Ctrl-D leaves)"),
            line => return line,
        }
    }
}
