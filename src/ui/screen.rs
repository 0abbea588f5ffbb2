//! The terminal while somebody sits at it: output scrolls above, the prompt stays below and can be typed at.
//!
//! One thread draws, and only that one: what others print comes to it as messages, so that nothing tears the
//! line that is being typed. What is drawn is one write, of what has changed.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize,
    tcsetattr,
};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTSTP};

use super::{
    complete,
    editor::{Editor, Outcome},
    history::History,
    interrupt::Interrupts,
    keys::{Key, Keys},
    layout::{fitting, full_rows, input, width},
    roster::Roster,
    slash,
};
use crate::{
    background::News,
    error::{Error, Result},
    text::{obeyed_by_terminals, visible},
    threads,
};

/// A second Ctrl-C within this time leaves.
const TWICE: Duration = Duration::from_secs(1);

/// The bytes of a key come together; a lone escape is the key of that name.
const ESCAPE_DELAY: Duration = Duration::from_millis(30);

/// How often the line that says what is going on is brought up to date.
const TICK: Duration = Duration::from_millis(200);

/// So much output is taken before the next look at the keyboard, in messages.
const BATCH: usize = 64;

/// DEC private modes: bracketed paste (xterm ctlseqs), and synchronized output, which others ignore.
const PASTE_ON: &str = "\x1b[?2004h";
const PASTE_OFF: &str = "\x1b[?2004l";
const SYNC_ON: &str = "\x1b[?2026h";
const SYNC_OFF: &str = "\x1b[?2026l";
const ERASE_BELOW: &str = "\x1b[J";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

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
    /// Takes over the terminal that stdin and stdout are. Fails when it can't be set or there can't be a thread.
    pub fn open(interrupts: &Interrupts, history: Option<PathBuf>, color: bool) -> Result<Screen> {
        let failed = |err| Error::System {
            doing: "set up the terminal",
            err,
        };
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
        read_keyboard(messages.clone()).map_err(failed)?;
        let draw = move || drawing.run(&received, history);
        let thread = threads::start("screen", draw).map_err(failed)?;
        Ok(Screen {
            messages,
            typed,
            left,
            thread: Some(thread),
        })
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
    raise: Sender<i32>,
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

impl Drawing {
    fn run(mut self, messages: &Receiver<Message>, history: Option<PathBuf>) {
        self.set_raw();
        self.draw("");
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
                announced
                    .into_iter()
                    .for_each(|text| self.say(&text, printed));
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
                    choices
                        .into_iter()
                        .for_each(|choices| self.say(&choices, printed));
                }
                Outcome::Suspend => self.suspend(),
                Outcome::ClearScreen => {
                    let _ = io::stdout().write_all(b"\x1b[H\x1b[2J");
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
        match slash::parse(line.trim()) {
            Some(("/tasks", _)) => self.say(&self.roster.table(), printed),
            Some(("/kill", id)) => {
                let said = self.roster.kill(id);
                self.say(&said, printed);
            }
            Some(("/exit", _)) => self.leave(printed),
            _ => {
                if self.busy.is_some() && !line.trim().is_empty() {
                    self.say("(it is said when this turn has ended)", printed);
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

    /// What was typed becomes part of the output.
    fn echo(&self, prompt: &str, line: &str, printed: &mut String) {
        self.start_line(printed);
        let line = visible(line);
        match self.color {
            true => printed.push_str(&format!("{BOLD}{prompt}{PLAIN}{line}\n")),
            false => printed.push_str(&format!("{prompt}{line}\n")),
        }
    }

    fn interrupt(&mut self, printed: &mut String) {
        let again = self.interrupted.replace(Instant::now());
        if again.is_some_and(|last| last.elapsed() < TWICE) {
            return self.leave(printed);
        }
        let was_empty = self.editor.take().0.is_empty();
        if self.busy.is_some() {
            let _ = self.raise.try_send(SIGINT);
        } else if was_empty {
            self.say(
                "(Ctrl-D or /exit leaves, and so does Ctrl-C twice)",
                printed,
            );
        }
    }

    fn leave(&mut self, printed: &mut String) {
        self.roster
            .farewell()
            .into_iter()
            .for_each(|text| self.say(&text, printed));
        self.left.store(true, Ordering::Release);
        if self.busy.is_some() {
            let _ = self.raise.try_send(SIGINT);
        }
        self.tell(Typed::Leave);
    }

    fn say(&self, text: &str, printed: &mut String) {
        self.start_line(printed);
        printed.push_str(&visible(text));
        printed.push('\n');
    }

    fn start_line(&self, printed: &mut String) {
        let is_open = if printed.is_empty() {
            !self.open.is_empty()
        } else {
            !printed.ends_with('\n')
        };
        if is_open {
            printed.push('\n');
        }
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

    fn prompt(&self) -> String {
        match (
            &self.asked,
            self.editor.search_prompt(),
            self.roster.running(),
        ) {
            (Some(_), ..) => "? ".into(),
            (None, Some(search), _) => search,
            (None, None, 0) => "meanwhile > ".into(),
            (None, None, n) => format!("meanwhile [{n} running] > "),
        }
    }

    /// Prints above, and brings up to date what stands below.
    fn draw(&mut self, printed: &str) {
        let size = tcgetwinsize(io::stdout())
            .ok()
            .filter(|size| size.ws_col > 1);
        let (columns, lines) =
            size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()));
        let mut output = std::mem::take(&mut self.open) + printed;
        let last = output.rfind('\n').map_or(0, |end| end + 1);
        let (full, open) = full_rows(&output[last..], columns);
        let done = last + full.len();
        self.open = open;
        let drawn = self.below(columns, lines);
        if done == 0 && drawn == self.drawn {
            return;
        }
        output.truncate(done);
        let mut bytes = String::from(SYNC_ON);
        bytes += &self.to_start(columns);
        bytes += ERASE_BELOW;
        bytes += &output;
        bytes += &drawn.rows.join("\n");
        bytes += &up(drawn.rows.len() - 1 - drawn.cursor.0);
        bytes.push('\r');
        bytes += &right(drawn.cursor.1);
        bytes += SYNC_OFF;
        self.drawn = drawn;
        write_all(bytes.as_bytes());
    }

    /// The open line of the output, what is going on, the prompt and the line that is typed.
    fn below(&self, columns: usize, lines: usize) -> Drawn {
        let mut rows = Vec::new();
        if !self.open.is_empty() {
            rows.push(format!("{}{PLAIN}", self.open));
        }
        if let Some(busy) = &self.busy {
            let text = busy.text();
            let text = visible(&text);
            let text = fitting(&text, columns - 1);
            rows.push(if self.color {
                format!("{DIM}{text}{PLAIN}")
            } else {
                text.to_owned()
            });
        }
        let prompt = self.prompt();
        let (mut typed, (row, column)) = input(
            &prompt,
            &shown(&self.editor.text),
            self.editor.cursor,
            columns,
        );
        // A text that is larger than the screen is shown around the cursor.
        let room = lines.saturating_sub(rows.len() + 1).max(1);
        let first = (row + 1).saturating_sub(room);
        typed.truncate(first + room);
        let mut typed = typed.split_off(first);
        if let Some(after) = typed[0]
            .strip_prefix(&prompt)
            .filter(|_| self.color && first == 0)
        {
            typed[0] = format!("{BOLD}{prompt}{PLAIN}{after}");
        }
        let cursor = (rows.len() + row - first, column);
        rows.append(&mut typed);
        Drawn { rows, cursor }
    }

    /// To where the output ends, from where the cursor stands; the terminal may have become narrower since.
    fn to_start(&self, columns: usize) -> String {
        let above = self.drawn.rows.iter().take(self.drawn.cursor.0);
        let rows: usize = above.map(|row| width(row).div_ceil(columns).max(1)).sum();
        format!("{}\r", up(rows + self.drawn.cursor.1 / columns))
    }

    fn set_raw(&self) {
        let mut raw = self.found.clone();
        raw.local_modes -=
            LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -=
            InputModes::ICRNL | InputModes::INLCR | InputModes::IXON | InputModes::ISTRIP;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &raw);
        write_all(PASTE_ON.as_bytes());
    }

    /// Gives the terminal back, with nothing of this below the output.
    fn set_back(&mut self) {
        let columns = tcgetwinsize(io::stdout()).map_or(80, |size| size.ws_col.max(2).into());
        let end = if self.open.is_empty() { "" } else { "\n" };
        let bytes = format!(
            "{}{ERASE_BELOW}{}{end}{PASTE_OFF}",
            self.to_start(columns),
            self.open
        );
        self.open.clear();
        self.drawn = Drawn::default();
        write_all(bytes.as_bytes());
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.found);
    }

    /// As the terminal's own Ctrl-Z does: the program stops, until the shell continues it. Commands go on.
    fn suspend(&mut self) {
        self.set_back();
        // To this thread: one to the process might be taken by another, and stop this one a little later.
        let _ = signal_hook::low_level::raise(SIGTSTP);
        self.set_raw();
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
        let _ = self.raise.try_send(SIGHUP);
        while let Ok(message) = messages.recv() {
            if let Message::Close = message {
                return;
            }
        }
    }
}

impl Busy {
    fn text(&self) -> String {
        let seconds = self.since.elapsed().as_secs();
        let tokens = match self.tokens {
            0 => String::new(),
            n => format!(", {n} tokens"),
        };
        format!("* {}, {seconds} s{tokens} (Ctrl-C interrupts)", self.what)
    }
}

/// What is typed, with nothing in it that a terminal obeys; as many bytes for each character.
fn shown(text: &str) -> String {
    let shown = text
        .chars()
        .map(|c| match (obeyed_by_terminals(c), c.len_utf8()) {
            (false, _) => c,
            (true, 1) => '?',
            (true, 2) => '\u{bf}',
            (true, _) => '\u{fffd}',
        });
    shown.collect()
}

fn up(rows: usize) -> String {
    if rows == 0 {
        String::new()
    } else {
        format!("\x1b[{rows}A")
    }
}

fn right(columns: usize) -> String {
    if columns == 0 {
        String::new()
    } else {
        format!("\x1b[{columns}C")
    }
}

fn write_all(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    // Nobody sees it when the terminal is gone.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// What is typed, as it comes, read by a thread of its own.
fn read_keyboard(messages: Sender<Message>) -> io::Result<()> {
    let read = move || {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let bytes = match io::stdin().lock().read(&mut buffer) {
                Ok(n @ 1..) => Some(buffer[..n].to_vec()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                _ => None,
            };
            let is_end = bytes.is_none();
            if messages.send(Message::Typed(bytes)).is_err() || is_end {
                return;
            }
        }
    };
    threads::start("input", read).map(drop)
}
