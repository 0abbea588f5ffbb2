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

/// A file that was read.
enum File {
    Picture(Format, Vec<u8>),
    Other(Vec<u8>),
}

/// The message and the files that it names, as content for the model; and a notice for each file that could not
/// be attached.
pub fn content(message: &str) -> (Vec<Block>, Vec<String>) {
    let (mut content, mut notices) = pictures(message);
    content.push(Block::text(message));
    for path in paths(message) {
        match read(path).and_then(File::into_text) {
            Ok(Some(text)) => content.push(Block::text(&format!("The file {path}:\n{text}"))),
            Ok(None) => {}
            Err(err) => notices.push(format!("did not attach @{path}: {err}")),
        }
    }
    (content, notices)
}

/// The pictures that a message names, which models understand best before the text; and a notice for each that could
/// not be attached.
pub fn pictures(message: &str) -> (Vec<Block>, Vec<String>) {
    let (mut pictures, mut notices) = (Vec::new(), Vec::new());
    for path in paths(message) {
        let Ok(File::Picture(format, bytes)) = read(path) else { continue };
        match Picture::new(path, format, &bytes) {
            Ok(picture) => pictures.push(Block::from_fields(picture.to_value())),
            Err(err) => notices.push(format!("did not attach @{path}: {err}")),
        }
    }
    (pictures, notices)
}

/// The paths in a message.
fn paths(message: &str) -> impl Iterator<Item = &str> {
    let paths = message.split_whitespace().filter_map(line::attached_path).filter(|path| !path.is_empty());
    paths.map(|path| {
        // `@src/main.rs, please`
        let bare = path.trim_end_matches([',', '.', ';', ':', '!', '?', ')']);
        if fs::exists(path).unwrap_or(false) { path } else { bare }
    })
}

fn read(path: &str) -> Result<File, String> {
    let text = |err: std::io::Error| err.to_string();
    // Opening a FIFO would otherwise block until somebody writes to it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(text)?;
    if !file.metadata().map_err(text)?.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(text)?;
    Ok(match Format::of(&bytes) {
        Some(format) => File::Picture(format, bytes),
        None => File::Other(bytes),
    })
}

impl File {
    /// None if it is a picture. Fails if it is no text.
    fn into_text(self) -> Result<Option<String>, String> {
        let File::Other(bytes) = self else { return Ok(None) };
        let content = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text")?;
        if content.contains('\0') {
            return Err("it is a binary file".into());
        }
        Ok(Some(head_and_tail(&content, LONGEST).into_owned()))
    }
}
