//! Signals as messages: a thread of its own turns them into numbers on a channel.
//!
//! What else may end a run comes the same way, as the signal that would stand for it: SIGALRM for the
//! limit on its time, SIGPIPE for a reader of stdout who has left.

use std::{thread, time::Duration};

use crossbeam_channel::{Receiver, Sender};
use signal_hook::{
    consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::error::{Error, Result};

/// How long the main thread may take to look at its signals.
const PATIENCE: Duration = Duration::from_millis(200);

pub struct Interrupts {
    sender: Sender<i32>,
    pub signals: Receiver<i32>,
}

impl Interrupts {
    /// SIGINT, SIGTERM and SIGHUP, from now on, and SIGALRM after `max_time`. Fails when the system refuses a
    /// handler or a thread.
    pub fn listen(max_time: Option<Duration>) -> Result<Interrupts> {
        let failed = |err| Error::System {
            doing: "listen for signals",
            err,
        };
        // Nobody sends signals faster than they are read; one too many is dropped.
        let (sender, signals) = crossbeam_channel::bounded(16);
        let mut handled = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
        let forward = sender.clone();
        let listen = move || {
            for signal in handled.forever() {
                let _ = forward.try_send(signal);
                if forward.len() > 1 {
                    // The main thread has not taken the signal before: it hangs, in a write that nobody
                    // reads for instance. What it has started ends with it.
                    thread::sleep(PATIENCE);
                    if forward.len() > 1 {
                        std::process::exit(128 + signal);
                    }
                }
            }
        };
        thread::Builder::new()
            .name("signals".into())
            .spawn(listen)
            .map_err(failed)?;
        if let Some(max_time) = max_time {
            let alarm = sender.clone();
            let wait = move || {
                thread::sleep(max_time);
                let _ = alarm.try_send(SIGALRM);
            };
            thread::Builder::new()
                .name("max-time".into())
                .spawn(wait)
                .map_err(failed)?;
        }
        Ok(Interrupts { sender, signals })
    }

    /// As if this signal had come.
    pub fn raise(&self, signal: i32) {
        let _ = self.sender.try_send(signal);
    }
}
