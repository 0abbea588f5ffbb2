//! Turns bytes from a terminal in raw mode into keys. Pure.
//!
//! The sequences are those of xterm, which other terminals follow (ctlseqs, "PC-Style Function Keys" and "Bracketed
//! Paste Mode").

const PASTE_START: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// Anything longer is not the sequence of a key.
const LONGEST: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    Char(char),
    Enter,
    /// Alt-Enter, for a new line in the text.
    Newline,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
    WordLeft,
    WordRight,
    /// Ctrl with this letter.
    Control(char),
    Alt(char),
    Escape,
    /// A pasted text; its lines end with line feeds.
    Paste(String),
    /// A key that does nothing.
    Other,
}

/// Takes bytes in pieces of any size.
#[derive(Default)]
pub struct Keys {
    bytes: Vec<u8>,
    /// How many bytes of a paste have been searched for its end.
    searched: usize,
}

impl Keys {
    /// Adds bytes. Returns the keys that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.bytes.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some((key, length)) = self.first() {
            self.bytes.drain(..length);
            self.searched = 0;
            keys.push(key);
        }
        keys
    }

    /// Whether more bytes may complete a sequence.
    pub fn is_waiting(&self) -> bool {
        !self.bytes.is_empty() && !self.bytes.starts_with(PASTE_START)
    }

    /// Ends a sequence that no more bytes have completed: an escape alone is the Escape key.
    pub fn flush(&mut self) -> Option<Key> {
        let is_escape = self.is_waiting() && std::mem::take(&mut self.bytes) == [0x1b];
        is_escape.then_some(Key::Escape)
    }

    /// The first key, and how many bytes it takes; None while it is not complete.
    fn first(&mut self) -> Option<(Key, usize)> {
        let key = match *self.bytes.first()? {
            0x1b => return self.escape(),
            b'\r' | b'\n' => Key::Enter,
            b'\t' => Key::Tab,
            0x7f | 0x08 => Key::Backspace,
            control @ 0..0x20 => Key::Control((control | 0x60) as char),
            _ => return character(&self.bytes),
        };
        Some((key, 1))
    }

    fn paste(&mut self) -> Option<(Key, usize)> {
        let from = self.searched.saturating_sub(PASTE_END.len());
        self.searched = self.bytes.len();
        let mut escapes = memchr::memchr_iter(0x1b, &self.bytes[from..]).map(|at| from + at);
        let end = escapes.find(|at| self.bytes[*at..].starts_with(PASTE_END))?;
        let text = String::from_utf8_lossy(&self.bytes[PASTE_START.len()..end]);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        Some((Key::Paste(text), end + PASTE_END.len()))
    }

    fn escape(&mut self) -> Option<(Key, usize)> {
        let key = match *self.bytes.get(1)? {
            b'[' => return self.sequence(),
            b'O' => return Some((named("", *self.bytes.get(2)?), 3)),
            b'\r' | b'\n' => Key::Newline,
            0x7f | 0x08 => Key::Control('w'),
            byte @ 0x20..0x7f => Key::Alt(byte as char),
            _ => return Some((Key::Escape, 1)),
        };
        Some((key, 2))
    }

    /// `ESC [`, parameters, a final byte.
    fn sequence(&mut self) -> Option<(Key, usize)> {
        if self.bytes.starts_with(PASTE_START) {
            return self.paste();
        }
        let rest = &self.bytes[2..];
        let Some(end) = rest.iter().position(|byte| (0x40..0x7f).contains(byte)) else {
            return (rest.len() > LONGEST).then_some((Key::Other, self.bytes.len()));
        };
        let parameters = String::from_utf8_lossy(&rest[..end]);
        Some((named(&parameters, rest[end]), end + 3))
    }
}

fn named(parameters: &str, last: u8) -> Key {
    let has_modifier = parameters.contains(';');
    match (parameters, last) {
        (_, b'A') => Key::Up,
        (_, b'B') => Key::Down,
        (_, b'C') if has_modifier => Key::WordRight,
        (_, b'D') if has_modifier => Key::WordLeft,
        (_, b'C') => Key::Right,
        (_, b'D') => Key::Left,
        (_, b'H') | ("1" | "7", b'~') => Key::Home,
        (_, b'F') | ("4" | "8", b'~') => Key::End,
        ("3", b'~') => Key::Delete,
        _ => Key::Other,
    }
}

/// A UTF-8 character, or bytes that are not UTF-8.
fn character(bytes: &[u8]) -> Option<(Key, usize)> {
    let chunk = bytes.utf8_chunks().next()?;
    if let Some(c) = chunk.valid().chars().next() {
        return Some((Key::Char(c), c.len_utf8()));
    }
    let invalid = chunk.invalid();
    let is_unfinished = std::str::from_utf8(invalid).is_err_and(|err| err.error_len().is_none());
    if is_unfinished && invalid.len() == bytes.len() {
        return None;
    }
    Some((Key::Char('\u{fffd}'), invalid.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &[Key]) {
        let mut keys = Keys::default();
        let mut found = keys.push(bytes);
        found.extend(keys.flush());
        assert_eq!(found, expected, "{bytes:?}");
        let mut keys = Keys::default();
        let mut found: Vec<Key> = bytes.iter().flat_map(|byte| keys.push(&[*byte])).collect();
        found.extend(keys.flush());
        assert_eq!(found, expected, "a byte at a time: {bytes:?}");
    }

    #[test]
    fn bytes_are_keys() {
        check("aü\u{1f980}".as_bytes(), &[Key::Char('a'), Key::Char('ü'), Key::Char('\u{1f980}')]);
        check(b"\r\n\t\x7f", &[Key::Enter, Key::Enter, Key::Tab, Key::Backspace]);
        check(b"\x01\x03\x1b\rx", &[Key::Control('a'), Key::Control('c'), Key::Newline, Key::Char('x')]);
        check(
            b"\x1b[A\x1bOB\x1b[1;5C\x1b[3~\x1b[H",
            &[Key::Up, Key::Down, Key::WordRight, Key::Delete, Key::Home],
        );
        check(b"\x1bb\x1b", &[Key::Alt('b'), Key::Escape]);
        check(b"\xffa\x1b[99;9~", &[Key::Char('\u{fffd}'), Key::Char('a'), Key::Other]);
        check(b"\x1b[200~a\r\nb\x1b[A\rc\x1b[201~d", &[Key::Paste("a\nb\x1b[A\nc".into()), Key::Char('d')]);
    }

    #[test]
    fn a_paste_may_pause() {
        let mut keys = Keys::default();
        assert_eq!(keys.push(b"\x1b[200~one"), []);
        assert_eq!(keys.flush(), None);
        assert_eq!(keys.push(b" two\x1b[201~"), [Key::Paste("one two".into())]);
    }
}
