//! The prompt loop: turns begin with what the user types, and with background tasks that end.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::chat::{Chat, Console, Sessions};
use super::interrupt::Interrupts;
use super::line::{self, Line, Slash};
use super::roster::{Roster, Row};
use super::screen::{Screen, Typed};
use super::stdin::{self, Lines};
use super::terminal::{Terminal, has_color};
use super::{attach, commands, question};
use crate::agent::Agent;
use crate::api::message::Block;
use crate::background::Arrival;
use crate::cli::args::RunOptions;
use crate::error::{Error, Result};
use crate::stop::Stop;
use crate::text::{self, visible};

/// How long to wait for more tasks to end before the agent is woken, so that several wake it once.
const SETTLE: Duration = Duration::from_millis(200);

struct Repl<'a> {
    chat: Chat<'a>,
    /// Whether the end of a background task starts a turn.
    wakes: bool,
    is_typing: bool,
}

/// What to do next.
enum Next {
    Line(String),
    /// A turn with this content; empty if only results of tasks wait to be sent.
    Turn(Vec<Block>),
    Leave,
}

/// Talks with the user until they leave. `history` is the file that keeps typed lines.
///
/// Fails with a stop that ends the program, or if the agent, the file or the terminal can't be used.
pub fn run(
    run: &RunOptions,
    history: Option<PathBuf>,
    sessions: Sessions,
    make_agent: impl FnOnce(&Interrupts) -> Result<Agent>,
) -> Result<()> {
    let interrupts = Interrupts::listen(None)?;
    let mut agent = make_agent(&interrupts)?;
    agent.show_thinking();
    let first = first(run, &mut agent)?;
    let color = has_color(run.color, &io::stdout());
    let (console, terminal) = if can_draw() {
        let notice = if run.asks { "" } else { "; commands run without asking" };
        let greeting = format!("meanwhile with {}: /help lists the commands{notice}\n", agent.model());
        let screen = Screen::open(&interrupts, history, color, visible(&greeting).into_owned())?;
        agent.observe(Box::new(screen.observer()));
        agent.ask(question::on_screen(&screen));
        let terminal = Terminal::new(screen.writer(), color).with_markdown(color);
        (Console::Screen(screen), terminal)
    } else {
        let lines = Lines::read()?;
        if question::is_possible() {
            agent.ask(question::on_stderr(Rc::clone(&lines)));
        }
        // Unbounded: a row for each start and each end of a task.
        let (sender, rows) = crossbeam_channel::unbounded();
        agent.observe(Box::new(move |task| drop(sender.send(Row::new(task)))));
        let console = Console::Plain { lines, rows, roster: Roster::default() };
        (console, Terminal::new(io::stdout(), color))
    };
    let chat =
        Chat { agent, console, terminal, sessions, last_result: String::new(), last_thinking: String::new() };
    let wakes = run.wakes.unwrap_or(io::stdin().is_terminal());
    let mut repl = Repl { chat, wakes, is_typing: false };
    let first = match first {
        Some(Next::Turn(content)) => Some(Next::Turn(repl.with_pictures(content))),
        first => first,
    };
    let ended = repl.converse(first);
    repl.say_how_to_continue();
    let Chat { mut agent, console, .. } = repl.chat;
    // Restore the terminal before ending the tasks, which may take a while.
    drop(console);
    agent.end_tasks(&mut |_| ());
    ended
}

/// What the command line says to begin with. A prompt is read like a typed line. With a file, both are one message,
/// whatever they look like.
fn first(run: &RunOptions, agent: &mut Agent) -> Result<Option<Next>> {
    if run.file.is_none() {
        return Ok(run.prompt.clone().map(Next::Line));
    }
    let content = stdin::read_message(run.prompt.as_deref(), run.file.as_deref(), agent)?;
    Ok((!content.is_empty()).then_some(Next::Turn(content)))
}

