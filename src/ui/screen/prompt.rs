//! The thread that owns the terminal: it takes keys and messages, and keeps the canvas up to date.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use signal_hook::consts::SIGCONT;

use super::canvas::{Below, Canvas};
use super::{Busy, Message, Typed};
use crate::stop::Stop;
use crate::ui::complete;
use crate::ui::editor::{Editor, Outcome};
use crate::ui::history::History;
use crate::ui::keys::{Key, Keys};
use crate::ui::line::{self, Line, Slash};
use crate::ui::roster::Roster;

/// Two Ctrl-C within this time exit.
const TWICE: Duration = Duration::from_secs(1);

/// The bytes of a key arrive together. An escape that is alone for this long is the Escape key.
const ESCAPE_DELAY: Duration = Duration::from_millis(30);

/// How often the time is updated in the row that says what the program is doing.
const TICK: Duration = Duration::from_millis(200);

/// How long news of what the program is doing may wait: what the model thinks changes hundreds of times a second, and a
/// terminal that is drawn so often flickers.
const CALM: Duration = Duration::from_millis(50);

/// At most this many messages are taken between two updates of the canvas.
const BATCH: usize = 64;

pub(super) struct Prompt {
    canvas: Canvas,
    to_main: ToMain,
    editor: Editor,
    keys: Keys,
    roster: Roster,
    busy: Option<Busy>,
    question: Option<Question>,
    /// The output of a task is shown until the next key.
    is_followed: bool,
    /// The main thread knows that a line is being typed.
    was_typing: bool,
    /// The message that came back to the line: until it is changed, nobody types.
    put_back: String,
    /// When Ctrl-C was pressed last.
    interrupted: Option<Instant>,
}

/// How the thread reaches the main thread.
pub(super) struct ToMain {
    pub typed: Sender<Typed>,
    pub stops: Sender<Stop>,
    /// Set when the user exits, so that lines typed before are not run first.
    pub left: Arc<AtomicBool>,
}

struct Question {
    answers: Sender<String>,
    /// The line that was being typed when the question came.
    put_aside: (String, usize),
}

impl Prompt {
    pub fn new(canvas: Canvas, to_main: ToMain, history: Option<PathBuf>) -> Prompt {
        Prompt {
            canvas,
            to_main,
            editor: Editor::new(History::load(history)),
            keys: Keys::default(),
            roster: Roster::default(),
            busy: None,
            question: None,
            is_followed: false,
            was_typing: false,
            put_back: String::new(),
            interrupted: None,
        }
    }

    /// Runs until the screen is closed or the terminal is gone.
    pub fn run(mut self, messages: &Receiver<Message>) {
        self.canvas.set_raw();
        let (mut drawn, mut is_behind) = (Instant::now(), false);
        loop {
            let patience = if is_behind { CALM } else { self.patience() };
            let mut can_wait = false;
            match messages.recv_timeout(patience) {
                Ok(first) => {
                    can_wait = true;
                    for message in std::iter::once(first).chain(messages.try_iter().take(BATCH)) {
                        can_wait &= matches!(message, Message::Busy(Some(_)));
                        match message {
                            Message::Close => return self.canvas.restore(),
                            Message::Typed(None) => return self.hang_up(messages),
                            message => self.take(message),
                        }
                    }
                }
                Err(_) => self.keys.flush().into_iter().for_each(|key| self.take_key(key)),
            }
            self.tell_typing();
            is_behind = can_wait && drawn.elapsed() < CALM;
            if !is_behind {
                self.update();
                drawn = Instant::now();
            }
        }
    }

    /// How long to wait for a message.
    fn patience(&self) -> Duration {
        match &self.busy {
            _ if self.keys.is_waiting() => ESCAPE_DELAY,
            Some(_) => TICK,
            None => Duration::MAX,
        }
    }

    fn update(&mut self) {
        let below = Below {
            busy: self.busy.as_ref().map(Busy::text),
            thought: self.busy.as_ref().map_or("", |busy| &busy.thought),
            prompt: self.prompt(),
            text: &self.editor.text,
            cursor: self.editor.cursor,
        };
        self.canvas.update(&below);
    }

