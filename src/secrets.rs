//! The credentials, and the one place that takes them out of what is sent, shown or kept.
//!
//! The longest stands first: where one secret begins like another, nothing of the longer one is left. `config` makes
//! the list; a key that a command prints later is added before it is used.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// What replaces a secret.
const MASK: &str = "[credential]";

/// Some local servers accept any word as a key. A shorter value is no secret, and could be part of any text.
const SHORTEST: usize = 12;

/// The values that must not appear in what is sent or kept. All clones share one list.
#[derive(Clone, Default)]
pub struct Secrets(Arc<RwLock<Vec<String>>>);

impl Secrets {
    /// Ignores values of fewer than 12 bytes.
    pub fn new(values: Vec<String>) -> Secrets {
        let secrets = Secrets::default();
        values.into_iter().for_each(|value| secrets.add(value));
        secrets
    }

    /// From now on this value is masked too. Ignores one of fewer than 12 bytes.
    pub fn add(&self, value: String) {
        let mut values = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if value.len() >= SHORTEST && !values.contains(&value) {
            values.push(value);
            values.sort_unstable_by_key(|value| Reverse(value.len()));
        }
    }

    fn values(&self) -> RwLockReadGuard<'_, Vec<String>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// `text` with every secret in it replaced. Copies it only if there is one.
    pub fn mask<'a>(&self, text: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
        let mut text = text.into();
        for secret in self.values().iter() {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), MASK));
            }
        }
        text
    }

    /// Masks bytes that arrive in pieces.
    pub fn stream(&self) -> MaskStream {
        MaskStream { secrets: self.clone(), held: Vec::new() }
    }

    /// The position and the length of the first secret in `bytes`.
    fn find(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let values = self.values();
        let found = values.iter().filter_map(|secret| Some((position(bytes, secret)?, secret.len())));
        found.min_by_key(|(at, _)| *at)
    }

    /// How many bytes at the end of `bytes` may be the beginning of a secret.
    fn unfinished(&self, bytes: &[u8]) -> usize {
        let values = self.values();
        let longest = values.first().map_or(1, String::len);
        let begins = |n: &usize| {
            let end = &bytes[bytes.len() - n..];
            values.iter().any(|secret| secret.len() > *n && secret.as_bytes().starts_with(end))
        };
        (1..longest.min(bytes.len() + 1)).rev().find(begins).unwrap_or(0)
    }
}

/// Masks a stream of bytes, however it is cut: holds back what may be the beginning of a secret until the
/// next bytes arrive.
pub struct MaskStream {
    secrets: Secrets,
    held: Vec<u8>,
}

impl MaskStream {
    /// Passes the next bytes to `sink`, in pieces.
    pub fn pass(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        if self.held.is_empty() {
            return self.clean(bytes, sink);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(bytes);
        self.clean(&joined, sink);
    }

    /// Passes on what was held back. Call it when the stream has ended.
    pub fn end(&mut self, sink: &mut dyn FnMut(&[u8])) {
        sink(&std::mem::take(&mut self.held));
    }

    fn clean(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        while let Some((at, length)) = self.secrets.find(bytes) {
            sink(&bytes[..at]);
            sink(MASK.as_bytes());
            bytes = &bytes[at + length..];
        }
        let (clear, open) = bytes.split_at(bytes.len() - self.secrets.unfinished(bytes));
        sink(clear);
        self.held = open.to_vec();
    }
}

/// Searches for the last byte: keys have a common beginning and a random end.
fn position(bytes: &[u8], secret: &str) -> Option<usize> {
    let secret = secret.as_bytes();
    let (last, _) = secret.split_last()?;
    let mut ends = memchr::memchr_iter(*last, bytes);
    ends.find_map(|end| bytes[..=end].ends_with(secret).then(|| end + 1 - secret.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        Secrets::new(values.iter().map(|value| value.to_string()).collect())
    }

    #[test]
    fn a_secret_is_masked_however_the_stream_is_cut() {
        let text = b"a secret-of-mine, secret-of-secret-of-mine; sec";
        for size in 1..=text.len() {
            let mut mask = secrets(&["secret-of-mine"]).stream();
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                mask.pass(piece, &mut |bytes| seen.extend_from_slice(bytes));
            }
            mask.end(&mut |bytes| seen.extend_from_slice(bytes));
            let seen = String::from_utf8(seen).unwrap();
            assert_eq!(seen, "a [credential], secret-of-[credential]; sec", "{size}");
        }
    }

    #[test]
    fn without_a_secret_nothing_is_held_back() {
        let mut seen = 0;
        secrets(&[]).stream().pass(b"abc", &mut |bytes| seen += bytes.len());
        assert_eq!(seen, 3);
    }

    #[test]
    fn the_longest_secret_is_masked_first_and_a_short_one_not_at_all() {
        let secrets = secrets(&["a-key-of-some-length", "a-key-of-some-length-and-more", "test-key"]);
        let masked = secrets.mask("a-key-of-some-length-and-more, a-key-of-some-length, test-key");
        assert_eq!(masked, "[credential], [credential], test-key");
        assert!(matches!(secrets.mask("nothing"), Cow::Borrowed("nothing")));
    }

    #[test]
    fn a_secret_that_is_added_later_is_masked_everywhere() {
        let secrets = secrets(&[]);
        let mut stream = secrets.stream();
        secrets.clone().add("a-key-of-some-length".into());
        assert_eq!(secrets.mask("<a-key-of-some-length>"), "<[credential]>");
        let mut seen = Vec::new();
        stream.pass(b"<a-key-of-some-length>", &mut |bytes| seen.extend_from_slice(bytes));
        assert_eq!(seen, b"<[credential]>");
    }
}
