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
mod structured;
mod style;
mod terminal;
mod undo;

use crate::error::{Error, Result};
use crate::stop::Stop;

/// Prints to standard output. Succeeds if nobody reads it any more.
pub fn print(text: &str) -> Result<()> {
    match record::write(text) {
        Err(Error::Stopped(Stop::OutputClosed)) => Ok(()),
        done => done,
    }
}
