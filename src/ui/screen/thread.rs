//! What the screen's thread does with what is typed and with what it is told.

use std::{
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use signal_hook::consts::SIGCONT;

use super::{Drawing, Drawn, Message, Typed, drawing::write_all};
use crate::{
    stop::Stop,
    ui::{
        complete,
        editor::{Editor, Outcome},
        history::History,
        keys::Key,
        line::{self, Line, Slash},
    },
};

/// A second Ctrl-C within this time leaves.
const TWICE: Duration = Duration::from_secs(1);

/// The bytes of a key come together; a lone escape is the key of that name.
const ESCAPE_DELAY: Duration = Duration::from_millis(30);

/// How often the line that says what is going on is brought up to date.
const TICK: Duration = Duration::from_millis(200);

/// So much output is taken before the next look at the keyboard, in messages.
const BATCH: usize = 64;

impl Drawing {
    pub(super) fn run(mut self, greeting: &str, messages: &Receiver<Message>, history: Option<PathBuf>) {
        self.set_raw();
        self.draw(greeting);
        self.editor = Editor::new(History::load(history));
        loop {
            let mut printed = String::new();
            match messages.recv_timeout(self.patience()) {
                // Nothing more came: what has begun was no sequence of a key.
                Err(_) => {
                    let keys = self.keys.flush();
                    self.type_keys(keys, &mut printed);
                }
                Ok(first) => {
                    for message in std::iter::once(first).chain(messages.try_iter().take(BATCH)) {
                        match message {
                            Message::Close => return self.close(&printed),
                            Message::Typed(None) => return self.hang_up(messages),
                            message => self.take(message, &mut printed),
                        }
                    }
                }
            }
            self.tell_typing();
            self.draw(&printed);
        }
    }

    /// How long nothing may happen.
    fn patience(&self) -> Duration {
        match (self.keys.is_waiting(), &self.busy) {
            (true, _) => ESCAPE_DELAY,
            (false, Some(_)) => TICK,
            (false, None) => Duration::MAX,
        }
    }

    fn take(&mut self, message: Message, printed: &mut String) {
        match message {
            Message::Print(text) => printed.push_str(&text),
            Message::Typed(bytes) => {
                let keys = self.keys.push(&bytes.unwrap_or_default());
                self.type_keys(keys, printed);
            }
            Message::News(news) => {
                let announced = self.roster.take(news);
                announced.into_iter().for_each(|text| self.say(&text, printed));
            }
            Message::Busy(busy) => {
                self.busy = busy;
                // Who asked does something else now.
                self.end_question();
            }
            Message::Ask(answers) => {
                self.put_aside.get_or_insert(self.editor.take());
                self.asked = Some(answers);
            }
            Message::Follow => self.is_followed = true,
            Message::Signal(SIGCONT) => {
                self.set_raw();
                self.drawn = Drawn::default();
            }
            // The size is asked for with each drawing.
            Message::Signal(_) => {}
            Message::Close => unreachable!("the loop ends with it"),
        }
    }

    fn type_keys(&mut self, keys: Vec<Key>, printed: &mut String) {
        for key in keys {
            if self.is_followed {
                self.is_followed = false;
                self.tell(Typed::Key);
                continue;
            }
            match self.editor.key(key) {
                Outcome::Edited => {}
                Outcome::Entered(line) => self.enter(line, printed),
                Outcome::Interrupt => self.interrupt(printed),
                Outcome::End => self.leave(printed),
                Outcome::Complete => {
                    let choices = complete::complete(&mut self.editor);
                    choices.into_iter().for_each(|choices| self.say(&choices, printed));
                }
                Outcome::Suspend => self.suspend(),
                Outcome::ClearScreen => {
                    write_all(b"\x1b[H\x1b[2J");
                    self.drawn = Drawn::default();
                }
            }
        }
    }

    fn enter(&mut self, line: String, printed: &mut String) {
        if let Some(asked) = &self.asked {
            self.echo("? ", &line, printed);
            if !line.trim().is_empty() && asked.send(line).is_ok() {
                self.end_question();
            }
            return;
        }
        self.editor.remember(&line);
        let prompt = self.prompt();
        self.echo(&prompt, &line, printed);
        match line::parse(&line) {
            Line::Empty => {}
            Line::Slash(Slash::Tasks, _) => self.say(&self.roster.table(), printed),
            Line::Slash(Slash::Kill, id) => self.say(&self.roster.kill(id), printed),
            Line::Slash(Slash::Exit, _) => self.leave(printed),
            _ => {
                if self.busy.is_some() {
                    self.say("(queued until this turn ends)", printed);
                }
                self.tell(Typed::Line(line));
            }
        }
    }

    /// The line that was being typed when the question came is there again.
    fn end_question(&mut self) {
        self.asked = None;
        if let Some(line) = self.put_aside.take() {
            self.editor.put(line);
        }
    }

    fn interrupt(&mut self, printed: &mut String) {
        let again = self.interrupted.replace(Instant::now());
        if again.is_some_and(|last| last.elapsed() < TWICE) {
            return self.leave(printed);
        }
        let was_empty = self.editor.take().0.is_empty();
        if self.busy.is_some() {
            let _ = self.raise.try_send(Stop::Interrupted);
        } else if was_empty {
            self.say("(press Ctrl-D, or Ctrl-C twice, to exit)", printed);
        }
    }

    fn leave(&mut self, printed: &mut String) {
        self.roster.farewell().into_iter().for_each(|text| self.say(&text, printed));
        self.left.store(true, Ordering::Release);
        if self.busy.is_some() {
            let _ = self.raise.try_send(Stop::Interrupted);
        }
        self.tell(Typed::Leave);
    }

    fn tell(&self, typed: Typed) {
        // The program is ending when nobody hears it.
        let _ = self.typed.send(typed);
    }

    fn tell_typing(&mut self) {
        let is_typing = !self.editor.text.is_empty() && self.asked.is_none();
        if is_typing != std::mem::replace(&mut self.was_typing, is_typing) {
            self.tell(Typed::Typing(is_typing));
        }
    }

    fn close(mut self, printed: &str) {
        self.busy = None;
        self.asked = None;
        self.editor.take();
        self.draw(printed);
        self.set_back();
    }

    /// The terminal is gone: there is nothing to draw on, and the user has left.
    fn hang_up(self, messages: &Receiver<Message>) {
        self.left.store(true, Ordering::Release);
        let _ = self.raise.try_send(Stop::HungUp);
        while let Ok(message) = messages.recv() {
            if let Message::Close = message {
                return;
            }
        }
    }
}
