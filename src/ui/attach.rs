//! `@path` in a message: the file is put into it.

use std::{fs, io::Read, os::unix::fs::OpenOptionsExt};

use crate::text::head_and_tail;

/// No more of a file is put into a message, in characters.
const LONGEST: usize = 200_000;

/// Reading more than this to show a part of it would cost as much memory, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The files that the message names, each as a text for the model, and what is to be said of the others.
pub fn files(message: &str) -> (Vec<String>, Vec<String>) {
    let (mut texts, mut notices) = (Vec::new(), Vec::new());
    let words = message.split_whitespace().filter_map(|word| word.strip_prefix('@'));
    for path in words.filter(|path| !path.is_empty()) {
        // `@src/main.rs, please`
        let bare = path.trim_end_matches([',', '.', ';', ':', '!', '?', ')']);
        let path = if fs::exists(path).unwrap_or(false) { path } else { bare };
        match read(path) {
            Ok(text) => texts.push(format!("The file {path}:\n{text}")),
            Err(err) => notices.push(format!("@{path} is sent as it stands: {err}")),
        }
    }
    (texts, notices)
}

fn read(path: &str) -> Result<String, String> {
    let text = |err: std::io::Error| err.to_string();
    // Not blocking: a FIFO would wait for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(text)?;
    if !file.metadata().map_err(text)?.is_file() {
        return Err("it is no regular file".into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(text)?;
    let content = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text")?;
    if content.contains('\0') {
        return Err("it is a binary file".into());
    }
    Ok(head_and_tail(&content, LONGEST).into_owned())
}
