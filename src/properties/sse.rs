//! Server-sent events: any bytes, cut anywhere.

use super::{
    check,
    inputs::{bytes, chunks, damage, joined, once_in},
    random::Random,
};
use crate::api::sse::Decoder;

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

type Events = Vec<String>;

fn decode(chunks: &[&[u8]]) -> Events {
    let mut events = Vec::new();
    let mut decoder = Decoder::default();
    let mut each = |data: &str| events.push(data.to_owned());
    for chunk in chunks {
        let fed = decoder.feed(chunk, &mut each);
        fed.expect("it is shorter than the longest event");
    }
    decoder.finish(&mut each);
    events
}

/// The same by the letter of the standard, line for line and with the whole stream at hand.
fn by_the_standard(stream: &[u8]) -> Events {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut data) = (Vec::new(), Vec::new());
    // The API's last event may lack its empty line: here the standard would drop it.
    for line in text.split('\n').chain([""]) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            _ if line.is_empty() => {
                if !data.is_empty() {
                    events.push(data.join("\n"));
                }
                data.clear();
            }
            "data" => data.push(value),
            _ => {}
        }
    }
    events
}

fn stream(random: &mut Random) -> Vec<u8> {
    if once_in(random, 8) {
        return bytes(random, 64);
    }
    let mut stream = joined(random, &PIECES, 40).into_bytes();
    if once_in(random, 2) {
        damage(random, &mut stream, &PIECES, 4);
    }
    stream
}

#[test]
fn a_split_stream_gives_the_same_events() {
    check("a_split_stream_gives_the_same_events", 1500, |random| {
        let stream = stream(random);
        let whole = decode(&[&stream]);
        assert_eq!(whole, by_the_standard(&stream), "{:?}", stream.escape_ascii());
        let chunks = chunks(random, &stream);
        assert_eq!(decode(&chunks), whole, "{:?}", stream.escape_ascii());
        // Lossy decoding makes three bytes of one.
        let size: usize = whole.iter().map(String::len).sum();
        assert!(size <= 3 * stream.len());
    });
}

#[test]
fn an_event_grows_no_further_than_its_bound() {
    check("an_event_grows_no_further_than_its_bound", 1, |random| {
        const MEBIBYTE: usize = 1024 * 1024;
        // A line that does not end, whatever it holds, or data of many lines.
        let cases =
            [("data: ", ""), ("event: ", ""), (": ", ""), ("", ""), ("data: ", "\n"), ("data:", "\r\n")];
        let (start, end) = cases[random.below(6) as usize];
        let line = start.to_owned() + &"x".repeat(MEBIBYTE);
        let mut decoder = Decoder::default();
        let mut largest = 0;
        let mut each = |data: &str| largest = largest.max(data.len());
        let mut feed = |text: &str| decoder.feed(text.as_bytes(), &mut each);
        let refused = (0..66).find(|_| feed(&line).and_then(|()| feed(end)).is_err());
        assert!(refused.is_some(), "{start:?}, {end:?}");
        decoder.finish(|data| largest = largest.max(data.len()));
        assert!(largest <= 66 * MEBIBYTE, "an event of {largest} bytes");
    });
}
