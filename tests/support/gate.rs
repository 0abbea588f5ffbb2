//! A gate that starts shut and is opened once.
//!
//! It proves an order of events without a sleep: what stands behind the gate cannot have happened
//! before the test opened it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

#[derive(Clone, Default)]
pub struct Gate(Arc<State>);

#[derive(Default)]
struct State {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        *self.0.open.lock().unwrap() = true;
        self.0.changed.notify_all();
    }

    /// Whether the gate was opened before the deadline, counted from now.
    pub fn wait(&self, deadline: Duration) -> bool {
        let open = self.0.open.lock().unwrap();
        *self.0.changed.wait_timeout_while(open, deadline, |open| !*open).unwrap().0
    }
}
