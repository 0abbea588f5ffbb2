//! What people and scripts see: the only part of the program that prints.

pub mod demo;
mod diff;
pub mod doctor;
pub mod headless;
mod input;
pub mod interrupt;
mod lines;
mod question;
mod record;
pub mod repl;
pub mod sessions;
mod terminal;
