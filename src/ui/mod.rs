//! What people and scripts see: the only part of the program that prints.

mod attach;
pub mod chat;
mod commands;
mod complete;
pub mod demo;
mod diff;
pub mod doctor;
mod editor;
mod follow;
pub mod headless;
mod history;
pub mod interrupt;
mod keys;
mod layout;
mod line;
mod markdown;
mod question;
mod record;
pub mod repl;
mod roster;
mod screen;
pub mod sessions;
mod stdin;
mod style;
mod terminal;
mod undo;

use std::io::{self, Write};

use crate::error::{Error, Result};

/// Prints to standard output. Nobody reading it any more is no failure.
pub fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::System { doing: "write to standard output", err })
        }
        _ => Ok(()),
    }
}
