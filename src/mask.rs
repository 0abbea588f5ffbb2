//! Takes secrets out of a stream of bytes, wherever it is cut. Pure.
//!
//! What might be the beginning of a secret is held back until the next bytes tell.

use crate::text::MASK;

#[derive(Default)]
pub struct Mask {
    secrets: Vec<Vec<u8>>,
    held: Vec<u8>,
}

impl Mask {
    pub fn new(secrets: &[String]) -> Mask {
        let secrets = secrets.iter().filter(|secret| !secret.is_empty());
        Mask { secrets: secrets.map(|secret| secret.clone().into_bytes()).collect(), held: Vec::new() }
    }

    /// Hands the next bytes on, in pieces.
    pub fn pass(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        if self.held.is_empty() {
            return self.clean(bytes, sink);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(bytes);
        self.clean(&joined, sink);
    }

    /// Hands on what was held back: nothing more comes.
    pub fn end(&mut self, sink: &mut dyn FnMut(&[u8])) {
        sink(&std::mem::take(&mut self.held));
    }

    fn clean(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        while let Some((at, length)) = self.find(bytes) {
            sink(&bytes[..at]);
            sink(MASK.as_bytes());
            bytes = &bytes[at + length..];
        }
        let (clear, open) = bytes.split_at(bytes.len() - self.unfinished(bytes));
        sink(clear);
        self.held = open.to_vec();
    }

    /// Where the first secret stands, and how long it is.
    fn find(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let found = self.secrets.iter().filter_map(|secret| Some((position(bytes, secret)?, secret.len())));
        found.min_by_key(|(at, _)| *at)
    }

    /// How many bytes at the end may begin a secret.
    fn unfinished(&self, bytes: &[u8]) -> usize {
        let longest = self.secrets.iter().map(Vec::len).max().unwrap_or(1);
        let begins = |n: &usize| {
            let end = &bytes[bytes.len() - n..];
            self.secrets.iter().any(|secret| secret.len() > *n && secret.starts_with(end))
        };
        (1..longest.min(bytes.len() + 1)).rev().find(begins).unwrap_or(0)
    }
}

/// Keys begin alike and end by chance, so the last byte is looked for.
fn position(bytes: &[u8], secret: &[u8]) -> Option<usize> {
    let (last, _) = secret.split_last()?;
    let mut ends = memchr::memchr_iter(*last, bytes);
    ends.find_map(|end| {
        let before = &bytes[..=end];
        before.ends_with(secret).then(|| end + 1 - secret.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_it_is_cut() {
        let text = b"a secret-of-mine, secret-of-secret-of-mine; sec";
        for size in 1..=text.len() {
            let mut mask = Mask::new(&["secret-of-mine".into()]);
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
        Mask::new(&[]).pass(b"abc", &mut |bytes| seen += bytes.len());
        assert_eq!(seen, 3);
    }
}
