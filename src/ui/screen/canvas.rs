//! What is drawn on the terminal: output that scrolls, and below it a few rows that are drawn again.
//!
//! Each update is one write, and only when something has changed. The terminal is in raw mode meanwhile.

use std::io::{self, Write};

use rustix::termios::{OptionalActions, Termios, tcgetwinsize, tcsetattr};
use signal_hook::consts::SIGTSTP;

use crate::text::{obeyed_by_terminals, one_line, visible};
use crate::ui::layout::{fitting, fitting_end, full_rows, input, width};
use crate::ui::style::{BOLD, DIM, PLAIN, styled};

/// DEC private modes: bracketed paste and synchronized output (xterm ctlseqs). Other terminals ignore them.
const PASTE_ON: &str = "\x1b[?2004h";
const PASTE_OFF: &str = "\x1b[?2004l";
const SYNC_ON: &str = "\x1b[?2026h";
const SYNC_OFF: &str = "\x1b[?2026l";
const ERASE_BELOW: &str = "\x1b[J";
const CLEAR: &str = "\x1b[H\x1b[2J";

/// A terminal of fewer lines has no room for what the model thinks.
const FEWEST_LINES: usize = 6;

pub(super) struct Canvas {
    /// The modes of the terminal before the program changed them.
    found: Termios,
    color: bool,
    /// Output that is not above the rows yet: what was printed since the last update, and an unfinished row.
    output: String,
    drawn: Rows,
}

/// What to show below the output.
pub(super) struct Below<'a> {
    /// What the program is doing.
    pub busy: Option<String>,
    /// What the model thinks; its end is shown.
    pub thought: &'a str,
    pub prompt: String,
    /// The line being typed, and the cursor in it as a byte position.
    pub text: &'a str,
    pub cursor: usize,
}

/// The rows below the output.
#[derive(Default, PartialEq)]
struct Rows {
    rows: Vec<String>,
    /// Row and column.
    cursor: (usize, usize),
}

impl Canvas {
    /// Nothing is changed before `set_raw`.
    pub fn new(found: Termios, color: bool) -> Canvas {
        Canvas { found, color, output: String::new(), drawn: Rows::default() }
    }

    /// Adds output, as it is.
    pub fn print(&mut self, text: &str) {
        self.output.push_str(text);
    }

    /// Adds lines of output.
    pub fn say(&mut self, text: &str) {
        self.start_line();
        self.output += &format!("{}\n", visible(text));
    }

    /// Adds an entered line to the output.
    pub fn echo(&mut self, prompt: &str, line: &str) {
        self.start_line();
        self.output += &format!("{}{}\n", self.styled(BOLD, prompt), visible(line));
    }

    fn start_line(&mut self) {
        if !self.output.is_empty() && !self.output.ends_with('\n') {
            self.output.push('\n');
        }
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.color { styled(style, text) } else { text.to_owned() }
    }

    /// Writes the output that fills its rows, and draws the rest and what is below again.
    pub fn update(&mut self, below: &Below) {
        let (columns, lines) = size();
        let last_line = self.output.rfind('\n').map_or(0, |end| end + 1);
        let (full, open) = full_rows(&self.output[last_line..], columns);
        let done = last_line + full.len();
        let drawn = self.rows(&open, below, columns, lines);
        if done == 0 && drawn == self.drawn {
            return;
        }
        let start = self.to_start(columns);
        let output = &self.output[..done];
        let rows = drawn.rows.join("\n");
        let cursor = moved(drawn.rows.len() - 1 - drawn.cursor.0, drawn.cursor.1);
        write_all(&format!("{SYNC_ON}{start}{ERASE_BELOW}{output}{rows}{cursor}{SYNC_OFF}"));
        self.output = open;
        self.drawn = drawn;
    }

    /// The unfinished row of the output, what the program is doing, the prompt and the line being typed.
    fn rows(&self, open: &str, below: &Below, columns: usize, lines: usize) -> Rows {
        let mut rows = Vec::new();
        if !open.is_empty() {
            rows.push(format!("{open}{PLAIN}"));
        }
        if let Some(busy) = &below.busy {
            rows.push(self.styled(DIM, fitting(&visible(busy), columns - 1)));
        }
        let thought = one_line(below.thought.trim(), usize::MAX);
        if !thought.is_empty() && lines >= FEWEST_LINES {
            let end = format!("  {}", fitting_end(&visible(&thought), columns.saturating_sub(3)));
            rows.push(self.styled(DIM, &end));
        }
        let prompt = &below.prompt;
        let (mut typed, (row, column)) = input(prompt, &shown(below.text), below.cursor, columns);
        if let Some(text) = typed[0].strip_prefix(prompt) {
            typed[0] = self.styled(BOLD, prompt) + text;
        }
        // Of a text that is larger than the screen, the part around the cursor.
        let room = lines.saturating_sub(rows.len() + 1).max(1);
        let first = (row + 1).saturating_sub(room);
        let cursor = (rows.len() + row - first, column);
        rows.extend(typed.into_iter().skip(first).take(room));
        Rows { rows, cursor }
    }

    /// Moves the cursor from where it is to the end of the output. The terminal may have become narrower.
    fn to_start(&self, columns: usize) -> String {
        let above = self.drawn.rows.iter().take(self.drawn.cursor.0);
        let rows: usize = above.map(|row| width(row).div_ceil(columns).max(1)).sum();
        moved(rows + self.drawn.cursor.1 / columns, 0)
    }

    pub fn clear(&mut self) {
        write_all(CLEAR);
        self.forget();
    }

    /// Something else has drawn on the terminal: everything has to be drawn again.
    pub fn forget(&mut self) {
        self.drawn = Rows::default();
    }

    pub fn set_raw(&self) {
        let mut raw = self.found.clone();
        raw.make_raw();
        // A line feed still begins a new line.
        raw.output_modes = self.found.output_modes;
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &raw);
        write_all(PASTE_ON);
    }

    /// Restores the terminal, and erases what is below the output.
    pub fn restore(&mut self) {
        let start = self.to_start(size().0);
        self.start_line();
        write_all(&format!("{start}{ERASE_BELOW}{}{PASTE_OFF}", self.output));
        self.output.clear();
        self.forget();
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.found);
    }

    /// Stops the program until the shell continues it, as Ctrl-Z does. Commands keep running.
    pub fn suspend(&mut self) {
        self.restore();
        // Raised in this thread: a signal to the process may reach another thread, and stop this one later.
        let _ = signal_hook::low_level::raise(SIGTSTP);
        self.set_raw();
    }
}

/// The columns and lines of the terminal.
fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 1);
    size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}

/// Replaces the characters that a terminal obeys with others of as many bytes.
fn shown(text: &str) -> String {
    let shown = text.chars().map(|c| match c.len_utf8() {
        _ if !obeyed_by_terminals(c) => c,
        1 => '?',
        2 => '\u{bf}',
        _ => '\u{fffd}',
    });
    shown.collect()
}

/// Moves the cursor up, and to a column. A terminal takes a count of 0 for 1.
fn moved(rows: usize, column: usize) -> String {
    let up = if rows == 0 { String::new() } else { format!("\x1b[{rows}A") };
    let right = if column == 0 { String::new() } else { format!("\x1b[{column}C") };
    format!("{up}\r{right}")
}

fn write_all(text: &str) {
    let mut out = io::stdout().lock();
    // If the terminal is gone, nobody misses it.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
