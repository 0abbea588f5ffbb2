//! How the screen is drawn: one write of what has changed, and the modes of the terminal.

use std::io::{self, Write};

use rustix::termios::{InputModes, LocalModes, OptionalActions, SpecialCodeIndex, tcgetwinsize, tcsetattr};
use signal_hook::consts::SIGTSTP;

use super::{Busy, Drawing, Drawn};
use crate::{
    text::{obeyed_by_terminals, visible},
    ui::{
        layout::{fitting, full_rows, input, width},
        style::{BOLD, DIM, PLAIN, styled},
    },
};

/// DEC private modes: bracketed paste (xterm ctlseqs), and synchronized output, which others ignore.
const PASTE_ON: &str = "\x1b[?2004h";
const PASTE_OFF: &str = "\x1b[?2004l";
const SYNC_ON: &str = "\x1b[?2026h";
const SYNC_OFF: &str = "\x1b[?2026l";
const ERASE_BELOW: &str = "\x1b[J";

impl Drawing {
    /// What was typed becomes part of the output.
    pub(super) fn echo(&self, prompt: &str, line: &str, printed: &mut String) {
        self.start_line(printed);
        let line = visible(line);
        let prompt = if self.color { styled(BOLD, prompt) } else { prompt.to_owned() };
        printed.push_str(&format!("{prompt}{line}\n"));
    }

    pub(super) fn say(&self, text: &str, printed: &mut String) {
        self.start_line(printed);
        printed.push_str(&visible(text));
        printed.push('\n');
    }

    fn start_line(&self, printed: &mut String) {
        let is_open = if printed.is_empty() { !self.open.is_empty() } else { !printed.ends_with('\n') };
        if is_open {
            printed.push('\n');
        }
    }

    pub(super) fn prompt(&self) -> String {
        match (&self.asked, self.editor.search_prompt()) {
            (Some(_), _) => "? ".into(),
            (None, Some(search)) => search,
            (None, None) => self.roster.prompt(),
        }
    }

    /// Prints above, and brings up to date what stands below.
    pub(super) fn draw(&mut self, printed: &str) {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 1);
        let (columns, lines) = size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()));
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
            rows.push(if self.color { styled(DIM, text) } else { text.to_owned() });
        }
        let prompt = self.prompt();
        let (mut typed, (row, column)) =
            input(&prompt, &shown(&self.editor.text), self.editor.cursor, columns);
        // A text that is larger than the screen is shown around the cursor.
        let room = lines.saturating_sub(rows.len() + 1).max(1);
        let first = (row + 1).saturating_sub(room);
        typed.truncate(first + room);
        let mut typed = typed.split_off(first);
        if let Some(after) = typed[0].strip_prefix(&prompt).filter(|_| self.color && first == 0) {
            typed[0] = styled(BOLD, &prompt) + after;
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

    pub(super) fn set_raw(&self) {
        let mut raw = self.found.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IXON | InputModes::ISTRIP;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &raw);
        write_all(PASTE_ON.as_bytes());
    }

    /// Gives the terminal back, with nothing of this below the output.
    pub(super) fn set_back(&mut self) {
        let columns = tcgetwinsize(io::stdout()).map_or(80, |size| size.ws_col.max(2).into());
        let end = if self.open.is_empty() { "" } else { "\n" };
        let bytes = format!("{}{ERASE_BELOW}{}{end}{PASTE_OFF}", self.to_start(columns), self.open);
        self.open.clear();
        self.drawn = Drawn::default();
        write_all(bytes.as_bytes());
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.found);
    }

    /// As the terminal's own Ctrl-Z does: the program stops, until the shell continues it. Commands go on.
    pub(super) fn suspend(&mut self) {
        self.set_back();
        // To this thread: one to the process might be taken by another, and stop this one a little later.
        let _ = signal_hook::low_level::raise(SIGTSTP);
        self.set_raw();
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
    let shown = text.chars().map(|c| match (obeyed_by_terminals(c), c.len_utf8()) {
        (false, _) => c,
        (true, 1) => '?',
        (true, 2) => '\u{bf}',
        (true, _) => '\u{fffd}',
    });
    shown.collect()
}

fn up(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A") }
}

fn right(columns: usize) -> String {
    if columns == 0 { String::new() } else { format!("\x1b[{columns}C") }
}

pub(super) fn write_all(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    // Nobody sees it when the terminal is gone.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}
