//! Signals as messages: a thread of its own turns them into numbers on a channel.
//!
//! What else may end a run comes the same way, as the signal that would stand for it: SIGALRM for the
//! limit on its time, SIGPIPE for a reader of stdout who has left.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender};
use signal_hook::{
    consts::{SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH},
    iterator::Signals,
};

use crate::error::{Error, Result};
use crate::threads;

/// How long the main thread may take to look at its signals, when somebody waits.
const PATIENCE: Duration = Duration::from_millis(200);

/// The same when nobody does.
const LONG_PATIENCE: Duration = Duration::from_secs(2);

/// Hears of the signals that concern a terminal; of none, when the program is about to end here and now.
pub type TerminalWatcher = Box<dyn FnMut(Option<i32>) + Send>;

pub struct Interrupts {
    sender: Sender<i32>,
    pub signals: Receiver<i32>,
    watcher: Arc<Mutex<Option<TerminalWatcher>>>,
}

impl Interrupts {
    /// SIGINT, SIGTERM and SIGHUP, from now on, and SIGALRM after `max_time`. Fails when the system refuses a
    /// handler or a thread.
    pub fn listen(max_time: Option<Duration>) -> Result<Interrupts> {
        let failed = |err| Error::System { doing: "listen for signals", err };
        // Nobody sends signals faster than they are read; one too many is dropped.
        let (sender, signals) = crossbeam_channel::bounded(16);
        let all = [SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT];
        let mut handled = Signals::new(all).map_err(failed)?;
        let forward = sender.clone();
        let watcher: Arc<Mutex<Option<TerminalWatcher>>> = Arc::default();
        let watching = Arc::clone(&watcher);
        let tell = move |signal| {
            let mut watcher = watching.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(watcher) = &mut *watcher {
                watcher(signal);
            }
        };
        let listen = move || {
            for signal in handled.forever() {
                if matches!(signal, SIGWINCH | SIGCONT) {
                    tell(Some(signal));
                    continue;
                }
                let sent = forward.try_send(signal);
                // The main thread has not taken the signal before, or takes no more: it hangs, in a write that
                // nobody reads for instance. What it has started ends with it.
                let hangs = || sent.is_err() || forward.len() > 1;
                if hangs() {
                    thread::sleep(PATIENCE);
                    if hangs() {
                        tell(None);
                        std::process::exit(128 + signal);
                    }
                }
            }
        };
        threads::start("signals", listen).map_err(failed)?;
        if let Some(max_time) = max_time {
            let alarm = sender.clone();
            let wait = move || {
                thread::sleep(max_time);
                let sent = alarm.try_send(SIGALRM);
                thread::sleep(LONG_PATIENCE);
                // As above; with the exit code of every limit.
                if sent.is_err() || !alarm.is_empty() {
                    std::process::exit(4);
                }
            };
            threads::start("max-time", wait).map_err(failed)?;
        }
        Ok(Interrupts { sender, signals, watcher })
    }

    /// From now on this one hears of a new size of the terminal, of a continuation after a stop, and of the end.
    pub fn watch(&self, watcher: TerminalWatcher) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
    }

    /// Where a signal is put, as if it had come.
    pub fn sender(&self) -> Sender<i32> {
        self.sender.clone()
    }

    /// As if this signal had come.
    pub fn raise(&self, signal: i32) {
        let _ = self.sender.try_send(signal);
    }
}
