//! How many tokens a request takes: what the server has counted, and an estimate of the rest. Pure.

use crate::api::message::Encoded;
use crate::api::reply::Usage;
use crate::api::request::Prefix;
use crate::text;

/// Lower than the average, so that the estimate is too high rather than too low.
const BYTES_PER_TOKEN: u64 = 3;

/// No text has so few tokens as one for so many bytes: a gateway that says so has not counted.
const MOST_BYTES_PER_TOKEN: u64 = 20;

/// What a picture takes at most, in tokens, whatever its size in bytes
/// (<https://docs.anthropic.com/en/docs/build-with-claude/vision>).
const PICTURE: u64 = 5_000;

/// Stands in a picture or a file before its data. In a text, the quotes would be escaped.
const DATA: &str = r#""type":"base64""#;

/// Measures the history of a session.
#[derive(Default)]
pub struct Measure {
    /// Of the prefix and the messages, see `size`.
    size: u64,
    /// What the server has counted, in tokens, and the size of what it counted.
    counted: Option<(u64, u64)>,
    /// What the last request and its reply took, in tokens, until the reply is in the history.
    request: Option<u64>,
}

impl Measure {
    /// Takes note of what a request and its reply took. Some gateways count nothing, or only the reply.
    pub fn used(&mut self, usage: &Usage) {
        let is_counted = [usage.input, usage.cache_read, usage.cache_write].iter().any(|count| *count > 0);
        let is_plausible = usage.context().saturating_mul(MOST_BYTES_PER_TOKEN) > self.size;
        self.request = (is_counted && is_plausible).then_some(usage.context());
    }

    /// Adds a message to the history; `is_reply` says that it is the reply to the last request.
    pub fn add(&mut self, message: &Encoded, is_reply: bool) {
        self.size += weight(message);
        if is_reply && let Some(tokens) = self.request.take() {
            self.counted = Some((tokens, self.size));
        }
    }

    /// Measures a history that was changed.
    pub fn change(&mut self, prefix: &Prefix, messages: &[Encoded]) {
        self.size = size(prefix, messages);
        // A reply that became part of the change is no longer in the history.
        self.request = None;
    }

    /// Forgets what was counted: it was of another history.
    pub fn forget(&mut self) {
        self.counted = None;
    }

    /// Takes note of what the server has counted for a request of this size, if that can be.
    pub fn counted(&mut self, tokens: u64, size: u64) {
        if tokens <= size {
            self.counted = Some((tokens, size));
        }
    }

    /// Returns how many tokens the history takes.
    pub fn tokens(&self) -> u64 {
        self.tokens_of(self.size)
    }

    /// Returns how many tokens a request of this size takes.
    pub fn tokens_of(&self, size: u64) -> u64 {
        let (tokens, counted) = self.counted.unwrap_or_default();
        if size < counted {
            let share = u128::from(tokens) * u128::from(size) / u128::from(counted);
            // No token is shorter than a byte.
            return size.min(share.try_into().unwrap_or(size));
        }
        tokens.saturating_add((size - counted) / BYTES_PER_TOKEN)
    }
}

/// Returns the size of a request in bytes, without the data of pictures.
pub fn size(prefix: &Prefix, messages: &[Encoded]) -> u64 {
    let before = prefix.system.len() + prefix.tools.len();
    before as u64 + messages.iter().map(weight).sum::<u64>()
}

/// Returns the size of a message in bytes. A picture counts as a text with as many tokens.
pub fn weight(message: &Encoded) -> u64 {
    let lengths = lengths(message, DATA);
    lengths.iter().fold(message.len() as u64, |weight, length| {
        weight.saturating_sub(*length as u64) + PICTURE * BYTES_PER_TOKEN
    })
}

/// Returns how much data follows each `begin` in a message, in bytes.
pub fn lengths(message: &Encoded, begin: &str) -> Vec<usize> {
    let text = message.as_str();
    let data = text::positions(text, begin).filter_map(|at| text[at..].split_once(r#""data":""#));
    data.filter_map(|(_, data)| memchr::memchr(b'"', data.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::message::{Block, Message};

    fn message(bytes: usize) -> Encoded {
        Message::user(vec![Block::text(&"x".repeat(bytes))]).encode()
    }

    fn usage(input: u64, output: u64) -> Usage {
        Usage { input, output, ..Usage::default() }
    }

    #[test]
    fn without_a_count_all_that_is_sent_is_estimated() {
        let prefix = Prefix { system: "s".repeat(600), tools: "t".repeat(300) };
        let mut measure = Measure::default();
        measure.change(&prefix, &[]);
        assert_eq!(measure.tokens(), 300);
        measure.add(&message(3000), false);
        measure.add(&message(3000), true);
        assert!((2300..2400).contains(&measure.tokens()), "{}", measure.tokens());
    }

    #[test]
    fn a_count_of_the_server_corrects_the_estimate() {
        let mut measure = Measure::default();
        measure.add(&message(3000), false);
        measure.used(&usage(500, 100));
        measure.add(&message(300), true);
        assert_eq!(measure.tokens(), 600);
        measure.add(&message(30_000), false);
        assert!((10_600..10_700).contains(&measure.tokens()), "{}", measure.tokens());
        // What is left of it has its share.
        measure.change(&Prefix::default(), &[message(1630)]);
        assert!((290..310).contains(&measure.tokens()), "{}", measure.tokens());
    }

    #[test]
    fn a_gateway_that_does_not_count_is_not_believed() {
        for nothing in [usage(0, 0), usage(0, 500), usage(10, 20)] {
            let mut measure = Measure::default();
            measure.add(&message(30_000), false);
            measure.used(&nothing);
            measure.add(&message(30), true);
            assert!(measure.tokens() > 10_000, "{nothing:?}: {}", measure.tokens());
        }
    }

    #[test]
    fn what_a_refusal_counts_is_believed_up_to_a_token_a_byte() {
        let mut measure = Measure::default();
        measure.counted(500, 3000);
        assert_eq!(measure.tokens_of(3000), 500);
        measure.counted(208_310, 3000);
        assert_eq!(measure.tokens_of(3000), 500);
    }

    #[test]
    fn a_picture_takes_the_same_whatever_its_size() {
        let picture = |data: &str| {
            let json = format!(
                r#"{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}]}}"#
            );
            Message::from_json(&json).unwrap().encode()
        };
        let (small, large) = (picture("aGk="), picture(&"A".repeat(3_000_000)));
        assert_eq!(weight(&small), weight(&large));
        assert!((15_000..15_200).contains(&weight(&large)), "{}", weight(&large));
        let text = Message::user(vec![Block::text(r#""type":"base64","data":"AAAA""#)]).encode();
        assert_eq!(weight(&text), text.len() as u64);
    }
}
