//! The events that come by the thousand: a piece of text, read without building a tree of its JSON. Pure.
//!
//! Only the usual form is read: the keys that are known, each once, in any order. Everything else, be it
//! wrong or merely uncommon, is None and left to the general way in `fold`, which decides what it means.

use super::escaped;

/// One more piece of a block.
#[derive(Debug, PartialEq)]
pub struct Delta<'a> {
    pub index: u64,
    pub kind: Kind,
    /// As it came, with its escapes.
    pub escaped: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Text,
    Input,
    Thinking,
}

impl Kind {
    fn from_name(name: &str) -> Option<Kind> {
        match name {
            "text_delta" => Some(Kind::Text),
            "input_json_delta" => Some(Kind::Input),
            "thinking_delta" => Some(Kind::Thinking),
            _ => None,
        }
    }

    /// The kind whose piece is in this field.
    fn from_field(name: &str) -> Option<Kind> {
        match name {
            "text" => Some(Kind::Text),
            "partial_json" => Some(Kind::Input),
            "thinking" => Some(Kind::Thinking),
            _ => None,
        }
    }
}

impl Delta<'_> {
    /// Reads an event's data.
    pub fn read(data: &str) -> Option<Delta<'_>> {
        let mut scanner = Scanner { data, at: 0 };
        let (mut event, mut index, mut piece) = (None, None, None);
        scanner.object(&mut |scanner, key| match key {
            "type" => scanner.string().and_then(|name| once(&mut event, name)),
            "index" => scanner.number().and_then(|number| once(&mut index, number)),
            "delta" => scanner.piece().and_then(|found| once(&mut piece, found)),
            _ => None,
        })?;
        let (kind, escaped) = piece?;
        let is_whole = scanner.skip_space() == data.len() && event? == "content_block_delta";
        // A control character must be escaped.
        let is_right = is_whole && escaped.bytes().all(|byte| byte >= b' ');
        is_right.then_some(Delta { index: index?, kind, escaped })
    }
}

