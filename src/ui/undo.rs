//! What the editor can undo: changes, not copies of the line. Pure.

use std::collections::VecDeque;

/// At most this many changes are kept.
const MOST_CHANGES: usize = 200;

/// At most this many bytes of removed text are kept, except that the last change can always be undone.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A piece of text that replaced another.
pub struct Change {
    /// Where it is, in bytes.
    pub at: usize,
    pub removed: String,
    /// The number of bytes that took the place of `removed`.
    pub inserted: usize,
    /// Where the cursor was.
    pub cursor: usize,
}

#[derive(Default)]
pub struct Undo {
    /// Oldest first.
    changes: VecDeque<Change>,
    /// The bytes of all removed texts.
    bytes: usize,
}

impl Undo {
    /// Adds a change and forgets the oldest ones that exceed the limits.
    pub fn add(&mut self, change: Change) {
        self.bytes += change.removed.len();
        self.changes.push_back(change);
        while self.changes.len() > MOST_CHANGES || self.bytes > MOST_BYTES && self.changes.len() > 1 {
            self.bytes -= self.changes.pop_front().map_or(0, |change| change.removed.len());
        }
    }

    /// Undoes the last change to `text`. Returns where the cursor was before it; None if there is no change.
    pub fn undo(&mut self, text: &mut String) -> Option<usize> {
        let Change { at, removed, inserted, cursor } = self.changes.pop_back()?;
        self.bytes -= removed.len();
        text.replace_range(at..at + inserted, &removed);
        Some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insertion(at: usize, inserted: usize) -> Change {
        Change { at, removed: String::new(), inserted, cursor: at }
    }

    #[test]
    fn a_large_paste_and_many_keys_keep_few_bytes() {
        let mut undo = Undo::default();
        let mut text = "x".repeat(1024 * 1024);
        undo.add(insertion(0, text.len()));
        for _ in 0..100 {
            undo.add(insertion(text.len(), 1));
            text.push('k');
        }
        let kept = undo.changes.iter().map(|change| change.removed.capacity()).sum::<usize>();
        assert!(kept + undo.changes.capacity() * size_of::<Change>() < 16 * 1024);
        while undo.undo(&mut text).is_some() {}
        assert_eq!(text, "");
    }

    #[test]
    fn the_oldest_changes_are_forgotten() {
        let mut undo = Undo::default();
        let removed = "x".repeat(MOST_BYTES / 2);
        for _ in 0..5 {
            undo.add(Change { at: 0, removed: removed.clone(), inserted: 0, cursor: 0 });
            assert!(undo.bytes <= MOST_BYTES);
        }
        undo.add(Change { at: 0, removed: "x".repeat(2 * MOST_BYTES), inserted: 0, cursor: 0 });
        assert_eq!(undo.changes.len(), 1);
        (0..2 * MOST_CHANGES).for_each(|_| undo.add(insertion(0, 1)));
        assert_eq!((undo.changes.len(), undo.bytes), (MOST_CHANGES, 0));
    }
}
