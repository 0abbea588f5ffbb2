//! What the commands of the prompt do.

use std::{
    fs::File,
    io::{self, Write},
    time::Duration,
};

use crossbeam_channel::{select, tick};

use super::{
    repl::{Console, Repl},
    screen::Typed,
    slash,
};
use crate::{
    background::task::NO_OUTPUT,
    error::Result,
    session::{export, transcript::Transcript},
    text::first,
};

/// How often the output of a task is looked at while it is followed.
const LOOK: Duration = Duration::from_millis(200);

/// The sessions that were kept.
pub struct Sessions<'a> {
    /// A table of them.
    pub table: &'a dyn Fn() -> Result<String>,
    /// Opens the one whose id starts so.
    pub open: &'a dyn Fn(&str) -> Result<Transcript>,
}

impl Repl<'_> {
    /// Fails with a signal that ends the program; what else fails is shown.
    pub(super) fn command(&mut self, name: &str, argument: &str) -> Result<()> {
        match (name, argument) {
            ("/help", _) => self.terminal.line(&slash::help()),
            ("/compact", _) => {
                let done = self.busily(|agent, show| agent.compact(show));
                return self.finish_turn(done);
            }
            ("/tasks" | "/kill", _) => self.plain_tasks(name, argument),
            ("/task", id) => self.follow(id),
            ("/last", _) if self.last.is_empty() => self.terminal.line("No tool was run yet."),
            ("/last", _) => self.terminal.line(&self.last),
            ("/model", "") => self.terminal.line(self.agent.model()),
            ("/model", id) => {
                self.agent.set_model(id);
                self.terminal.line(&format!("From now on {id} answers."));
            }
            ("/clear", _) => {
                self.agent.clear();
                self.terminal.line("The conversation begins anew. Background tasks go on.");
            }
            ("/resume", "") => match (self.sessions.table)() {
                Ok(table) => self.terminal.line(table.trim_end()),
                Err(err) => self.terminal.error(&err),
            },
            ("/resume", id) => match (self.sessions.open)(id) {
                Ok(transcript) => {
                    self.agent.resume(transcript);
                    let id = &self.agent.transcript().id;
                    self.terminal.line(&format!("Going on with session {}.", first(id, 8)));
                }
                Err(err) => self.terminal.error(&err),
            },
            ("/usage", _) => {
                let run = self.agent.run();
                self.terminal.line(&format!("Replies in this run: {}", run.turns));
                self.terminal.usage(&self.agent.transcript().usage);
            }
            ("/save", "") => self.terminal.line("Where to? `/save FILE`"),
            ("/save", path) => match self.save(path) {
                Ok(()) => self.terminal.line(&format!("Written to {path}.")),
                Err(err) => self.terminal.line(&format!("Failed to write {path}: {err}")),
            },
            (name, _) => self.terminal.line(&slash::unknown(name)),
        }
        Ok(())
    }

    /// Where no screen does it at once.
    fn plain_tasks(&mut self, name: &str, id: &str) {
        if let Console::Plain { roster, .. } = &self.console {
            let said = if name == "/kill" { roster.borrow_mut().kill(id) } else { roster.borrow().table() };
            self.terminal.line(&said);
        }
    }

    /// Never over a file that is there.
    fn save(&self, path: &str) -> io::Result<()> {
        let text = export::markdown(&self.agent.transcript().messages());
        File::create_new(path)?.write_all(text.as_bytes())
    }

    /// Runs a command for the user; the model sees the result with the next message.
    pub(super) fn run_command(&mut self, command: &str) {
        if command.is_empty() {
            return self.terminal.line("Which command? `!COMMAND`");
        }
        if let Console::Screen(screen) = &self.console {
            screen.busy(Some(super::screen::Busy {
                what: command.to_owned(),
                since: std::time::Instant::now(),
                tokens: 0,
            }));
        }
        self.last = self.agent.run_command(command);
        if let Console::Screen(screen) = &self.console {
            screen.busy(None);
        }
        self.terminal.line(&self.last);
    }

    /// Shows what a task prints: on a screen until a key is pressed or it has ended, else what there is.
    fn follow(&mut self, id: &str) {
        let fits = |id_of: &str| !id.is_empty() && id_of.starts_with(id);
        let found = self.agent.tasks().list().find(|task| fits(&task.id));
        let Some(id) = found.map(|task| task.id.clone()) else {
            return self.terminal.line(&format!("No task `{id}`; `/tasks` lists them."));
        };
        let mut shown = String::new();
        self.show_new(&id, &mut shown);
        let Console::Screen(screen) = &self.console else {
            return;
        };
        if self.is_over(&id) {
            return;
        }
        screen.follow();
        self.terminal.line("(any key ends this)");
        let looks = tick(LOOK);
        loop {
            let Console::Screen(screen) = &self.console else {
                return;
            };
            select! {
                recv(screen.typed) -> typed => match typed {
                    Ok(Typed::Typing(_)) => {}
                    _ => return,
                },
                recv(self.agent.signals()) -> _ => return,
                recv(self.agent.tasks().events()) -> event => {
                    event.into_iter().for_each(|event| self.agent.attend(event));
                }
                recv(looks) -> _ => {}
            }
            self.show_new(&id, &mut shown);
            if self.is_over(&id) {
                return;
            }
        }
    }

    fn is_over(&self, id: &str) -> bool {
        self.agent.tasks().find(id).is_none_or(|task| task.is_gone())
    }

    /// What the task has printed beyond what was shown; all of it where its beginning has changed.
    fn show_new(&mut self, id: &str, shown: &mut String) {
        let Some(task) = self.agent.tasks().find(id) else {
            return;
        };
        let output = task.output();
        let new = output.strip_prefix(shown.as_str()).unwrap_or(&output);
        if !matches!(new.trim(), "" | NO_OUTPUT) {
            self.terminal.line(new.trim_matches('\n'));
        }
        *shown = output;
    }
}
