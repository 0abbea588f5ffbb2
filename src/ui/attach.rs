//! `@path` in a message attaches the file.

use std::{fs, io::Read, os::unix::fs::OpenOptionsExt};

use super::line;
use crate::{api::message::Block, text::head_and_tail};

/// At most this much of a file is attached, in characters.
const LONGEST: usize = 200_000;

/// At most this much of a file is read, in bytes: what is read is held in memory.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The message and the files that it names, as content for the model; and a notice for each file that could not
/// be attached.
pub fn content(message: &str) -> (Vec<Block>, Vec<String>) {
    let (mut content, mut notices) = (vec![Block::text(message)], Vec::new());
    let paths = message.split_whitespace().filter_map(line::attached_path);
    for path in paths.filter(|path| !path.is_empty()) {
        // `@src/main.rs, please`
        let bare = path.trim_end_matches([',', '.', ';', ':', '!', '?', ')']);
        let path = if fs::exists(path).unwrap_or(false) { path } else { bare };
        match read(path) {
            Ok(text) => content.push(Block::text(&format!("The file {path}:\n{text}"))),
            Err(err) => notices.push(format!("did not attach @{path}: {err}")),
        }
    }
    (content, notices)
}

fn read(path: &str) -> Result<String, String> {
    let text = |err: std::io::Error| err.to_string();
    // Opening a FIFO would otherwise block until somebody writes to it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(text)?;
    if !file.metadata().map_err(text)?.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(text)?;
    let content = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text")?;
    if content.contains('\0') {
        return Err("it is a binary file".into());
    }
    Ok(head_and_tail(&content, LONGEST).into_owned())
}
