//! Making inputs: choices, texts, and damage to texts that were whole.

use super::random::Random;

/// One of `items`.
pub fn one<'a, T: ?Sized>(random: &mut Random, items: &[&'a T]) -> &'a T {
    items[random.below(items.len() as u64) as usize]
}

/// True once in `times`.
pub fn once_in(random: &mut Random, times: u64) -> bool {
    random.below(times) == 0
}

/// Up to `most` of the pieces, one after another.
pub fn joined(random: &mut Random, pieces: &[&str], most: u64) -> String {
    let count = random.below(most + 1);
    (0..count).map(|_| one(random, pieces)).collect()
}

/// Any bytes, fewer than `limit`.
pub fn bytes(random: &mut Random, limit: u64) -> Vec<u8> {
    let count = random.below(limit);
    (0..count).map(|_| random.below(256) as u8).collect()
}

/// `bytes` in pieces cut anywhere; some are empty.
pub fn chunks<'a>(random: &mut Random, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let longest = 1 + random.below(1 + bytes.len() as u64);
    let mut rest = bytes;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let length = random.below(longest + 1).min(rest.len() as u64) as usize;
        let (chunk, after) = rest.split_at(length);
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

/// Damages `bytes` in up to `most` places; `words` are what the format is sensitive to.
pub fn damage(random: &mut Random, bytes: &mut Vec<u8>, words: &[&str], most: u64) {
    for _ in 0..random.below(most + 1) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let end = bytes.len().min(at + random.below(24) as usize);
        match random.below(6) {
            0 => bytes.truncate(at.max(bytes.len() / 2)),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            3 => drop(bytes.splice(at..end, one(random, words).bytes())),
            4 => drop(bytes.splice(at..at, one(random, words).bytes())),
            _ if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
}

/// Drops, doubles and swaps some of `items`.
pub fn shuffle<T: Clone>(random: &mut Random, items: &mut Vec<T>, most: u64) {
    for _ in 0..random.below(most + 1) {
        if items.is_empty() {
            return;
        }
        let at = random.below(items.len() as u64) as usize;
        let other = random.below(items.len() as u64) as usize;
        match random.below(4) {
            0 => drop(items.remove(at)),
            1 => items.insert(other, items[at].clone()),
            2 => items.swap(at, other),
            _ => items.truncate(at.max(items.len() / 2)),
        }
    }
}
