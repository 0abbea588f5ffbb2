//! The line being typed: editing, history, search. Pure except for the history file.
//!
//! rustyline would add 193 KB. It also can't change its prompt, print above a half-typed line, ask a question or
//! be ended while it waits for keys.

use std::ops::Range;

use super::history::History;
use super::keys::Key;
use super::layout::cells;
use super::undo::{Change, Undo};

#[derive(Default)]
pub struct Editor {
    pub text: String,
    /// A byte position, between two characters.
    pub cursor: usize,
    pub history: History,
    /// How many entries back in the history the line is; 0 for the line being typed.
    back: usize,
    /// The line being typed, while a history entry is shown.
    typed: String,
    /// The text that was cut last.
    cut: String,
    undo: Undo,
    search: Option<Search>,
}

/// A search through the history, newest entry first.
struct Search {
    pattern: String,
    /// The entry that was found.
    entry: usize,
    /// The text and the cursor before the search.
    before: (String, usize),
}

/// What a key does.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The line may have changed.
    Edited,
    Entered(String),
    Interrupt,
    /// End of input, from Ctrl-D on an empty line.
    End,
    /// Complete the word before the cursor.
    Complete,
    Suspend,
    ClearScreen,
}

impl Editor {
    pub fn new(history: History) -> Editor {
        Editor { history, ..Editor::default() }
    }

    /// What replaces the prompt during a search of the history.
    pub fn search_prompt(&self) -> Option<String> {
        self.search.as_ref().map(|search| format!("(history: {}) ", search.pattern))
    }

    /// Empties the line. Returns its text and cursor, which `put` takes.
    pub fn take(&mut self) -> (String, usize) {
        let line = (std::mem::take(&mut self.text), self.cursor);
        self.put((String::new(), 0));
        line
    }

    /// Replaces the line. This can't be undone.
    pub fn put(&mut self, (text, cursor): (String, usize)) {
        (self.text, self.cursor) = (text, cursor);
        self.undo = Undo::default();
        self.search = None;
        self.back = 0;
    }

    pub fn key(&mut self, key: Key) -> Outcome {
        if self.search_key(&key) {
            return Outcome::Edited;
        }
        match key {
            Key::Enter if self.is_continued() => self.replace(self.cursor - 1..self.cursor, "\n"),
            Key::Enter => return Outcome::Entered(self.take().0),
            Key::Control('c') => return Outcome::Interrupt,
            Key::Control('d') if self.text.is_empty() => return Outcome::End,
            Key::Control('z') => return Outcome::Suspend,
            Key::Control('l') => return Outcome::ClearScreen,
            Key::Tab => return Outcome::Complete,
            Key::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            Key::Paste(text) => self.insert(&text),
            Key::Newline => self.insert("\n"),
            Key::Up | Key::Control('p') => self.up(),
            Key::Down | Key::Control('n') => self.down(),
            Key::Control('r') => self.begin_search(),
            Key::Control('y') => self.insert(&self.cut.clone()),
            // Ctrl-_, the byte 0x1f.
            Key::Control('\u{7f}') => self.cursor = self.undo.undo(&mut self.text).unwrap_or(self.cursor),
            key => self.move_or_remove(&key),
        }
        Outcome::Edited
    }

    /// Inserts text at the cursor.
    pub fn insert(&mut self, text: &str) {
        self.replace(self.cursor..self.cursor, text);
    }

    fn move_or_remove(&mut self, key: &Key) {
        let Some((to, effect)) = self.target(key) else {
            return;
        };
        let range = self.cursor.min(to)..self.cursor.max(to);
        match effect {
            Effect::Move => self.cursor = to,
            Effect::Remove => self.replace(range, ""),
            Effect::Cut => {
                self.cut = self.text[range.clone()].to_owned();
                self.replace(range, "");
            }
        }
    }

