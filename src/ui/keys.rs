//! Bytes from a terminal in raw mode to keys. Pure.
//!
//! The sequences are those of xterm, which others follow (ctlseqs, "PC-Style Function Keys" and "Bracketed Paste Mode").

const PASTE_END: &[u8] = b"\x1b[201~";

/// No sequence of a key is longer; what is, is none.
const LONGEST: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    Char(char),
    Enter,
    /// Alt and Enter: a new line in the text.
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
    /// With its letter.
    Control(char),
    Alt(char),
    Escape,
    /// As one text, with line feeds.
    Paste(String),
    /// A key that means nothing here.
    Other,
}

/// Takes bytes as they come, wherever they are cut.
#[derive(Default)]
pub struct Keys {
    bytes: Vec<u8>,
    is_pasting: bool,
    /// How far a paste was looked through for its end.
    searched: usize,
}

impl Keys {
    /// The keys that are complete with these bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.bytes.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some((key, length)) = self.first() {
            self.bytes.drain(..length);
            self.searched = 0;
            keys.extend(key);
        }
        keys
    }

    /// Whether a sequence has begun that more bytes may complete.
    pub fn is_waiting(&self) -> bool {
        !self.bytes.is_empty() && !self.is_pasting
    }

    /// Nothing more came: what has begun was no sequence, but the escape key.
    pub fn flush(&mut self) -> Vec<Key> {
        let rest = std::mem::take(&mut self.bytes);
        match rest.split_first() {
            Some((0x1b, [])) => vec![Key::Escape],
            _ => Vec::new(),
        }
    }

    /// The first key and how many bytes it takes; None as long as it is not complete.
    fn first(&mut self) -> Option<(Option<Key>, usize)> {
        if self.is_pasting {
            let from = self.searched.saturating_sub(PASTE_END.len());
            self.searched = self.bytes.len();
            let ends_at = |at: &usize| self.bytes[*at..].starts_with(PASTE_END);
            let mut escapes = memchr::memchr_iter(0x1b, &self.bytes[from..]).map(|at| from + at);
            let at = escapes.find(ends_at)?;
            self.is_pasting = false;
            let text = String::from_utf8_lossy(&self.bytes[..at]);
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            return Some((Some(Key::Paste(text)), at + PASTE_END.len()));
        }
        let key = match *self.bytes.first()? {
            0x1b => return self.escape(),
            b'\r' | b'\n' => Key::Enter,
            b'\t' => Key::Tab,
            0x7f | 0x08 => Key::Backspace,
            control @ 0..0x20 => Key::Control((control | 0x60) as char),
            _ => return character(&self.bytes),
        };
        Some((Some(key), 1))
    }

    fn escape(&mut self) -> Option<(Option<Key>, usize)> {
        let key = match *self.bytes.get(1)? {
            b'[' => return self.sequence(),
            b'O' => return Some((Some(named("", *self.bytes.get(2)?)), 3)),
            b'\r' | b'\n' => Key::Newline,
            0x1b => return Some((Some(Key::Escape), 1)),
            0x7f | 0x08 => Key::Control('w'),
            byte @ 0x20..0x7f => Key::Alt(byte as char),
            _ => return Some((Some(Key::Escape), 1)),
        };
        Some((Some(key), 2))
    }

    /// `ESC [`, parameters, a final byte.
    fn sequence(&mut self) -> Option<(Option<Key>, usize)> {
        let rest = &self.bytes[2..];
        let Some(end) = rest.iter().position(|byte| (0x40..0x7f).contains(byte)) else {
            let is_none = rest.len() > LONGEST;
            return is_none.then_some((Some(Key::Other), rest.len() + 2));
        };
        let parameters = String::from_utf8_lossy(&rest[..end]);
        let key = match (&*parameters, rest[end]) {
            ("200", b'~') => {
                self.is_pasting = true;
                return Some((None, end + 3));
            }
            (parameters, last) => named(parameters, last),
        };
        Some((Some(key), end + 3))
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

/// A character of UTF-8, or a byte that begins none.
fn character(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let chunk = bytes.utf8_chunks().next()?;
    if let Some(c) = chunk.valid().chars().next() {
        return Some((Some(Key::Char(c)), c.len_utf8()));
    }
    let invalid = chunk.invalid();
    let is_unfinished = std::str::from_utf8(invalid).is_err_and(|err| err.error_len().is_none());
    match is_unfinished && invalid.len() == bytes.len() {
        true => None,
        false => Some((Some(Key::Char('\u{fffd}')), invalid.len())),
    }
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
}
