//! The lines typed before, kept in a file across sessions. An entry takes one line of the file.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::private;

/// At most this many entries are kept.
const MOST: usize = 1000;

#[derive(Default)]
pub struct History {
    /// Oldest first.
    pub entries: Vec<String>,
    /// None if there is no file.
    path: Option<PathBuf>,
}

impl History {
    /// Reads the file. Cuts it to its newest entries once it holds twice as many as are kept.
    pub fn load(path: Option<PathBuf>) -> History {
        let bytes = path.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let newest = &all[all.len().saturating_sub(MOST)..];
        if let Some(path) = path.as_ref().filter(|_| all.len() > 2 * MOST) {
            // If this fails, the file stays longer than it should.
            let _ = rewrite(path, newest);
        }
        History { entries: newest.iter().map(|line| decoded(line)).collect(), path }
    }

    /// Adds an entry, unless it begins with a space or repeats the last one.
    pub fn add(&mut self, text: &str) {
        let is_repeated = self.entries.last().is_some_and(|last| last == text);
        if text.trim().is_empty() || text.starts_with(' ') || is_repeated {
            return;
        }
        self.entries.push(text.to_owned());
        if let Some(path) = &self.path {
            // If this fails, the entry lasts for this session.
            let _ = append(path, &format!("{}\n", encoded(text)));
        }
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let open = || private::options().append(true).create(true).open(path);
    let mut file = open().or_else(|_| {
        private::create_folder(path.parent().unwrap_or(Path::new("/")))?;
        open()
    })?;
    file.write_all(line.as_bytes())
}

fn rewrite(path: &Path, lines: &[&str]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    append(&temporary, &format!("{}\n", lines.join("\n")))?;
    fs::rename(&temporary, path)
}

/// An entry in one line.
fn encoded(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn decoded(line: &str) -> String {
    // The second of two backslashes does not begin another escape.
    let parts = line.split("\\\\").map(|part| part.replace("\\n", "\n").replace("\\r", "\r"));
    parts.collect::<Vec<_>>().join("\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/history");
        let mut history = History::load(Some(path.clone()));
        for text in ["one", "one", " secret", "", "two\nlines \\n", "\u{e9}"] {
            history.add(text);
        }
        let expected = ["one", "two\nlines \\n", "\u{e9}"];
        assert_eq!(history.entries, expected);
        assert_eq!(History::load(Some(path)).entries, expected);
    }

    #[test]
    fn a_file_that_has_grown_is_cut_to_its_newest_entries() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let lines: String = (0..3 * MOST).map(|n| format!("{n}\n")).collect();
        fs::write(&path, lines).unwrap();
        let history = History::load(Some(path.clone()));
        assert_eq!((history.entries.len(), history.entries[0].as_str()), (MOST, "2000"));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), MOST);
    }
}
