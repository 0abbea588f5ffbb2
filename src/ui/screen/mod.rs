//! The terminal while somebody sits at it: output scrolls above, the prompt stays below and can be typed at.
//!
//! One thread draws, and only that one: what others print comes to it as messages, so that nothing tears the
//! line that is being typed. What is drawn is one write, of what has changed.

mod drawing;
mod thread;

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{
    editor::Editor, history::History, interrupt::Interrupts, keys::Keys, roster::Roster, stdin::read_keys,
};
use crate::{
    background::News,
    error::{Error, Result},
    stop::Stop,
    threads,
};

/// What the user does.
#[derive(Debug)]
pub enum Typed {
    Line(String),
    /// Whether the line has something in it.
    Typing(bool),
    /// A key, while an output is followed.
    Key,
    Leave,
}

/// What the thread is told.
enum Message {
    /// From the keyboard; None when the terminal is gone.
    Typed(Option<Vec<u8>>),
    News(News),
    Print(String),
    /// What the program is at, and since when; None when it waits for the user.
    Busy(Option<Busy>),
    /// The next line is the answer to a question.
    Ask(Sender<String>),
    /// The next key ends the following of an output.
    Follow,
    Signal(i32),
    Close,
}

/// What the program is at.
pub struct Busy {
    pub what: String,
    pub since: Instant,
    pub tokens: u64,
}

/// The terminal. Dropping it leaves the terminal as it was found.
pub struct Screen {
    messages: Sender<Message>,
    pub typed: Receiver<Typed>,
    left: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Prints above the prompt.
pub struct Writer(Sender<Message>);

impl Screen {
    /// Takes over the terminal that stdin and stdout are, with `greeting` above the prompt. Fails when it can't be set or there can't be a thread.
    pub fn open(
        interrupts: &Interrupts,
        history: Option<PathBuf>,
        color: bool,
        greeting: String,
    ) -> Result<Screen> {
        let failed = |err| Error::System { doing: "set up the terminal", err };
        let found = tcgetattr(io::stdin()).map_err(|err| failed(err.into()))?;
        // What prints faster than the terminal shows waits.
        let (messages, received) = crossbeam_channel::bounded(256);
        // Nobody types faster than this is read.
        let (typed_sender, typed) = crossbeam_channel::unbounded();
        let signals = messages.clone();
        let (back, out) = (found.clone(), io::stdout());
        interrupts.watch(Box::new(move |signal| match signal {
            Some(signal) => drop(signals.try_send(Message::Signal(signal))),
            // The program ends here and now.
            None => {
                let _ = tcsetattr(&out, OptionalActions::Now, &back);
            }
        }));
        let left = Arc::new(AtomicBool::new(false));
        let drawing = Drawing {
            found,
            raise: interrupts.sender(),
            typed: typed_sender,
            left: Arc::clone(&left),
            roster: Roster::default(),
            editor: Editor::new(History::default()),
            keys: Keys::default(),
            color,
            busy: None,
            asked: None,
            is_followed: false,
            put_aside: None,
            was_typing: false,
            interrupted: None,
            open: String::new(),
            drawn: Drawn::default(),
        };
        let keys = messages.clone();
        read_keys(move |bytes| keys.send(Message::Typed(bytes.map(<[u8]>::to_vec))).is_ok())?;
        let draw = move || drawing.run(&greeting, &received, history);
        let thread = threads::start("screen", draw).map_err(failed)?;
        Ok(Screen { messages, typed, left, thread: Some(thread) })
    }

    /// Whether the user has left, whatever lines were typed before that.
    pub fn was_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    pub fn writer(&self) -> Writer {
        Writer(self.messages.clone())
    }

    /// Takes what happens to background tasks.
    pub fn observer(&self) -> impl Fn(News) + use<> {
        let messages = self.messages.clone();
        // Nobody looks any more when the thread has gone.
        move |news| drop(messages.send(Message::News(news)))
    }

    /// Says what the program is at, in a line that disappears.
    pub fn busy(&self, busy: Option<Busy>) {
        let _ = self.messages.send(Message::Busy(busy));
    }

    /// A function that makes the next line that is typed an answer.
    pub fn questions(&self) -> impl Fn() -> Receiver<String> + use<> {
        let messages = self.messages.clone();
        move || {
            let (sender, answers) = crossbeam_channel::unbounded();
            let _ = messages.send(Message::Ask(sender));
            answers
        }
    }

    /// From now on until the next key, that key is told of instead of edited with.
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
        // Nobody looks any more when the thread has gone.
        let _ = self.0.send(Message::Print(text));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the thread knows.
struct Drawing {
    /// The terminal's modes before.
    found: Termios,
    raise: Sender<Stop>,
    typed: Sender<Typed>,
    left: Arc<AtomicBool>,
    roster: Roster,
    editor: Editor,
    keys: Keys,
    color: bool,
    busy: Option<Busy>,
    asked: Option<Sender<String>>,
    is_followed: bool,
    /// The line that was being typed when a question came.
    put_aside: Option<(String, usize)>,
    was_typing: bool,
    /// When the last Ctrl-C came.
    interrupted: Option<Instant>,
    /// The last line of the output, as long as it has no end.
    open: String,
    drawn: Drawn,
}

/// What stands below the output.
#[derive(Default, PartialEq)]
struct Drawn {
    rows: Vec<String>,
    /// Row and column.
    cursor: (usize, usize),
}