    /// Where a key leads, and what happens to the text up to there.
    fn target(&self, key: &Key) -> Option<(usize, Effect)> {
        use Effect::{Cut, Move, Remove};
        Some(match key {
            Key::Left | Key::Control('b') => (self.left(), Move),
            Key::Right | Key::Control('f') => (self.right(), Move),
            Key::Home | Key::Control('a') => (self.line_start(), Move),
            Key::End | Key::Control('e') => (self.line_end(), Move),
            Key::WordLeft | Key::Alt('b') => (self.word_left(), Move),
            Key::WordRight | Key::Alt('f') => (self.word_right(), Move),
            Key::Backspace => (self.left(), Remove),
            Key::Delete | Key::Control('d') => (self.right(), Remove),
            Key::Control('w') => (self.word_left(), Cut),
            Key::Alt('d') => (self.word_right(), Cut),
            Key::Control('u') => (self.line_start(), Cut),
            Key::Control('k') if self.cursor == self.line_end() => (self.right(), Cut),
            Key::Control('k') => (self.line_end(), Cut),
            _ => return None,
        })
    }

    /// Every change goes through here, so that it can be undone.
    fn replace(&mut self, range: Range<usize>, new: &str) {
        if range.is_empty() && new.is_empty() {
            return;
        }
        let (at, removed) = (range.start, self.text[range.clone()].to_owned());
        self.undo.add(Change { at, removed, inserted: new.len(), cursor: self.cursor });
        self.text.replace_range(range, new);
        self.cursor = at + new.len();
    }

    /// Whether the cursor stands after a backslash at the end of the line.
    fn is_continued(&self) -> bool {
        self.cursor == self.line_end() && self.text[..self.cursor].ends_with('\\')
    }

    /// One character to the left, with its combining marks.
    fn left(&self) -> usize {
        self.text[..self.cursor].rfind(|c| cells(c) > 0 || c < ' ').unwrap_or(0)
    }

    fn right(&self) -> usize {
        let mut after = self.text[self.cursor..].char_indices().skip(1);
        let found = after.find(|(_, c)| cells(*c) > 0 || *c < ' ');
        found.map_or(self.text.len(), |(at, _)| self.cursor + at)
    }

    fn word_left(&self) -> usize {
        let before = self.text[..self.cursor].trim_end_matches(|c: char| !c.is_alphanumeric());
        before.trim_end_matches(char::is_alphanumeric).len()
    }

    fn word_right(&self) -> usize {
        let after = self.text[self.cursor..].trim_start_matches(|c: char| !c.is_alphanumeric());
        self.text.len() - after.trim_start_matches(char::is_alphanumeric).len()
    }

    fn line_start(&self) -> usize {
        self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at)
    }

    /// To the line above; from the first line to the previous history entry.
    fn up(&mut self) {
        let start = self.line_start();
        if start == 0 {
            self.show_entry(self.back + 1);
        } else {
            self.go_to_line(start - 1);
        }
    }

    /// To the line below; from the last line to the next history entry.
    fn down(&mut self) {
        let end = self.line_end();
        if end < self.text.len() {
            self.go_to_line(end + 1);
        } else if self.back > 0 {
            self.show_entry(self.back - 1);
        }
    }

    /// To the same column of the line in which `place` is, or to its end.
    fn go_to_line(&mut self, place: usize) {
        let column = self.text[self.line_start()..self.cursor].chars().count();
        self.cursor = place;
        let start = self.line_start();
        let line = &self.text[start..self.line_end()];
        self.cursor = start + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    }

    fn show_entry(&mut self, back: usize) {
        let Some(entry) = self.history.entries.len().checked_sub(back) else {
            return;
        };
        if self.back == 0 {
            self.typed = self.text.clone();
        }
        let text = match self.history.entries.get(entry) {
            Some(text) => text.clone(),
            None => std::mem::take(&mut self.typed),
        };
        self.replace(0..self.text.len(), &text);
        self.back = back;
    }

    fn begin_search(&mut self) {
        let entry = self.history.entries.len();
        let before = (self.text.clone(), self.cursor);
        self.search = Some(Search { pattern: String::new(), entry, before });
    }

    /// Takes a key during a search. Returns false without a search, and for a key that ends it and edits the line
    /// it found.
    fn search_key(&mut self, key: &Key) -> bool {
        let Some(mut search) = self.search.take() else {
            return false;
        };
        let count = self.history.entries.len();
        let below = match key {
            Key::Char(c) => {
                search.pattern.push(*c);
                (search.entry + 1).min(count)
            }
            Key::Backspace => {
                search.pattern.pop();
                count
            }
            Key::Control('r') => search.entry,
            Key::Control('g' | 'c') | Key::Escape => {
                (self.text, self.cursor) = search.before;
                return true;
            }
            _ => {
                let (removed, cursor) = search.before;
                self.undo.add(Change { at: 0, removed, inserted: self.text.len(), cursor });
                return false;
            }
        };
        let found = self.history.entries[..below].iter().rposition(|entry| entry.contains(&search.pattern));
        if let Some(entry) = found.filter(|_| !search.pattern.is_empty()) {
            search.entry = entry;
            self.text = self.history.entries[entry].clone();
            self.cursor = self.text.find(&search.pattern).unwrap_or(0);
        }
        self.search = Some(search);
        true
    }
}

