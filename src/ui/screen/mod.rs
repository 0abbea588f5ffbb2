//! A terminal at which a person types while output appears: output scrolls above, the prompt stays below.
//!
//! Only the thread "screen" writes to the terminal. Everybody else sends it messages, so that no output tears the
//! line being typed.

mod canvas;
mod prompt;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::{interrupt::Interrupts, roster::Row, stdin::read_keys};
use crate::background::task::Task;
use crate::error::{Error, Result};
use crate::threads;
use canvas::Canvas;
use prompt::{Prompt, ToMain};

/// What the user does.
#[derive(Debug)]
pub enum Typed {
    Line(String),
    /// Whether there is text in the line, when that has changed.
    Typing(bool),
    /// A key that ends `Screen::follow`.
    Key,
    Leave,
}

/// What the thread is told.
enum Message {
    /// Bytes from the keyboard; None when the terminal is gone.
    Typed(Option<Vec<u8>>),
    /// A background task has started or ended.
    Task(Row),
    Print(String),
    /// What the program is doing; None when it waits for the user.
    Busy(Option<Busy>),
    /// The next line goes to this channel, as the answer to a question.
    Ask(Sender<String>),
    /// The next key is a `Typed::Key` and edits nothing.
    Follow,
    /// A message that the user may change and send again.
    PutBack(String),
    Signal(i32),
    Close,
}

/// What the program is doing, since when, and the tokens that the model has written in this turn.
#[derive(Clone)]
pub struct Busy {
    pub what: String,
    /// The end of what the model thinks now.
    pub thought: String,
    pub since: Instant,
    pub tokens: u64,
}

/// The terminal. Dropping it restores the terminal.
pub struct Screen {
    messages: Sender<Message>,
    pub typed: Receiver<Typed>,
    left: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Prints above the prompt.
pub struct Writer(Sender<Message>);

impl Screen {
    /// Takes over the terminal that stdin and stdout are, and prints `greeting`. Fails if the terminal's modes
    /// can't be read, or no thread can be started.
    pub fn open(
        interrupts: &Interrupts,
        history: Option<PathBuf>,
        color: bool,
        greeting: String,
    ) -> Result<Screen> {
        let failed = |err| Error::System { doing: "set up the terminal", err };
        let found = tcgetattr(io::stdin()).map_err(|err| failed(err.into()))?;
        // Bounded, so that a command can't print faster than the terminal shows.
        let (messages, received) = crossbeam_channel::bounded(256);
        let _ = messages.send(Message::Print(greeting));
        // Unbounded: nobody types faster than this is read.
        let (typed_sender, typed) = crossbeam_channel::unbounded();
        let signals = messages.clone();
        let (modes, out) = (found.clone(), io::stdout());
        interrupts.watch(Box::new(move |signal| match signal {
            Some(signal) => drop(signals.try_send(Message::Signal(signal))),
            // The program exits without returning from `main`.
            None => drop(tcsetattr(&out, OptionalActions::Now, &modes)),
        }));
        let left = Arc::new(AtomicBool::new(false));
        let to_main =
            ToMain { typed: typed_sender, stops: interrupts.sender.clone(), left: Arc::clone(&left) };
        let keys = messages.clone();
        read_keys(move |bytes| keys.send(Message::Typed(bytes.map(<[u8]>::to_vec))).is_ok())?;
        let canvas = Canvas::new(found, color);
        let run = move || Prompt::new(canvas, to_main, history).run(&received);
        let thread = threads::start("screen", run).map_err(failed)?;
        Ok(Screen { messages, typed, left, thread: Some(thread) })
    }

    /// Whether the user has asked to exit. Lines typed before that may still be in `typed`.
    pub fn was_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    pub fn writer(&self) -> Writer {
        Writer(self.messages.clone())
    }

    /// Returns a function that shows the start and the end of background tasks.
    pub fn observer(&self) -> impl Fn(&Task) + use<> {
        let messages = self.messages.clone();
        move |task| drop(messages.send(Message::Task(Row::new(task))))
    }

    /// Says what the program is doing, in a row that disappears with None.
    pub fn busy(&self, busy: Option<Busy>) {
        let _ = self.messages.send(Message::Busy(busy));
    }

    /// Returns a function that makes the next line an answer, which comes on the channel it returns.
    pub fn questions(&self) -> impl Fn() -> Receiver<String> + use<> {
        let messages = self.messages.clone();
        move || {
            let (sender, answers) = crossbeam_channel::unbounded();
            let _ = messages.send(Message::Ask(sender));
            answers
        }
    }

    /// Puts a message back on the line, unless the user has typed something else.
    pub fn put_back(&self, message: String) {
        let _ = self.messages.send(Message::PutBack(message));
    }

    /// Makes the next key a `Typed::Key`.
    pub fn follow(&self) {
        let _ = self.messages.send(Message::Follow);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Close);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let _ = self.0.send(Message::Print(text));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Busy {
    fn text(&self) -> String {
        let seconds = self.since.elapsed().as_secs();
        let tokens = if self.tokens == 0 { String::new() } else { format!(", {} tokens", self.tokens) };
        format!("* {}, {seconds} s{tokens} (Ctrl-C interrupts)", self.what)
    }
}
