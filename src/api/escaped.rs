//! Text as it stands between the quotes of a JSON string (RFC 8259, 7). Pure.
//!
//! A reply's text comes so, and so it goes into the history: it is read where somebody wants to see it.

use std::ops::Range;

/// A part of a text.
#[derive(Debug, PartialEq)]
pub enum Piece<'a> {
    /// It stands for itself.
    Plain(&'a str),
    /// What an escape stands for.
    Character(char),
}

/// The escaped form of `text`.
pub fn escape(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a text has JSON text");
    quoted[1..quoted.len() - 1].to_owned()
}

/// Appends what `escaped` stands for.
pub fn unescape(escaped: &str, text: &mut String) {
    Pieces { rest: escaped }.for_each(|piece| piece.with(&mut |piece| text.push_str(piece)));
}

/// Whether there is nothing but white space.
pub fn is_blank(escaped: &str) -> bool {
    let mut pieces = Pieces { rest: escaped };
    pieces.all(|piece| match piece {
        Piece::Plain(text) => text.trim_start().is_empty(),
        Piece::Character(c) => c.is_whitespace(),
    })
}

/// Where the text without the white space around it stands in `escaped`. None when there is nothing else.
pub fn trimmed(escaped: &str) -> Option<Range<usize>> {
    let mut pieces = Pieces { rest: escaped };
    let mut found: Option<Range<usize>> = None;
    let mut at = 0;
    while let Some(piece) = pieces.next() {
        let next = escaped.len() - pieces.rest.len();
        let (start, end) = match piece {
            Piece::Plain(text) => (next - text.trim_start().len(), at + text.trim_end().len()),
            Piece::Character(c) if c.is_whitespace() => (next, at),
            Piece::Character(_) => (at, next),
        };
        if start < end {
            found.get_or_insert(start..end).end = end;
        }
        at = next;
    }
    found
}

/// The parts of an escaped text.
pub struct Pieces<'a> {
    pub rest: &'a str,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let end = memchr::memchr(b'\\', self.rest.as_bytes()).unwrap_or(self.rest.len());
        if end > 0 {
            let (plain, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(Piece::Plain(plain));
        }
        let escape = self.rest.as_bytes().get(1)?;
        let (character, length) = match simple(*escape) {
            Some(character) => (character, 2),
            // Half a pair does not come here: what has one is no JSON for serde_json.
            None => (by_number(self.rest), "\\u0000".len()),
        };
        self.rest = self.rest.get(length..).unwrap_or_default();
        Some(Piece::Character(character))
    }
}

impl Piece<'_> {
    /// Hands its text on.
    pub fn with(&self, each: &mut dyn FnMut(&str)) {
        match self {
            Piece::Plain(text) => each(text),
            Piece::Character(c) => each(c.encode_utf8(&mut [0; 4])),
        }
    }
}

/// The character that a backslash and this byte stand for.
pub fn simple(escape: u8) -> Option<char> {
    let character = match escape {
        b'n' => '\n',
        b'"' => '"',
        b'\\' => '\\',
        b't' => '\t',
        b'/' => '/',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        _ => return None,
    };
    Some(character)
}

/// The character of `\u` and four digits.
fn by_number(escape: &str) -> char {
    let number = escape.get(2..6).map(|digits| u32::from_str_radix(digits, 16));
    let character = number.and_then(|number| char::from_u32(number.ok()?));
    character.unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_out_as_it_went_in() {
        let all: String = ('\0'..'\u{300}').chain("\u{1f980}\\n\\u0041".chars()).collect();
        for text in ["", "\\", "\\\\n\n", "a\"b", " \n x \n", &all] {
            let mut read = String::new();
            unescape(&escape(text), &mut read);
            assert_eq!(read, text);
        }
        let mut read = String::new();
        unescape(r"\/A\u00e9\u", &mut read);
        assert_eq!(read, "/A\u{e9}\u{fffd}");
    }

    #[test]
    fn white_space_is_found_however_it_is_written() {
        for text in ["", " ", "\n \t", "a", " a", "a\u{a0}\u{2003}", "\n a\\n b\n \r", "\\n", " \u{1} "] {
            let escaped = escape(text);
            let place = trimmed(&escaped);
            assert_eq!(place.is_none(), text.trim().is_empty(), "{text:?}");
            assert_eq!(is_blank(&escaped), place.is_none(), "{text:?}");
            assert_eq!(escaped[place.unwrap_or_default()], escape(text.trim()), "{text:?}");
        }
        assert_eq!(trimmed(r"\u0020\u00a0x\u0020"), Some(12..13));
    }
}
