//! A change of a file: what is there and what will be.

use crate::secrets::Secrets;

#[derive(Debug, Clone)]
pub struct Change {
    /// Relative to the working directory if the file is inside.
    pub path: String,
    pub old: Old,
    pub new: String,
}

impl Change {
    /// The change as it may be shown.
    pub fn masked(self, secrets: &Secrets) -> Change {
        let old = match self.old {
            Old::Text(text) => Old::Text(secrets.mask(text).into_owned()),
            old => old,
        };
        Change { old, new: secrets.mask(self.new).into_owned(), ..self }
    }
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Old {
    /// There is no file.
    Nothing,
    Text(String),
    /// So many bytes that are not UTF-8 or can't be read.
    Other(u64),
}

impl Old {
    /// The text; empty if there is none.
    pub fn text(&self) -> &str {
        match self {
            Old::Text(text) => text,
            Old::Nothing | Old::Other(_) => "",
        }
    }
}
