//! Halves of surrogate pairs in JSON text. Pure.
//!
//! JSON may write a character beyond U+FFFF as two escapes (RFC 8259, 7). A server that cuts its texts by UTF-16
//! units leaves a half at the end of one and the other half at the beginning of the next. `serde_json` refuses both.

use memchr::memchr;

/// The length of an escape, as in `\ud83d`.
const ESCAPE: usize = 6;

/// An escape that is a half of a pair whose other half is missing.
struct Half {
    at: usize,
    is_first: bool,
}

/// Returns the text with U+FFFD in the place of each half.
pub fn repaired(json: &str) -> String {
    let mut text = json.to_owned();
    for half in halves(json) {
        text.replace_range(half.at..half.at + ESCAPE, "\\ufffd");
    }
    text
}

/// Whether a string in the text ends with the first half of a pair, which the next text may complete.
pub fn is_unfinished(json: &str) -> bool {
    last_first_half(json).is_some()
}

/// Moves the first half at the end of a string in `before` to the second half at the beginning of one in `after`.
/// Returns the two texts, or None if there are no such halves.
pub fn joined(before: &str, after: &str) -> Option<(String, String)> {
    let first = last_first_half(before)?;
    let second = halves(after).into_iter().find(|half| !half.is_first && begins_string(after, half.at))?.at;
    let (mut before, mut after) = (before.to_owned(), after.to_owned());
    let escape: String = before.drain(first..first + ESCAPE).collect();
    after.insert_str(second, &escape);
    Some((before, after))
}

/// Where the last half is that ends a string and is the first one of its pair.
fn last_first_half(json: &str) -> Option<usize> {
    let ends_string = |half: &Half| json[half.at + ESCAPE..].starts_with('"');
    halves(json).into_iter().rfind(|half| half.is_first && ends_string(half)).map(|half| half.at)
}

/// Whether the string begins here: after a quote that is not escaped.
fn begins_string(json: &str, at: usize) -> bool {
    json[..at].strip_suffix('"').is_some_and(|before| !before.ends_with('\\'))
}

fn halves(json: &str) -> Vec<Half> {
    let bytes = json.as_bytes();
    let (mut halves, mut at) = (Vec::new(), 0);
    while let Some(step) = bytes.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += step;
        let (unit, next) = (unit(&bytes[at..]), bytes.get(at + ESCAPE..).and_then(unit));
        match unit {
            Some(0xd800..0xdc00) if matches!(next, Some(0xdc00..0xe000)) => at += 2 * ESCAPE,
            Some(unit @ 0xd800..0xe000) => {
                halves.push(Half { at, is_first: unit < 0xdc00 });
                at += ESCAPE;
            }
            Some(_) => at += ESCAPE,
            // Another escape, as in `\\`.
            None => at += 2,
        }
    }
    halves
}

/// The UTF-16 unit that an escape at the beginning of the bytes stands for.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_are_replaced() {
        for (json, expected) in [
            (r#""a\ud83db""#, r#""a\ufffdb""#),
            (r#""\ude00\uD83D""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\\ud83d \\\ud83d""#, r#""\\ud83d \\\ufffd""#),
            (r#""é\u00e9\n\"""#, r#""é\u00e9\n\"""#),
            (r"\ud8", r"\ud8"),
            (r"\ud83d\", r"\ufffd\"),
            ("", ""),
        ] {
            assert_eq!(repaired(json), expected);
        }
    }

    #[test]
    fn the_halves_of_two_texts_are_joined() {
        let join = |before, after| joined(before, after);
        let pair = |before: &str, after: &str| Some((before.to_owned(), after.to_owned()));
        assert_eq!(
            join(r#"{"t":"a\ud83d"}"#, r#"{"t":"\ude00b"}"#),
            pair(r#"{"t":"a"}"#, r#"{"t":"\ud83d\ude00b"}"#)
        );
        assert_eq!(join(r#"{"t":"a\ud83d"}"#, r#"{"t":"b\ude00"}"#), None);
        assert_eq!(join(r#"{"t":"\ud83da"}"#, r#"{"t":"\ude00b"}"#), None);
        assert_eq!(join(r#"{"t":"\ud83d"}"#, r#"{"t":"\"\ude00"}"#), None);
        assert!(
            is_unfinished(r#""\ud83d""#) && !is_unfinished(r#""\ude00""#) && !is_unfinished(r#""\\ud83d""#)
        );
    }
}