enum Effect {
    Move,
    Remove,
    /// Remove, and keep for Ctrl-Y.
    Cut,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::keys::Keys;

    fn editor(history: &[&str]) -> Editor {
        let mut kept = History::default();
        history.iter().for_each(|entry| kept.add(entry));
        Editor::new(kept)
    }

    /// The line after these bytes were typed, with `|` at the cursor.
    fn typed(editor: &mut Editor, bytes: &str) -> String {
        for key in Keys::default().push(bytes.as_bytes()) {
            editor.key(key);
        }
        let mut text = editor.text.clone();
        text.insert(editor.cursor, '|');
        text
    }

    #[track_caller]
    fn check(bytes: &str, expected: &str) {
        assert_eq!(typed(&mut editor(&["first", "second cargo", "third"]), bytes), expected, "{bytes:?}");
    }

    #[test]
    fn a_line_is_edited_as_in_a_shell() {
        check("abc\x1b[D\x1b[DX", "aX|bc");
        check("abc\x01X\x05Y", "XabcY|");
        check("a\u{6f22}e\u{301}\x7f", "a\u{6f22}|");
        check("one two-three\x17", "one two-|");
        check("one two\x1bb\x1bbX\x1bfY", "XoneY| two");
        check("one two\x01\x0b", "|");
        check("one two\x15\x19\x19", "one twoone two|");
        check("abc\x01\x04\x1b[3~", "|c");
        check("a\x1b\rb", "a\nb|");
        check("\x1b[200~x\r\ny\x1b[201~", "x\ny|");
        check("a\x1b[99~b", "ab|");
    }

    #[test]
    fn every_change_can_be_undone() {
        check("abc def\x17\x1f", "abc def|");
        check("abc\x02\x08X\x1f", "a|c");
        check("abc\x02\x08X\x1f\x1f\x1f\x1f\x1f\x1f", "|");
        check("ab\\\rc\x1f\x1f", "ab\\|");
        check("new\x1b[A\x1f", "new|");
        check("new\x12ir\x05\x1f", "new|");
        check("new\x12ir\x07\x1f", "ne|");
    }

    #[test]
    fn up_and_down_go_through_lines_and_then_through_the_history() {
        check("new\x1b[A", "third|");
        check("new\x1b[A\x1b[A\x1b[A\x1b[A", "first|");
        check("new\x1b[A\x1b[A\x1b[B\x1b[B", "new|");
        check("abc\x1b\rd\x1b[A", "a|bc\nd");
        check("abc\x1b\rd\x1b[A\x1b[B", "abc\nd|");
        check("a\x1b\rbcd\x1b[A", "a|\nbcd");
    }

    #[test]
    fn the_history_is_searched_from_its_end() {
        check("new\x12ir", "th|ird");
        check("new\x12ir\x12", "f|irst");
        check("new\x12ir\x12\x12", "f|irst");
        check("new\x12zz", "new|");
        check("new\x12ir\x07", "new|");
        check("new\x12ar\x05!", "second cargo!|");
        assert_eq!(editor(&[]).search_prompt(), None);
        let mut searching = editor(&["x"]);
        typed(&mut searching, "\x12ab");
        assert_eq!(searching.search_prompt().unwrap(), "(history: ab) ");
    }

    #[test]
    fn enter_ends_the_line_unless_a_backslash_does() {
        let mut editor = editor(&[]);
        assert_eq!(typed(&mut editor, "one\\\rtwo"), "one\ntwo|");
        assert_eq!(editor.key(Key::Enter), Outcome::Entered("one\ntwo".into()));
        assert_eq!(editor.text, "");
        assert_eq!(editor.key(Key::Control('d')), Outcome::End);
        assert_eq!(editor.key(Key::Control('c')), Outcome::Interrupt);
    }
}
