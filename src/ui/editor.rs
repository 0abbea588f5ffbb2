//! The line that is being typed: editing, history, search. Pure but for the history's file.
//!
//! rustyline would do this too, for 193 KB of a binary that has room for 170; and it can't change its prompt,
//! print half a line above it, ask a question or be left while it waits.

use super::{history::History, keys::Key, layout::cells};

/// How many states of the line can be undone.
const MOST_UNDOS: usize = 200;

pub struct Editor {
    pub text: String,
    /// In bytes, on the border of a character.
    pub cursor: usize,
    history: History,
    /// The entry that is shown; as many as there are for the line that is typed.
    entry: usize,
    /// The line that was typed, while an entry is shown.
    typed: String,
    /// What was cut last.
    cut: String,
    undos: Vec<(String, usize)>,
    search: Option<Search>,
}

/// A search through the history, from its end on.
struct Search {
    pattern: String,
    /// The entry that was found.
    entry: usize,
    /// The line and the cursor as they were before.
    before: (String, usize),
}

/// What a key comes to.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The line may look different.
    Edited,
    Entered(String),
    Interrupt,
    /// End of input: at an empty line.
    End,
    /// Complete what stands before the cursor.
    Complete,
    Suspend,
    ClearScreen,
}

impl Editor {
    pub fn new(history: History) -> Editor {
        Editor {
            text: String::new(),
            cursor: 0,
            entry: history.entries.len(),
            history,
            typed: String::new(),
            cut: String::new(),
            undos: Vec::new(),
            search: None,
        }
    }

    /// What stands before the line instead of the prompt, while the history is searched.
    pub fn search_prompt(&self) -> Option<String> {
        let search = self.search.as_ref()?;
        Some(format!("(history: {}) ", search.pattern))
    }

    /// Takes the line away, to be brought back with `put`.
    pub fn take(&mut self) -> (String, usize) {
        self.search = None;
        self.entry = self.history.entries.len();
        self.undos.clear();
        (std::mem::take(&mut self.text), std::mem::take(&mut self.cursor))
    }

    pub fn put(&mut self, (text, cursor): (String, usize)) {
        (self.text, self.cursor) = (text, cursor);
    }

    pub fn remember(&mut self, line: &str) {
        self.history.add(line);
        self.entry = self.history.entries.len();
    }

    pub fn key(&mut self, key: Key) -> Outcome {
        if self.search.is_some()
            && let Some(outcome) = self.search_key(&key)
        {
            return outcome;
        }
        let before = (self.text.clone(), self.cursor);
        let is_undo = key == Key::Control('\u{7f}');
        let outcome = self.plain_key(key);
        if self.text != before.0 && !is_undo {
            self.undos.push(before);
            if self.undos.len() > MOST_UNDOS {
                self.undos.remove(0);
            }
        }
        outcome
    }

    fn plain_key(&mut self, key: Key) -> Outcome {
        match key {
            Key::Enter if self.is_continued() => {
                self.remove(self.cursor - 1..self.cursor);
                self.insert("\n");
            }
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
            // Ctrl-_, which is the byte 0x1f.
            Key::Control('\u{7f}') => self.undos.pop().into_iter().for_each(|before| self.put(before)),
            key => match self.target(&key) {
                Some((to, Effect::Move)) => self.cursor = to,
                Some((to, Effect::Remove)) => drop(self.remove(self.cursor.min(to)..self.cursor.max(to))),
                Some((to, Effect::Cut)) => self.cut = self.remove(self.cursor.min(to)..self.cursor.max(to)),
                None if key == Key::Control('y') => self.insert(&self.cut.clone()),
                None => {}
            },
        }
        Outcome::Edited
    }

    /// Where a key leads, and what becomes of the text up to there.
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

    pub fn insert(&mut self, text: &str) {
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
    }

    fn remove(&mut self, range: std::ops::Range<usize>) -> String {
        self.cursor = range.start;
        self.text.drain(range).collect()
    }

    /// Whether the line ends with a backslash, so that another follows.
    fn is_continued(&self) -> bool {
        self.cursor == self.line_end() && self.text[..self.cursor].ends_with('\\')
    }

    /// One character to the left, with the marks that belong to it.
    fn left(&self) -> usize {
        let mut before = self.text[..self.cursor].char_indices().rev();
        let found = before.find(|(_, c)| cells(*c) > 0 || *c < ' ');
        found.map_or(0, |(at, _)| at)
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

    /// The line above, or the entry before.
    fn up(&mut self) {
        let start = self.line_start();
        if start == 0 {
            return self.show_entry(self.entry.checked_sub(1));
        }
        let column = self.text[start..self.cursor].chars().count();
        self.cursor = start - 1;
        self.go_to_column(column);
    }

    fn down(&mut self) {
        let end = self.line_end();
        if end == self.text.len() {
            return self.show_entry(Some(self.entry + 1));
        }
        let column = self.text[self.line_start()..self.cursor].chars().count();
        self.cursor = end + 1;
        self.go_to_column(column);
    }

    fn go_to_column(&mut self, column: usize) {
        let line = &self.text[self.line_start()..];
        let mut columns = line.char_indices().take_while(|(_, c)| *c != '\n');
        let start = self.line_start();
        self.cursor = columns
            .nth(column)
            .map_or_else(|| start + line.find('\n').unwrap_or(line.len()), |(at, _)| start + at);
    }

    fn show_entry(&mut self, entry: Option<usize>) {
        let count = self.history.entries.len();
        let Some(entry) = entry.filter(|entry| *entry <= count) else {
            return;
        };
        if self.entry == count {
            self.typed = std::mem::take(&mut self.text);
        }
        self.text = match self.history.entries.get(entry) {
            Some(text) => text.clone(),
            None => std::mem::take(&mut self.typed),
        };
        (self.entry, self.cursor) = (entry, self.text.len());
    }

    fn begin_search(&mut self) {
        self.search = Some(Search {
            pattern: String::new(),
            entry: self.history.entries.len(),
            before: (self.text.clone(), self.cursor),
        });
    }

    /// None when the key ends the search and is one for the line that was found.
    fn search_key(&mut self, key: &Key) -> Option<Outcome> {
        let search = self.search.as_mut()?;
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
                let before = self.search.take()?.before;
                self.put(before);
                return Some(Outcome::Edited);
            }
            _ => {
                self.search = None;
                return None;
            }
        };
        let found = self.history.entries[..below].iter().rposition(|entry| entry.contains(&search.pattern));
        if let Some(entry) = found.filter(|_| !search.pattern.is_empty()) {
            search.entry = entry;
            self.text = self.history.entries[entry].clone();
            self.cursor = self.text.find(&search.pattern).unwrap_or(0);
        }
        Some(Outcome::Edited)
    }
}

enum Effect {
    Move,
    Remove,
    /// It can be brought back with Ctrl-Y.
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
        check("abc def\x17\x1f", "abc def|");
        check("a\x1b\rb", "a\nb|");
        check("\x1b[200~x\r\ny\x1b[201~", "x\ny|");
        check("a\x1b[99~b", "ab|");
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