/// What stands twice is not for this reader.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Reads JSON (RFC 8259) from a text; every function returns None at what it does not expect.
struct Scanner<'a> {
    data: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Calls `value` for each key, to read what belongs to it.
    fn object(&mut self, value: &mut dyn FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            value(self, key)?;
            if self.expect(b',').is_none() {
                return self.expect(b'}');
            }
        }
    }

    /// The object of a delta.
    fn piece(&mut self) -> Option<(Kind, &'a str)> {
        let (mut name, mut piece) = (None, None);
        self.object(&mut |scanner, key| match key {
            "type" => scanner.string().and_then(|found| once(&mut name, found)),
            field => {
                let kind = Kind::from_field(field)?;
                let text = scanner.string()?;
                once(&mut piece, (kind, text))
            }
        })?;
        let kind = Kind::from_name(name?);
        piece.filter(|(field, _)| Some(*field) == kind)
    }

    /// What stands between the quotes. No name that is known has an escape.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let rest = &self.data[self.at..];
        let mut end = 0;
        loop {
            end += memchr::memchr2(b'"', b'\\', &rest.as_bytes()[end..])?;
            if rest.as_bytes()[end] == b'"' {
                self.at += end + 1;
                return Some(&rest[..end]);
            }
            // Those by number are rare; `\/` goes into the history as everybody else writes it.
            let escape = *rest.as_bytes().get(end + 1)?;
            escaped::simple(escape).filter(|_| escape != b'/')?;
            end += 2;
        }
    }

    /// A whole number without a sign; the general way sees to what follows its digits, if anything does.
    fn number(&mut self) -> Option<u64> {
        let start = self.skip_space();
        let digits = self.data.as_bytes()[start..].iter().take_while(|byte| byte.is_ascii_digit());
        self.at += digits.count();
        let digits = &self.data[start..self.at];
        let has_zeros = digits.len() > 1 && digits.starts_with('0');
        digits.parse().ok().filter(|_| !has_zeros)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let is_at = |at| self.data.as_bytes().get(at) == Some(&byte);
        // There seldom is a space.
        let is_there = is_at(self.at) || is_at(self.skip_space());
        self.at += usize::from(is_there);
        is_there.then_some(())
    }

    fn skip_space(&mut self) -> usize {
        let bytes = self.data.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What `fold` would read in it.
    fn general(data: &str) -> Option<(u64, String)> {
        let event: Value = serde_json::from_str(data).ok()?;
        let text =
            ["text", "partial_json", "thinking"].iter().find_map(|field| event["delta"][field].as_str())?;
        Some((event["index"].as_u64()?, text.to_owned()))
    }

    #[track_caller]
    fn check(data: &str, is_read: bool) {
        let read = Delta::read(data).map(|delta| {
            let mut text = String::new();
            escaped::unescape(delta.escaped, &mut text);
            (delta.index, text)
        });
        assert_eq!(read.is_some(), is_read, "{data}");
        if is_read {
            assert_eq!(read, general(data), "{data}");
        }
    }

    const PLAIN: &str =
        r#"{"type":"content_block_delta","index":10,"delta":{"type":"text_delta","text":"a\"b\n"}}"#;

    #[test]
    fn the_usual_form_is_read_however_it_is_spelled() {
        check(PLAIN, true);
        check(&PLAIN.replace(':', " :\t ").replace(',', "\n ,\r"), true);
        check(&format!("  {PLAIN}  "), true);
        check(
            r#"{"delta":{"thinking":"é\u00e9","type":"thinking_delta"},"index":0,"type":"content_block_delta"}"#,
            false,
        );
        check(
            r#"{"delta":{"partial_json":"{\"a\": \"\\\\/\b\f\r\t\"}","type":"input_json_delta"},"index":0,"type":"content_block_delta"}"#,
            true,
        );
    }

    #[test]
    fn every_text_comes_out_as_it_went_in() {
        for text in ["", "\n", "\"", "\\", "\\n", "a\"b\\c\nd\te", "é\u{1f980}", "\u{7f}", "{\"text\":1}"] {
            for (kind, field) in
                [("text_delta", "text"), ("thinking_delta", "thinking"), ("input_json_delta", "partial_json")]
            {
                let delta = json!({"type": kind, field: text});
                let event = json!({"type": "content_block_delta", "index": 3, "delta": delta});
                check(&event.to_string(), true);
            }
        }
    }

    #[test]
    fn what_is_not_usual_or_not_json_is_left_alone() {
        let changes = [
            ("}}", "}"),
            ("}}", "}}}"),
            ("}}", ",}}"),
            ("10", "010"),
            ("10", "-1"),
            ("10", "1.5"),
            ("10", "1e1"),
            ("10", "99999999999999999999"),
            ("10", "\"1\""),
            ("10", "null"),
            ("10,", "10 "),
            ("\"index\":10,", ""),
            ("\"index\"", "\"index\":1,\"index\""),
            ("\"index\"", "\"more\":1,\"index\""),
            ("\"index\"", "index"),
            ("\"text\":", "\"more\":"),
            ("\"text\":", "\"thinking\":"),
            ("\"text\":", "\"text\":\"x\",\"text\":"),
            ("text_delta", "citations_delta"),
            ("content_block_delta", "content_block_start"),
            ("\\n", "\n"),
            ("\\n", "\\x"),
            ("\\n", "\\u000a"),
            ("\\n\"", "\\n"),
            (PLAIN, ""),
            (PLAIN, "[]"),
            (PLAIN, "{}"),
        ];
        for (from, to) in changes {
            assert!(PLAIN.contains(from), "{from}");
            check(&PLAIN.replacen(from, to, 1), false);
        }
        for end in 0..PLAIN.len() {
            check(&PLAIN[..end], false);
        }
    }
}
