//! Signals as messages: a thread of its own turns them into numbers on a channel.

use std::thread;

use crossbeam_channel::Receiver;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::error::{Error, Result};

/// SIGINT, SIGTERM and SIGHUP, from now on. Fails when the system refuses a handler or a thread.
pub fn listen() -> Result<Receiver<i32>> {
    let failed = |err| Error::System {
        doing: "listen for signals",
        err,
    };
    // Nobody sends signals faster than they are read; one too many is dropped.
    let (sender, receiver) = crossbeam_channel::bounded(16);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let forward = move || {
        for signal in signals.forever() {
            let _ = sender.try_send(signal);
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(forward)
        .map_err(failed)?;
    Ok(receiver)
}
