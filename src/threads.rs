//! Threads: each has a name. All are started in one place, since each other kind costs 2 KB of the binary.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Fails when the system refuses another thread.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    start_boxed(name, Box::new(work))
}

fn start_boxed(name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(work)
}
