//! What is kept of a command's output: its head and its tail, cleaned for the model, in bounded memory.
//!
//! Bytes are cleaned as they come: escape sequences are dropped and a progress bar is reduced to its last state, so
//! that the room is spent on text. Bytes that are not UTF-8 are replaced when the text is read.

use crate::text;

/// The characters of the head, and of the tail. Together they stay under 50,000, with room for the line between them
/// and for the line that a tool adds about how the command ended.
const SIDE: usize = 24_800;
/// The tail holds at least this many bytes: `SIDE` characters of the longest UTF-8 encoding.
const TAIL_BYTES: usize = SIDE * 4;

const ESCAPE: u8 = 0x1b;
const BACKSPACE: u8 = 0x08;

/// The output of one command.
#[derive(Default)]
pub struct Output {
    head: Vec<u8>,
    head_characters: usize,
    /// The newest bytes after the head; cut back to `TAIL_BYTES` when it reaches twice that.
    tail: Vec<u8>,
    /// All cleaned bytes and characters so far, kept or not.
    written: u64,
    characters: u64,
    /// Where the current line starts, counted like `written`.
    line_start: u64,
    /// How far `take_new` has read, counted like `written`.
    seen: u64,
    state: State,
}

/// Where the bytes so far have ended.
#[derive(Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Text,
    /// After a carriage return: a line feed ends the line, anything else overwrites it.
    Return,
    Escape,
    /// `ESC [` up to its final byte (ECMA-48, 5.4).
    Csi,
    /// `ESC ]`, `ESC P` and the like: a string up to BEL or `ESC \` (ECMA-48, 5.6).
    Control,
    ControlEscape,
}

