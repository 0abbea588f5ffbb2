//! What is kept of a command, also when it is gone: its output and its log. The command's thread writes it while
//! others read it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log::{Log, Logs};
use super::output::Output;

pub struct Kept(Mutex<State>);

struct State {
    output: Output,
    log: Option<Log>,
}

impl Kept {
    pub fn new(log: Option<Log>) -> Kept {
        Kept(Mutex::new(State { output: Output::default(), log }))
    }

    /// The output so far, its head and its tail, and how many characters it leaves out. Both at one moment: a
    /// command that prints changes them at any time.
    pub fn text(&self) -> (String, u64) {
        let state = self.state();
        (state.output.text(), state.output.left_out())
    }

    /// What was printed since the last call.
    pub fn take_new(&self) -> String {
        self.state().output.take_new()
    }

    /// The file of the log, if there is one.
    pub fn log(&self) -> Option<PathBuf> {
        self.state().log.as_ref()?.path().map(Path::to_owned)
    }

    /// From now on the log is a file, however small the output is.
    pub fn keep_log(&self) {
        if let Some(log) = &mut self.state().log {
            log.create();
        }
    }

    /// Takes the next bytes of the output.
    pub(super) fn write(&self, bytes: &[u8]) {
        let state = &mut *self.state();
        state.output.write(bytes);
        if let Some(log) = &mut state.log {
            log.write(bytes);
        }
    }

    /// Takes the end of the output, and closes the log. Returns the folder of the log's file, if there is one.
    pub(super) fn close(&self) -> Option<Arc<Logs>> {
        let state = &mut *self.state();
        state.output.shrink();
        state.log.as_mut()?.close()
    }

    /// A panic in the command's thread poisons the lock, but leaves an output that can still be read.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
