//! The prompt loop: what the user types, and the ends of background tasks, become turns.

use std::{
    cell::RefCell,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use crossbeam_channel::{after, never, select};
use signal_hook::consts::SIGINT;

use super::{
    attach,
    commands::Sessions,
    interrupt::Interrupts,
    lines::Lines,
    question::{self, question},
    roster::Roster,
    screen::{Busy, Screen, Typed},
    slash,
    terminal::{Terminal, has_color, summary},
};
use crate::{
    agent::{Agent, Event},
    api::message::Block,
    cli::Args,
    error::{Error, Result},
    text::{first, visible},
};

/// Tasks that end together wake the agent once: so long after the last one.
const SETTLE: Duration = Duration::from_millis(200);

/// How often the count of tokens is told while a reply streams.
const TELL: Duration = Duration::from_millis(200);

/// About so many bytes of text are a token.
const BYTES_PER_TOKEN: u64 = 4;

pub struct Repl<'a> {
    pub(super) agent: Agent,
    pub(super) console: Console,
    pub(super) terminal: Terminal<Box<dyn Write>>,
    pub(super) sessions: Sessions<'a>,
    /// Whether the end of a task begins a turn.
    wakes: bool,
    is_typing: bool,
    /// The whole of the last tool result.
    pub(super) last: String,
}

/// Where lines come from.
pub(super) enum Console {
    /// A terminal that can do more than lines.
    Screen(Screen),
    Plain {
        lines: Rc<Lines>,
        roster: Rc<RefCell<Roster>>,
    },
}

/// What ends the wait at the prompt.
enum Next {
    Line(String),
    /// Tasks have ended whose results the model has not been told.
    Woken,
    Leave,
}

/// Takes tasks until the user leaves. The first may stand on the command line. `history` is where lines are kept.
pub fn run(
    args: &Args,
    history: Option<PathBuf>,
    sessions: Sessions,
    make_agent: impl FnOnce(&Interrupts) -> Result<Agent>,
) -> Result<()> {
    let interrupts = Interrupts::listen(None)?;
    let mut agent = make_agent(&interrupts)?;
    let color = has_color(args.color, &io::stdout());
    let is_rich = io::stdin().is_terminal() && io::stdout().is_terminal() && can_draw();
    let (console, terminal) = if is_rich {
        let greeting = visible(&greeting(args, agent.model())).into_owned();
        let screen = Screen::open(&interrupts, history, color, greeting)?;
        agent.observe(Box::new(screen.observer()));
        let terminal = Terminal::new(Box::new(screen.writer()) as Box<dyn Write>, color);
        let (questions, mut writer) = (screen.questions(), screen.writer());
        agent.ask(Box::new(move |act, always| {
            let _ = writeln!(writer, "{}", question(act, always));
            questions()
        }));
        (Console::Screen(screen), terminal.with_markdown(color))
    } else {
        let lines = Lines::read()?;
        if question::is_possible() {
            agent.ask(Rc::clone(&lines).asker());
        }
        let terminal = Terminal::new(Box::new(io::stdout()) as Box<dyn Write>, color);
        let roster: Rc<RefCell<Roster>> = Rc::default();
        let taking = Rc::clone(&roster);
        agent.observe(Box::new(move |news| taking.borrow_mut().take_for_later(news)));
        (Console::Plain { lines, roster }, terminal)
    };
    let mut repl = Repl {
        agent,
        console,
        terminal,
        sessions,
        wakes: args.wake.unwrap_or(io::stdin().is_terminal()),
        is_typing: false,
        last: String::new(),
    };
    let left = repl.converse(args.prompt.clone());
    repl.part();
    // The terminal is given back first. A second signal while tasks are being ended ends the program at once.
    drop(repl.console);
    repl.agent.end_tasks(&mut |_| ());
    left
}

/// A terminal that knows no cursor movement gets plain lines.
fn can_draw() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// What stands above the first prompt.
fn greeting(args: &Args, model: &str) -> String {
    let asks = match args.asks {
        true => "",
        false => "; commands run without asking",
    };
    format!("meanwhile with {model}: /help lists the commands{asks}\n")
}

