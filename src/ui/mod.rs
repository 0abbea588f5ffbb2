//! What people and scripts see: the only part of the program that prints.

pub mod demo;
pub mod doctor;
pub mod headless;
mod input;
pub mod interrupt;
mod record;
pub mod repl;
pub mod sessions;
mod terminal;
