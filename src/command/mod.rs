//! Running one shell command: the supervisor that owns it, the thread that reads it, and what
//! is kept of its output. Memory does not grow with the output, and nothing outlives the program.

pub mod children;
pub mod exit;
pub mod kept;
pub mod log;
mod orphans;
pub mod output;
pub mod process;
pub mod sandbox;
mod shared;
pub mod start;
pub mod supervisor;
mod watcher;