impl Repl<'_> {
    /// How the session is gone on with.
    fn part(&mut self) {
        if let Console::Screen(_) = self.console
            && let Some(id) = self.agent.transcript().kept_id()
        {
            let line = format!("meanwhile --resume {} goes on with this session.", first(id, 8));
            self.terminal.line(&line);
        }
    }

    fn converse(&mut self, first: Option<String>) -> Result<()> {
        let mut first = first;
        loop {
            let next = match first.take() {
                Some(line) => Next::Line(line),
                None => self.wait()?,
            };
            match next {
                Next::Leave => return Ok(()),
                Next::Woken => self.turn(Vec::new())?,
                Next::Line(line) => match line.trim() {
                    "" => {}
                    "q" | "exit" | "/exit" => return Ok(()),
                    line => self.obey(line)?,
                },
            }
        }
    }

    fn obey(&mut self, line: &str) -> Result<()> {
        if let Some(command) = line.strip_prefix('!') {
            self.run_command(command.trim());
            return Ok(());
        }
        if let Some((name, argument)) = slash::parse(line) {
            return self.command(name, argument);
        }
        let (files, notices) = attach::files(line);
        notices.iter().for_each(|notice| self.terminal.line(&format!("meanwhile: {notice}")));
        let files = files.iter().map(|text| Block::text(text));
        let content = std::iter::once(Block::text(line)).chain(files).collect();
        self.turn(content)
    }

    /// Waits at the prompt. Fails with a signal that ends the program.
    fn wait(&mut self) -> Result<Next> {
        let mut settled = never();
        loop {
            if self.wakes && !self.is_typing && self.agent.has_results() {
                settled = after(SETTLE);
            }
            self.announce();
            let event = match &self.console {
                Console::Screen(screen) if screen.was_left() => return Ok(Next::Leave),
                Console::Screen(screen) => select! {
                    recv(screen.typed) -> typed => match typed {
                        Ok(Typed::Line(line)) => return Ok(Next::Line(line)),
                        Ok(Typed::Leave) | Err(_) => return Ok(Next::Leave),
                        Ok(Typed::Typing(is_typing)) => {
                            (self.is_typing, settled) = (is_typing, never());
                            if is_typing {
                                self.agent.warm_up();
                            }
                            continue;
                        }
                        Ok(Typed::Key) => continue,
                    },
                    recv(self.agent.signals()) -> signal => Err(signal.unwrap_or_default()),
                    recv(self.agent.tasks().events()) -> event => Ok(event),
                    recv(settled) -> _ => return Ok(Next::Woken),
                },
                Console::Plain { lines, roster, .. } => {
                    if let Some(line) = lines.ahead() {
                        return Ok(Next::Line(line));
                    }
                    self.terminal.prompt(&roster.borrow().prompt());
                    select! {
                        recv(lines.received()) -> line => return Ok(line.map_or(Next::Leave, Next::Line)),
                        recv(self.agent.signals()) -> signal => Err(signal.unwrap_or_default()),
                        recv(self.agent.tasks().events()) -> event => Ok(event),
                        recv(settled) -> _ => return Ok(Next::Woken),
                    }
                }
            };
            match event {
                Ok(event) => event.into_iter().for_each(|event| self.agent.attend(event)),
                Err(SIGINT) => self.terminal.line("\n(`exit` or Ctrl-D leaves)"),
                Err(signal) => return Err(Error::Interrupted(signal)),
            }
        }
    }

    /// On a plain terminal: the tasks that have ended since.
    fn announce(&mut self) {
        if let Console::Plain { roster, .. } = &self.console {
            let ended = roster.borrow_mut().ended();
            if io::stdin().is_terminal() {
                ended.iter().for_each(|text| self.terminal.line(text));
            }
        }
    }

    /// One turn. Fails with a signal that ends the program; what else fails is shown.
    pub(super) fn turn(&mut self, content: Vec<Block>) -> Result<()> {
        let turn = self.busily(|agent, show| agent.turn(content, show).map(drop));
        self.finish_turn(turn)
    }

    pub(super) fn finish_turn(&mut self, turn: Result<()>) -> Result<()> {
        match turn {
            Ok(()) => self.terminal.usage(&self.agent.transcript().usage),
            Err(err @ Error::Interrupted(signal)) if signal != SIGINT => return Err(err),
            Err(err) => self.terminal.error(&err),
        }
        Ok(())
    }

    /// Does something that takes a while, and says what is going on.
    pub(super) fn busily<T>(
        &mut self,
        work: impl FnOnce(&mut Agent, &mut dyn FnMut(Event)) -> Result<T>,
    ) -> Result<T> {
        let Repl { agent, console, terminal, last, .. } = self;
        let mut progress = Progress::new(console);
        let mut show = |event: Event| {
            progress.note(&event);
            if let Event::ToolResult { answer, .. } = &event {
                last.clone_from(&answer.text);
            }
            terminal.show(event);
        };
        let done = work(agent, &mut show);
        if let Console::Screen(screen) = console {
            screen.busy(None);
        }
        done
    }
}

/// What a turn is at, for the line below the output.
struct Progress<'a> {
    screen: Option<&'a Screen>,
    what: String,
    since: Instant,
    told: Instant,
    /// Of the turn: what the API has counted, and bytes of text that it has not yet.
    tokens: u64,
    bytes: u64,
}

impl<'a> Progress<'a> {
    fn new(console: &'a Console) -> Progress<'a> {
        Progress {
            screen: match console {
                Console::Screen(screen) => Some(screen),
                Console::Plain { .. } => None,
            },
            what: String::new(),
            since: Instant::now(),
            told: Instant::now(),
            tokens: 0,
            bytes: 0,
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Request => self.begin("waiting for the model".into()),
            Event::ToolCall(call) => self.begin(summary(call)),
            Event::Retry { .. } => self.begin("waiting to try again".into()),
            Event::Text(text) => {
                self.bytes += text.len() as u64;
                if self.told.elapsed() > TELL {
                    self.tell();
                }
            }
            Event::Reply { reply, .. } => {
                self.tokens += reply.usage.output;
                self.bytes = 0;
            }
            _ => {}
        }
    }

    fn begin(&mut self, what: String) {
        (self.what, self.since) = (what, Instant::now());
        self.tell();
    }

    fn tell(&mut self) {
        self.told = Instant::now();
        if let Some(screen) = self.screen {
            screen.busy(Some(Busy {
                what: self.what.clone(),
                since: self.since,
                tokens: self.tokens + self.bytes / BYTES_PER_TOKEN,
            }));
        }
    }
}
