//! What people and scripts see: the only part of the program that prints.

pub mod demo;
pub mod headless;
pub mod interrupt;
pub mod repl;
pub mod sessions;
mod terminal;