/// Whether stdin and stdout are a terminal that can move its cursor.
fn can_draw() -> bool {
    let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    moves && io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Repl<'_> {
    fn say_how_to_continue(&mut self) {
        if let Console::Screen(_) = self.chat.console
            && let Some(id) = self.chat.agent.transcript().kept_id()
        {
            let line = format!("To continue this session: meanwhile --resume {}", text::first(id, 8));
            self.chat.terminal.line(&line);
        }
    }

    fn converse(&mut self, mut first: Option<Next>) -> Result<()> {
        loop {
            let next = match first.take() {
                Some(next) => next,
                None => self.wait()?,
            };
            match next {
                Next::Leave => return Ok(()),
                Next::Turn(content) => drop(self.chat.turn(content)?),
                Next::Line(line) => match line::parse(&line) {
                    Line::Empty => {}
                    Line::Slash(Slash::Exit, _) => return Ok(()),
                    Line::Slash(slash, argument) => commands::run(&mut self.chat, slash, argument)?,
                    Line::Unknown(name) => self.chat.terminal.line(&line::unknown(name)),
                    Line::Shell("") => self.chat.terminal.line("Usage: !COMMAND"),
                    Line::Shell(command) => self.chat.run_command(command)?,
                    Line::Message(message) => self.send(message)?,
                },
            }
        }
    }

    fn say(&mut self, notices: &[String]) {
        notices.iter().for_each(|notice| self.chat.terminal.line(&format!("meanwhile: {notice}")));
    }

    /// A first message, with the pictures that it names.
    fn with_pictures(&mut self, content: Vec<Block>) -> Vec<Block> {
        let (content, notices) = attach::with_pictures(content, usize::MAX);
        self.say(&notices);
        content
    }

    fn send(&mut self, message: &str) -> Result<()> {
        let (content, notices) = attach::content(message);
        self.say(&notices);
        if self.chat.turn(content)?
            && let Console::Screen(screen) = &self.chat.console
        {
            screen.put_back(message.to_owned());
        }
        Ok(())
    }

    /// Waits at the prompt. Fails with a stop that ends the program.
    fn wait(&mut self) -> Result<Next> {
        let mut settled = None;
        loop {
            if self.wakes && !self.is_typing && self.chat.agent.has_results() {
                settled = Some(Instant::now() + SETTLE);
            }
            let agent = &mut self.chat.agent;
            let typed = match &mut self.chat.console {
                Console::Screen(screen) if screen.was_left() => return Ok(Next::Leave),
                Console::Screen(screen) => agent.wait(&screen.typed, settled),
                Console::Plain { lines, rows, roster } => {
                    let ended = rows.try_iter().filter_map(|row| roster.take(row));
                    let announced = ended.filter(|_| io::stdin().is_terminal());
                    announced.for_each(|text| self.chat.terminal.line(&text));
                    if let Some(line) = lines.ahead() {
                        return Ok(Next::Line(line));
                    }
                    self.chat.terminal.prompt(&roster.prompt());
                    agent.wait(&lines.received, settled).map(Typed::Line)
                }
            };
            match typed {
                Arrival::Message(Typed::Line(line)) => return Ok(Next::Line(line)),
                Arrival::Message(Typed::Leave) | Arrival::Closed => return Ok(Next::Leave),
                Arrival::Message(Typed::Typing(is_typing)) => {
                    (self.is_typing, settled) = (is_typing, None);
                    if is_typing {
                        agent.warm_up();
                    }
                }
                Arrival::Message(Typed::Key) | Arrival::Task => {}
                Arrival::TimedOut => return Ok(Next::Turn(Vec::new())),
                Arrival::Stopped(Stop::Interrupted) => {
                    self.chat.terminal.line("\n(type `exit` or press Ctrl-D to exit)");
                }
                Arrival::Stopped(stop) => return Err(Error::Stopped(stop)),
            }
        }
    }
}