impl Output {
    /// Takes the next bytes that the command wrote.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let plain = match self.state {
                State::Text => memchr::memchr3(b'\r', ESCAPE, BACKSPACE, bytes).unwrap_or(bytes.len()),
                _ => 0,
            };
            self.keep(&bytes[..plain]);
            bytes = &bytes[plain..];
            if let Some((byte, rest)) = bytes.split_first() {
                self.special(*byte);
                bytes = rest;
            }
        }
    }

    /// The whole text: head, a line that says how much was left out, tail; trimmed.
    pub fn text(&self) -> String {
        let (head, tail) = (readable(&self.head), readable(self.kept_tail()));
        // Bytes that are not UTF-8 may turn into more characters than were counted.
        let (head, tail) = (text::first(&head, SIDE), text::last(&tail, SIDE));
        let whole = match self.left_out() {
            0 => format!("{head}{tail}"),
            n => format!("{head}\n{}\n{tail}", text::left_out(n)),
        };
        whole.trim().to_owned()
    }

    /// How many characters `text` leaves out; if none, how many bytes that are not UTF-8.
    pub fn left_out(&self) -> u64 {
        let tail = self.kept_tail();
        let kept = self.head_characters + characters(tail);
        match self.characters.saturating_sub(kept as u64) {
            0 => self.written.saturating_sub((self.head.len() + tail.len()) as u64),
            characters => characters,
        }
    }

    /// What came since the last call and is still kept; a line says how many bytes are missing.
    pub fn take_new(&mut self) -> String {
        let from = std::mem::replace(&mut self.seen, self.written);
        let tail_start = self.written - self.tail.len() as u64;
        let mut bytes = Vec::new();
        if let Some(rest) = self.head.get(from as usize..) {
            bytes.extend_from_slice(rest);
        }
        let missing = tail_start.saturating_sub(from.max(self.head.len() as u64));
        if missing > 0 {
            bytes.extend_from_slice(format!("\n{}\n", text::left_out(missing)).as_bytes());
        }
        bytes.extend_from_slice(&self.tail[from.saturating_sub(tail_start) as usize..]);
        // The rest of the last character may still come.
        let unfinished = unfinished_character(&bytes);
        self.seen -= unfinished as u64;
        bytes.truncate(bytes.len() - unfinished);
        text::head_and_tail(readable(&bytes).trim(), 2 * SIDE).into_owned()
    }

    /// Gives back the memory that only a running command needs.
    pub fn shrink(&mut self) {
        self.tail = self.kept_tail().to_vec();
        self.head.shrink_to_fit();
    }

    /// The last `SIDE` characters of the tail.
    fn kept_tail(&self) -> &[u8] {
        let starts = self.tail.iter().enumerate().rev();
        let mut starts = starts.filter(|(_, byte)| starts_character(**byte));
        let first = starts.nth(SIDE - 1).map_or(0, |(at, _)| at);
        &self.tail[first..]
    }

    fn special(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Return, b'\r') => State::Return,
            (State::Return, b'\n') => {
                self.keep(b"\n");
                State::Text
            }
            (State::Return, _) => {
                self.cut_back(self.line_start);
                self.state = State::Text;
                return self.write(&[byte]);
            }
            (State::Text, b'\r') => State::Return,
            (State::Text, BACKSPACE) => {
                self.erase_character();
                State::Text
            }
            (_, ESCAPE) if self.state == State::Control => State::ControlEscape,
            (_, ESCAPE) => State::Escape,
            (State::Escape, b'[') => State::Csi,
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::Control,
            // Intermediate bytes, as in `ESC ( B`.
            (State::Escape, 0x20..=0x2f) => State::Escape,
            (State::Csi, 0x20..=0x3f) => State::Csi,
            (State::Control, 0x07) => State::Text,
            // A string without an end must not swallow the rest of the output.
            (State::Control, b'\n') => {
                self.keep(b"\n");
                State::Text
            }
            (State::Control, _) => State::Control,
            _ => State::Text,
        };
    }

    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(end) = memchr::memrchr(b'\n', bytes) {
            self.line_start = self.written + end as u64 + 1;
        }
        let into_head = self.fill_head(bytes);
        self.written += bytes.len() as u64;
        let rest = &bytes[into_head..];
        self.characters += (characters(rest)) as u64;
        if rest.len() >= TAIL_BYTES {
            self.tail.clear();
            self.tail.extend_from_slice(&rest[rest.len() - TAIL_BYTES..]);
            return;
        }
        if self.tail.len() + rest.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
        self.tail.extend_from_slice(rest);
    }

    /// Fills the head up to its last whole character; returns how many bytes it took.
    fn fill_head(&mut self, bytes: &[u8]) -> usize {
        let open = self.head.len() as u64 == self.written;
        if !open {
            return 0;
        }
        let mut taken = 0;
        // Continuation bytes without a character must not grow the head either.
        let room = TAIL_BYTES.saturating_sub(self.head.len());
        for byte in &bytes[..room.min(bytes.len())] {
            if starts_character(*byte) {
                if self.head_characters == SIDE {
                    break;
                }
                self.head_characters += 1;
                self.characters += 1;
            }
            taken += 1;
        }
        self.head.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// Removes what was written from `position` on.
    fn cut_back(&mut self, position: u64) {
        let drop = (self.written - position) as usize;
        let from_tail = drop.min(self.tail.len());
        let lost = self.tail.split_off(self.tail.len() - from_tail);
        self.characters -= characters(&lost) as u64;
        if (position as usize) < self.head.len() {
            let lost = characters(&self.head[position as usize..]);
            self.head.truncate(position as usize);
            self.head_characters -= lost;
            self.characters -= lost as u64;
        }
        // If the line was longer than the tail, its lost characters still count as left out.
        self.written = position;
        self.line_start = self.line_start.min(self.written);
        self.seen = self.seen.min(self.written);
    }

    /// Takes a backspace, with which `man` and others overstrike.
    fn erase_character(&mut self) {
        let kept = if self.tail.is_empty() { &self.head } else { &self.tail };
        let back = kept.iter().rev().position(|b| starts_character(*b));
        let Some(back) = back else { return };
        let position = self.written - back as u64 - 1;
        if position >= self.line_start {
            self.cut_back(position);
        }
    }
}