    fn prompt(&self) -> String {
        if self.question.is_some() {
            return "? ".into();
        }
        self.editor.search_prompt().unwrap_or_else(|| self.roster.prompt())
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Print(text) => self.canvas.print(&text),
            Message::Typed(bytes) => {
                let keys = self.keys.push(&bytes.unwrap_or_default());
                keys.into_iter().for_each(|key| self.take_key(key));
            }
            Message::Task(row) => self.roster.take(row).into_iter().for_each(|text| self.canvas.say(&text)),
            Message::Busy(busy) => {
                self.busy = busy;
                // The agent does something else now, so it no longer waits for an answer.
                self.end_question();
            }
            Message::Ask(answers) => {
                self.end_question();
                self.question = Some(Question { answers, put_aside: self.editor.take() });
            }
            Message::Follow => self.is_followed = true,
            Message::PutBack(text) => {
                if self.editor.text.is_empty() && self.question.is_none() {
                    self.put_back.clone_from(&text);
                    let end = text.len();
                    self.editor.put((text, end));
                }
            }
            Message::Signal(SIGCONT) => {
                self.canvas.set_raw();
                self.canvas.forget();
            }
            // The canvas asks for the size at each update.
            Message::Signal(_) => {}
            Message::Close => unreachable!("the loop returns on it"),
        }
    }

    fn take_key(&mut self, key: Key) {
        if std::mem::take(&mut self.is_followed) {
            return self.tell(Typed::Key);
        }
        match self.editor.key(key) {
            Outcome::Edited => {}
            Outcome::Entered(line) => self.enter(line),
            Outcome::Interrupt => self.interrupt(),
            Outcome::End => self.leave(),
            Outcome::Complete => {
                let choices = complete::complete(&mut self.editor);
                choices.into_iter().for_each(|choices| self.canvas.say(&choices));
            }
            Outcome::Suspend => self.canvas.suspend(),
            Outcome::ClearScreen => self.canvas.clear(),
        }
    }

    fn enter(&mut self, line: String) {
        self.canvas.echo(&self.prompt(), &line);
        if let Some(question) = &self.question {
            if !line.trim().is_empty() && question.answers.send(line).is_ok() {
                self.end_question();
            }
            return;
        }
        self.editor.history.add(&line);
        match line::parse(&line) {
            Line::Empty => {}
            Line::Slash(Slash::Tasks, _) => self.canvas.say(&self.roster.table()),
            Line::Slash(Slash::Kill, id) => self.canvas.say(&self.roster.kill(id)),
            Line::Slash(Slash::Exit, _) => self.leave(),
            _ => {
                if self.busy.is_some() {
                    self.canvas.say("(queued until this turn ends)");
                }
                self.tell(Typed::Line(line));
            }
        }
    }

    /// Brings back the line that was being typed when the question came.
    fn end_question(&mut self) {
        if let Some(question) = self.question.take() {
            self.editor.put(question.put_aside);
        }
    }

    /// Ctrl-C: stops the turn and leaves what was typed meanwhile; without a turn, clears the line.
    fn interrupt(&mut self) {
        let before = self.interrupted.replace(Instant::now());
        if before.is_some_and(|before| before.elapsed() < TWICE) {
            return self.leave();
        }
        if self.busy.is_some() {
            self.stop(Stop::Interrupted);
        } else if self.editor.take().0.is_empty() {
            self.canvas.say("(press Ctrl-D, or Ctrl-C twice, to exit)");
        }
    }

    fn leave(&mut self) {
        self.roster.farewell().into_iter().for_each(|text| self.canvas.say(&text));
        self.to_main.left.store(true, Ordering::Release);
        if self.busy.is_some() {
            self.stop(Stop::Interrupted);
        }
        self.tell(Typed::Leave);
    }

    /// A full channel already holds stops that the main thread will see.
    fn stop(&self, stop: Stop) {
        let _ = self.to_main.stops.try_send(stop);
    }

    /// If nobody receives it, the program is ending.
    fn tell(&self, typed: Typed) {
        let _ = self.to_main.typed.send(typed);
    }

    fn tell_typing(&mut self) {
        let text = &self.editor.text;
        if *text != self.put_back {
            self.put_back.clear();
        }
        let is_typing = !text.is_empty() && *text != self.put_back && self.question.is_none();
        if is_typing != std::mem::replace(&mut self.was_typing, is_typing) {
            self.tell(Typed::Typing(is_typing));
        }
    }

    /// The terminal is gone: draws nothing any more, and waits for the end of the program.
    fn hang_up(self, messages: &Receiver<Message>) {
        self.to_main.left.store(true, Ordering::Release);
        self.stop(Stop::HungUp);
        messages.iter().find(|message| matches!(message, Message::Close));
    }
}
