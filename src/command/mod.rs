//! Runs one shell command: the supervisor that owns it, the thread that reads its output, and what is kept of that
//! output. Memory does not grow with the output, and no process outlives the program.

pub mod capture;
pub mod children;
pub mod exit;
pub mod kept;
pub mod log;
mod orphans;
pub mod output;
pub mod process;
pub mod sandbox;
mod shared;
mod shell_end;
pub mod start;
pub mod supervisor;
mod watcher;
