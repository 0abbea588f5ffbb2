//! Everything from outside that stops a turn or the run, as one channel of `Stop`s: signals, and the time limit.
//!
//! A program whose main thread hangs, for instance in a write that nobody reads, is ended from here.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::error::{Error, Result};
use crate::stop::Stop;
use crate::threads;

/// How long the main thread may take to read a stop when the user may be waiting.
const PATIENCE: Duration = Duration::from_millis(200);

/// The same after `--max-time`: no user is waiting.
const LONG_PATIENCE: Duration = Duration::from_secs(2);

/// Is told of SIGWINCH and SIGCONT, and of None when the program is about to end without returning from `main`.
pub type TerminalWatcher = Box<dyn FnMut(Option<i32>) + Send>;

pub struct Interrupts {
    /// Where a thread that finds a reason to stop sends it.
    pub sender: Sender<Stop>,
    pub stops: Receiver<Stop>,
    watcher: Arc<Mutex<Option<TerminalWatcher>>>,
}

impl Interrupts {
    /// Listens for SIGINT, SIGTERM and SIGHUP from now on, and stops the run after `max_time`. Fails if the
    /// system does not allow a handler or a thread.
    pub fn listen(max_time: Option<Duration>) -> Result<Interrupts> {
        let failed = |err| Error::System { doing: "listen for signals", err };
        // Nobody sends signals faster than they are read; one too many is dropped.
        let (sender, stops) = crossbeam_channel::bounded(16);
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT]).map_err(failed)?;
        let watcher: Arc<Mutex<Option<TerminalWatcher>>> = Arc::default();
        let (forward, watching) = (sender.clone(), Arc::clone(&watcher));
        let listen = move || {
            let tell = |signal| {
                if let Some(watcher) = &mut *watching.lock().unwrap_or_else(PoisonError::into_inner) {
                    watcher(signal);
                }
            };
            for signal in signals.forever() {
                let stop = match signal {
                    SIGINT => Stop::Interrupted,
                    SIGTERM => Stop::Terminated,
                    SIGHUP => Stop::HungUp,
                    _ => {
                        tell(Some(signal));
                        continue;
                    }
                };
                send_or_end(&forward, stop, || tell(None));
            }
        };
        threads::start("signals", listen).map_err(failed)?;
        if let Some(max_time) = max_time {
            let alarm = sender.clone();
            let wait = move || {
                thread::sleep(max_time);
                let sent = alarm.try_send(Stop::TimeUp(max_time));
                thread::sleep(LONG_PATIENCE);
                if sent.is_err() || !alarm.is_empty() {
                    end(Stop::TimeUp(max_time));
                }
            };
            threads::start("max-time", wait).map_err(failed)?;
        }
        Ok(Interrupts { sender, stops, watcher })
    }

    /// Tells `watcher` from now on about a new size of the terminal, a continuation, and a sudden end.
    pub fn watch(&self, watcher: TerminalWatcher) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
    }
}

/// Sends a stop. If the main thread does not read it, or has not read the one before, the program ends, and what
/// it has started ends with it.
fn send_or_end(stops: &Sender<Stop>, stop: Stop, before_end: impl Fn()) {
    let sent = stops.try_send(stop);
    let hangs = || sent.is_err() || stops.len() > 1;
    if hangs() {
        thread::sleep(PATIENCE);
        if hangs() {
            before_end();
            end(stop);
        }
    }
}

fn end(stop: Stop) -> ! {
    std::process::exit(stop.exit_code().into())
}
