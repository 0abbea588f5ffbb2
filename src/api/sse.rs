//! Decodes server-sent events: from bytes, cut anywhere, to the name and the data of each event. Pure.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

use std::borrow::Cow;

#[derive(Default)]
pub struct Decoder {
    /// The bytes after the last complete line.
    rest: Vec<u8>,
    /// What the field `event` says. Empty if there is none.
    name: String,
    data: String,
    has_data: bool,
    /// The last line ended with a carriage return: a line feed right after it is part of the same line end.
    after_return: bool,
    started: bool,
}

impl Decoder {
    /// Takes the next bytes and calls `each` with the name and the data of every event that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str, &str)) {
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, ending) = (&bytes[..end], bytes[end]);
            let second_half = ending == b'\n' && self.after_return && line.is_empty() && self.rest.is_empty();
            self.after_return = ending == b'\r';
            if self.rest.is_empty() && !second_half {
                self.line(line, &mut each);
            } else if !second_half {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole, &mut each);
            }
            bytes = &bytes[end + 1..];
        }
        self.rest.extend_from_slice(bytes);
    }

    /// Ends the stream. An event that lacks only its empty line still counts.
    pub fn finish(&mut self, mut each: impl FnMut(&str, &str)) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.line(&rest, &mut each);
        }
        self.line(b"", &mut each);
    }

    fn line(&mut self, line: &[u8], each: &mut impl FnMut(&str, &str)) {
        let line = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(after_mark) if !self.started => after_mark,
            _ => line,
        };
        self.started = true;
        if line.is_empty() {
            return self.dispatch(each);
        }
        // Ignores comments, and the fields `id`, `retry` and any unknown one.
        if let Some(value) = value_of("data", line) {
            if self.has_data {
                self.data.push('\n');
            }
            self.data.push_str(&decoded(value));
            self.has_data = true;
        } else if let Some(name) = value_of("event", line) {
            self.name.clear();
            self.name.push_str(&decoded(name));
        }
    }

    fn dispatch(&mut self, each: &mut impl FnMut(&str, &str)) {
        if self.has_data {
            each(&self.name, &self.data);
        }
        self.name.clear();
        self.data.clear();
        self.has_data = false;
    }
}

/// The bytes as text. This is faster than `from_utf8_lossy`, which goes from character to character.
fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// The value of a field. None if the line is something else.
fn value_of<'a>(field: &str, line: &'a [u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(field.as_bytes())?;
    match rest.strip_prefix(b":") {
        Some(value) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        None => rest.is_empty().then_some(rest),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<String> {
        let mut events = Vec::new();
        let mut decoder = Decoder::default();
        let mut each = |_: &str, data: &str| events.push(data.to_owned());
        for chunk in chunks {
            decoder.feed(chunk, &mut each);
        }
        decoder.finish(&mut each);
        events
    }

    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        let bytes = stream.as_bytes();
        assert_eq!(decode(&[bytes]), expected);
        for border in 0..bytes.len() {
            assert_eq!(decode(&[&bytes[..border], &bytes[border..]]), expected, "cut at {border}");
        }
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&bytewise), expected, "a byte at a time");
    }

    #[test]
    fn events_come_out_however_they_are_cut() {
        check("event: a\ndata: {\"é\":1}\n\n", &["{\"é\":1}"]);
        check("event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", &["1", "2"]);
        check("data: 1\r\rdata: 2\r\r", &["1", "2"]);
        check(": comment\ndata:1\ndata:  2\n\n", &["1\n 2"]);
        check("event: nothing\n\ndata: x\n\n", &["x"]);
        check("\u{feff}data: 1\n\n\n\ndata: last", &["1", "last"]);
        check("data\n\nid: 3\nretry: 1\n\n", &[""]);
        check("", &[]);
    }

    #[test]
    fn a_name_is_of_its_event_only() {
        let mut names = Vec::new();
        let stream = "event: a\ndata: 1\n\ndata: 2\n\nevent:b\n\ndata: 3\n\ndata: 4\nevent: x\nevent: c\n\n";
        Decoder::default().feed(stream.as_bytes(), |name, _| names.push(name.to_owned()));
        assert_eq!(names, ["a", "", "", "c"]);
    }

    const PIECES: [&str; 22] = [
        "data: ",
        "data:",
        "data",
        "event: ",
        "event:message_stop",
        "id: 1",
        "retry: 3",
        ": comment",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\r",
        "\r\n\r\n",
        "\u{feff}",
        "{\"a\":\"é\"}",
        "\u{1f980}",
        "\0",
        "x",
        "data: {\"type\":\"ping\"}\n\n",
    ];

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            9 => select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 1..4),
        ];
        vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    /// The events by the letter of the standard, line by line, with the whole stream at hand.
    fn by_the_standard(stream: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(stream);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut data) = (Vec::new(), Vec::new());
        // The last event of the API may lack its empty line; the standard would drop it.
        for line in text.split('\n').chain([""]) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            if line.is_empty() && !data.is_empty() {
                events.push(data.join("\n"));
                data.clear();
            } else if field == "data" {
                data.push(value.strip_prefix(' ').unwrap_or(value));
            }
        }
        events
    }

    proptest! {
        #[test]
        fn any_stream_gives_the_events_of_the_standard(stream in stream(), lengths in vec(0..24usize, 0..8)) {
            let expected = by_the_standard(&stream);
            assert_eq!(decode(&[&stream]), expected);
            let (mut pieces, mut rest) = (Vec::new(), stream.as_slice());
            for length in lengths {
                let (piece, after) = rest.split_at(length.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            assert_eq!(decode(&pieces), expected, "cut into {pieces:?}");
            // Lossy decoding turns a byte into three.
            let size: usize = expected.iter().map(String::len).sum();
            assert!(size <= 3 * stream.len());
        }
    }
}
