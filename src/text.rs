//! Cuts text for the model and cleans it for the terminal. Pure.
//!
//! Every count is in characters (Unicode scalar values), and no cut splits one.

use std::{borrow::Cow, time::Duration};

/// The first `limit` characters of `text`.
pub fn first(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).map_or(text, |(end, _)| &text[..end])
}

/// The last `limit` characters of `text`.
pub fn last(text: &str, limit: usize) -> &str {
    text.char_indices().rev().take(limit).last().map_or("", |(start, _)| &text[start..])
}

/// Where `needle`, which is not empty, is in `text`. Its first byte is looked for at the speed of memory, so it should
/// be a rare one.
pub fn positions<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    let (text, needle) = (text.as_bytes(), needle.as_bytes());
    memchr::memchr_iter(needle[0], text).filter(|at| text[*at..].starts_with(needle))
}

/// The first `limit` characters of `text`, on one line.
pub fn one_line(text: &str, limit: usize) -> String {
    first(text, limit).replace(['\n', '\r', '\t'], " ")
}

/// The head and the tail of `text`, `limit` characters together, with a line between them that counts the rest.
/// Returns a text that is not longer than `limit` as it is.
pub fn head_and_tail(text: &str, limit: usize) -> Cow<'_, str> {
    let count = text.chars().count();
    if count <= limit {
        return Cow::Borrowed(text);
    }
    let head = first(text, limit / 2);
    let tail = last(text, limit - limit / 2);
    Cow::Owned(format!("{head}\n{}\n{tail}", left_out(count as u64 - limit as u64)))
}

/// The line that replaces so many characters.
pub fn left_out(characters: u64) -> String {
    format!("... ({characters} characters left out) ...")
}

/// Text that can't move the cursor, set the title or hide other text: control characters (except line feeds and tabs) and
/// bidirectional overrides are written as `\u{..}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, false, obeyed_by_terminals)
}

/// The same JSON value without characters that a terminal obeys. It is one line even for readers that end lines at other
/// characters than line feeds (Python's `splitlines`).
pub fn visible_json(json: &str) -> Cow<'_, str> {
    let ends_line = |c| matches!(c, '\u{2028}' | '\u{2029}');
    escaped(json, true, |c| obeyed_by_terminals(c) || ends_line(c))
}

fn escaped(text: &str, is_json: bool, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Most text is ASCII, which is faster to check by bytes.
    let is_plain = |byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
    if text.bytes().all(is_plain) || !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let code = c as u32;
        if !is_escaped(c) {
            shown.push(c);
        } else if is_json {
            // None of them needs more than the four digits of JSON.
            shown.push_str(&format!("\\u{code:04x}"));
        } else {
            shown.push_str(&format!("\\u{{{code:x}}}"));
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal would do something other than show the character.
pub fn obeyed_by_terminals(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // Bidirectional embeddings, overrides, isolates and marks: Unicode TR 36, 3.1 "Bidi spoofing".
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' => true,
        c => c.is_control(),
    }
}

/// An error message as one visible line, whatever a server put into it.
pub fn sentence(text: &str) -> String {
    visible(&text.replace(['\n', '\r', '\t'], " ")).into_owned()
}

/// A number of seconds without trailing zeros: `300`, `0.5`. Printing a float would add 26 KB of standard library.
pub fn seconds(time: Duration) -> String {
    let text = format!("{}.{:03}", time.as_secs(), time.subsec_millis());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration as people write it: `0.4 s`, `42 s`, `3 min 5 s`, `2 h 10 min`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..10 => {
            let tenths = (time.as_millis() + 50) / 100;
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        s @ 10..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_count_characters_and_split_none() {
        assert_eq!(first("äöü", 2), "äö");
        assert_eq!(first("äöü", 9), "äöü");
        assert_eq!(last("äöü", 2), "öü");
        assert_eq!(last("äöü", 9), "äöü");
        assert_eq!(last("äöü", 0), "");
        assert_eq!(head_and_tail("äöüß", 4), "äöüß");
        assert_eq!(head_and_tail("0123456789", 4), "01\n... (6 characters left out) ...\n89");
        assert_eq!(one_line("a\nb\tc", 4), "a b ");
        assert_eq!(positions("äxäxäx", "xäx").collect::<Vec<_>>(), [2, 5]);
    }

    #[test]
    fn controls_are_shown_not_obeyed() {
        assert_eq!(visible("plain ü\n\t"), "plain ü\n\t");
        assert_eq!(visible("\x1b]0;t\x07\r\u{202e}"), "\\u{1b}]0;t\\u{7}\\u{d}\\u{202e}");
    }

    #[test]
    fn seconds_have_no_more_digits_than_they_need() {
        for (milliseconds, expected) in [(300_000, "300"), (500, "0.5"), (1001, "1.001"), (0, "0")] {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn durations_read_well() {
        let cases =
            [(0.42, "0.4 s"), (9.96, "10.0 s"), (42.9, "42 s"), (185.0, "3 min 5 s"), (7800.0, "2 h 10 min")];
        for (seconds, expected) in cases {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), expected);
        }
    }
}