/// The text without control characters; replaces bytes that are not UTF-8.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.retain(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    text
}

fn starts_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// How many bytes at the end belong to an incomplete character.
fn unfinished_character(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    let invalid = last.map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(invalid) {
        Err(err) if err.error_len().is_none() => invalid.len(),
        _ => 0,
    }
}

fn characters(bytes: &[u8]) -> usize {
    // Most output is ASCII, and checking that is fast.
    if bytes.is_ascii() {
        return bytes.len();
    }
    bytes.iter().filter(|b| starts_character(**b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(chunks: &[&[u8]], expected: &str) {
        let mut output = Output::default();
        for chunk in chunks {
            output.write(chunk);
        }
        assert_eq!(output.text(), expected);
        let mut bytewise = Output::default();
        for byte in chunks.concat() {
            bytewise.write(&[byte]);
        }
        assert_eq!(bytewise.text(), expected, "a byte at a time");
    }

    #[test]
    fn text_is_cleaned_for_the_model() {
        check(&[b"plain\ntext\n"], "plain\ntext");
        check(&[b"10%\r50%\r", b"100%\nok"], "100%\nok");
        check(&[b"dos\r\n", b"lines\r", b"\n"], "dos\nlines");
        check(&[b"done\r"], "done");
        check(&[b"\x1b[1;31mred\x1b[0m \x1b(Bplain"], "red plain");
        check(&[b"\x1b]0;title\x07a\x1b]8;;x\x1b\\b"], "ab");
        check(&[b"\x1b]never ended\nrest"], "rest");
        check(&[b"_\x08bo_\x08ld\x08\x08\x08\x08\x08\x08"], "");
        check(&[b"a\x00\x07b"], "ab");
        check(&[b"caf\xc3", b"\xa9 \xff"], "caf\u{e9} \u{fffd}");
        check(&[b"kept\n12\r3\r\n"], "kept\n3");
    }

    #[test]
    fn head_and_tail_are_kept_and_the_rest_is_counted() {
        for letter in ["x", "\u{e9}", "\u{1f980}"] {
            let mut output = Output::default();
            output.write(b"first\n");
            for _ in 0..200 {
                output.write(letter.repeat(1000).as_bytes());
            }
            output.write(b"\nlast");
            let text = output.text();
            assert!(text.starts_with("first\n") && text.ends_with("\nlast"));
            assert!(text.chars().count() <= 50_000);
            let shown = text.chars().count() as u64 - 2 - text::left_out(output.left_out()).len() as u64;
            assert_eq!(shown + output.left_out(), 200_011);
        }
    }

    #[test]
    fn memory_is_bounded_by_the_two_sides() {
        let mut output = Output::default();
        for _ in 0..1000 {
            output.write(&[b'x'; 65_536]);
            output.write(b"\rprogress");
        }
        assert!(output.head.capacity() + output.tail.capacity() < 8 * TAIL_BYTES);
        assert!(output.text().ends_with("progress"));
    }

    #[test]
    fn bytes_that_are_no_characters_are_bounded_too() {
        let mut output = Output::default();
        for _ in 0..1000 {
            output.write(&[0x80; 4096]);
        }
        assert!(output.head.len() + output.tail.len() <= 3 * TAIL_BYTES);
        assert!(output.text().chars().count() <= 50_000);
    }

    #[test]
    fn what_is_new_comes_once() {
        let mut output = Output::default();
        output.write(b"one\n");
        assert_eq!(output.take_new(), "one");
        assert_eq!(output.take_new(), "");
        output.write(b"two\n3\xc3");
        assert_eq!(output.take_new(), "two\n3");
        output.write(b"\xa9");
        assert_eq!(output.take_new(), "\u{e9}");
        output.write(&vec![b'x'; 1_000_000]);
        output.write(b"end");
        let new = output.take_new();
        assert!(new.ends_with("xend") && new.contains("left out") && new.len() < 51_000);
    }
}
