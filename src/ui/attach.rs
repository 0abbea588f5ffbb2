//! `@path` in a message attaches the file.

use std::{fs, io::Read, os::unix::fs::OpenOptionsExt};

use super::line;
use crate::api::message::Block;
use crate::api::picture::{Format, Picture};
use crate::text::head_and_tail;

/// At most this much of a file is attached, in characters.
const LONGEST: usize = 200_000;

/// At most this much of a file is read, in bytes: what is read is held in memory.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The message and the files that it names, as content for the model; and a notice for each file that could not
/// be attached.
pub fn content(message: &str) -> (Vec<Block>, Vec<String>) {
    let (files, notices) = attached(message, false);
    // Models understand pictures best before the text.
    let (mut content, texts): (Vec<Block>, Vec<Block>) =
        files.into_iter().partition(|block| block.kind() == "image");
    content.push(Block::text(message));
    content.extend(texts);
    (content, notices)
}

/// The pictures that a message names; and a notice for each that could not be attached.
fn pictures(message: &str) -> (Vec<Block>, Vec<String>) {
    attached(message, true)
}

fn attached(message: &str, only_pictures: bool) -> (Vec<Block>, Vec<String>) {
    let (mut files, mut notices) = (Vec::new(), Vec::new());
    for path in paths(message) {
        let block = match read(path).map(|file| (Format::of(&file), file)) {
            Ok((Some(format), file)) => {
                Picture::new(path, format, &file).map(|picture| Block::from_fields(picture.to_value()))
            }
            _ if only_pictures => continue,
            Ok((None, file)) => text_of(file).map(|text| Block::text(&format!("The file {path}:\n{text}"))),
            Err(err) => Err(err),
        };
        match block {
            Ok(block) => files.push(block),
            Err(err) => notices.push(format!("did not attach @{path}: {err}")),
        }
    }
    (files, notices)
}

/// A message with the pictures that its first `count` texts name before it; and a notice for each that could not be
/// attached.
pub fn with_pictures(content: Vec<Block>, count: usize) -> (Vec<Block>, Vec<String>) {
    let texts = content.iter().take(count).filter_map(|block| block.str("text"));
    let (mut all, notices) = pictures(&texts.collect::<Vec<_>>().join("\n"));
    all.extend(content);
    (all, notices)
}

/// The paths in a message, each once.
fn paths(message: &str) -> Vec<&str> {
    let mut paths = Vec::new();
    for path in message.split_whitespace().filter_map(line::attached_path).filter(|path| !path.is_empty()) {
        // `@src/main.rs, please`
        let bare = path.trim_end_matches([',', '.', ';', ':', '!', '?', ')']);
        let path = if fs::exists(path).unwrap_or(false) { path } else { bare };
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let text = |err: std::io::Error| err.to_string();
    // Opening a FIFO would otherwise block until somebody writes to it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(text)?;
    if !file.metadata().map_err(text)?.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(text)?;
    Ok(bytes)
}

/// Fails if the file is no text.
fn text_of(file: Vec<u8>) -> Result<String, String> {
    let content = String::from_utf8(file).map_err(|_| "it is not UTF-8 text")?;
    if content.contains('\0') {
        return Err("it is a binary file".into());
    }
    Ok(head_and_tail(&content, LONGEST).into_owned())
}
