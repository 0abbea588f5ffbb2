//! A conversation at the prompt: the agent, the console, and what is shown while the agent works.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::roster::{Roster, Row};
use super::screen::{Busy, Screen};
use super::stdin::Lines;
use super::terminal::{Terminal, summary, usage_line};
use crate::agent::{Agent, Event, Switch};
use crate::api::message::Block;
use crate::error::{Error, Result};
use crate::session::transcript::Transcript;
use crate::text;

/// How often the token count is updated while a reply streams.
const TOKEN_INTERVAL: Duration = Duration::from_millis(200);

/// How much of what the model thinks is kept for the line that moves, in characters: more than any terminal shows.
const LONGEST_THOUGHT: usize = 500;

/// What the program is doing, in the row that is kept up to date.
const WAITING: &str = "waiting for the model";
const THINKING: &str = "thinking";

/// A rough average, for the count before the API sends the exact one.
const BYTES_PER_TOKEN: u64 = 4;

pub struct Chat<'a> {
    pub agent: Agent,
    pub console: Console,
    pub terminal: Terminal,
    pub sessions: Sessions<'a>,
    /// The last tool result, in full.
    pub last_result: String,
    /// What the model thought before its last text or tool call.
    pub last_thinking: String,
}

/// Where lines come from.
pub enum Console {
    /// A terminal that can move its cursor.
    Screen(Screen),
    /// A pipe, or a terminal that only prints lines.
    Plain {
        lines: Rc<Lines>,
        /// The background tasks that have started or ended since the last prompt.
        rows: Receiver<Row>,
        roster: Roster,
    },
}

/// The stored sessions.
pub struct Sessions<'a> {
    /// Lists them as a table.
    pub table: &'a dyn Fn() -> Result<String>,
    /// Opens the session whose id starts with this text.
    pub open: &'a dyn Fn(&str) -> Result<Transcript>,
}

impl Chat<'_> {
    /// Runs one turn. Returns whether the message was taken back: it was interrupted before any reply. Fails with a
    /// stop that ends the program; other errors are shown.
    pub fn turn(&mut self, content: Vec<Block>) -> Result<bool> {
        self.work(|agent, show| agent.turn(content, show).map(drop))
    }

    /// Summarizes the conversation. Fails like `turn`.
    pub fn compact(&mut self) -> Result<()> {
        self.work(Agent::compact).map(drop)
    }

    /// Switches to another model. Fails with a stop that ends the program.
    pub fn switch_model(&mut self, model: &str) -> Result<Switch> {
        let mut progress = Progress::new(&self.console);
        progress.begin(format!("asking the server about {model}"));
        self.agent.switch_model(model)
    }

    /// Runs a shell command for the user. The model reads the result with the next message. Fails with a stop
    /// that ends the program.
    pub fn run_command(&mut self, command: &str) -> Result<()> {
        let mut progress = Progress::new(&self.console);
        progress.begin(command.to_owned());
        self.last_result = self.agent.run_command(command)?;
        drop(progress);
        self.terminal.line(&self.last_result);
        Ok(())
    }

    /// Shows what the agent does. Returns whether it has taken back the user's message.
    fn work(&mut self, work: impl FnOnce(&mut Agent, &mut dyn FnMut(Event)) -> Result<()>) -> Result<bool> {
        let Chat { agent, console, terminal, last_result, last_thinking, .. } = self;
        let mut progress = Progress::new(console);
        let mut is_taken_back = false;
        let mut is_new_thought = true;
        let mut show = |event: Event| {
            progress.note(&event);
            match &event {
                Event::ToolResult { answer, .. } => last_result.clone_from(&answer.text),
                // The reply so far may have been given up.
                Event::Request | Event::Retry { .. } | Event::Notice(_) => is_new_thought = true,
                Event::Thinking(thought) if !thought.is_empty() => {
                    if std::mem::take(&mut is_new_thought) {
                        last_thinking.clear();
                    }
                    last_thinking.push_str(thought);
                }
                Event::TakenBack(_) => is_taken_back = true,
                _ => {}
            }
            terminal.show(event);
        };
        let done = work(agent, &mut show);
        drop(progress);
        match done {
            Ok(()) => terminal.line(&usage_line(&agent.transcript().usage)),
            Err(err @ Error::Stopped(stop)) if stop.ends_program() => return Err(err),
            Err(err) => terminal.error(&err),
        }
        Ok(is_taken_back)
    }
}

/// Keeps the row that says what the program is doing up to date. Dropping it removes the row.
struct Progress<'a> {
    screen: Option<&'a Screen>,
    busy: Busy,
    updated: Instant,
    /// Bytes of text whose tokens the API has not counted yet.
    uncounted: u64,
}

impl<'a> Progress<'a> {
    fn new(console: &'a Console) -> Progress<'a> {
        let screen = if let Console::Screen(screen) = console { Some(screen) } else { None };
        let now = Instant::now();
        let busy = Busy { what: String::new(), thought: String::new(), since: now, tokens: 0 };
        Progress { screen, busy, updated: now, uncounted: 0 }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Request => self.begin(WAITING.into()),
            Event::Notice(_) if self.busy.what == THINKING => self.begin(WAITING.into()),
            Event::ToolCall(call) => self.begin(summary(call)),
            Event::Retry { .. } => self.begin("waiting to try again".into()),
            Event::Thinking(thought) => self.think(thought),
            Event::Text(text) => {
                self.uncounted += text.len() as u64;
                if self.busy.what == THINKING {
                    self.busy.what = WAITING.into();
                    self.busy.thought.clear();
                    self.update();
                } else if self.updated.elapsed() > TOKEN_INTERVAL {
                    self.update();
                }
            }
            Event::Reply { reply, .. } => {
                self.busy.tokens += reply.usage.output;
                self.uncounted = 0;
            }
            _ => {}
        }
    }

    fn begin(&mut self, what: String) {
        self.busy = Busy { what, thought: String::new(), since: Instant::now(), tokens: self.busy.tokens };
        self.update();
    }

    /// Shows the end of what the model thinks.
    fn think(&mut self, thought: &str) {
        self.uncounted += thought.len() as u64;
        self.busy.what = THINKING.into();
        self.busy.thought.push_str(thought);
        self.busy.thought = text::last(&self.busy.thought, LONGEST_THOUGHT).to_owned();
        self.update();
    }

    fn update(&mut self) {
        self.updated = Instant::now();
        if let Some(screen) = self.screen {
            let tokens = self.busy.tokens + self.uncounted / BYTES_PER_TOKEN;
            screen.busy(Some(Busy { tokens, ..self.busy.clone() }));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(screen) = self.screen {
            screen.busy(None);
        }
    }
}
