//! The command line: argv to `Args`, from one table of options; the help and the completions from the same table.

pub mod args;
pub mod completions;
pub mod help;
mod options;
mod parse;
