//! Everything a program writes to one stream, read by a thread of its own, so that a test can wait
//! for a text instead of for a time.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Clone)]
pub struct Capture(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

impl Capture {
    /// A stream without anything in it.
    pub fn empty() -> Capture {
        Capture::start(std::io::empty())
    }

    pub fn start(input: impl Read + Send + 'static) -> Capture {
        let state = Mutex::new(State::default());
        let capture = Capture(Arc::new(Shared { state, grown: Condvar::new() }));
        let reader = capture.clone();
        thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || reader.read_all(input))
            .expect("a thread");
        capture
    }

    /// Everything so far; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.state.lock().unwrap().bytes).into_owned()
    }

    /// Waits until `wanted` stands behind the byte number `from`. Returns the place behind it, or
    /// `None` if the stream has ended without it or the deadline has passed.
    pub fn find(&self, wanted: &str, from: usize, deadline: Duration) -> Option<usize> {
        let mut end = None;
        let state = self.0.state.lock().unwrap();
        let waiting = |state: &mut State| {
            end = position(&state.bytes[from..], wanted.as_bytes());
            end.is_none() && !state.ended
        };
        drop(self.0.grown.wait_timeout_while(state, deadline, waiting).unwrap());
        end.map(|end| from + end + wanted.len())
    }

    /// Waits until there are more than so many bytes, or the time is over; returns how many there are.
    pub fn grows(&self, from: usize, deadline: Duration) -> usize {
        let state = self.0.state.lock().unwrap();
        let waiting = |state: &mut State| state.bytes.len() <= from && !state.ended;
        let waited = self.0.grown.wait_timeout_while(state, deadline, waiting);
        waited.unwrap().0.bytes.len()
    }

    /// The bytes between two places that `find` has returned, as text.
    pub fn between(&self, from: usize, to: usize) -> String {
        String::from_utf8_lossy(&self.0.state.lock().unwrap().bytes[from..to]).into_owned()
    }

    /// Whether the stream ends (every process that holds it has let go) before the deadline.
    pub fn ends(&self, deadline: Duration) -> bool {
        let state = self.0.state.lock().unwrap();
        let waiting = |state: &mut State| !state.ended;
        self.0.grown.wait_timeout_while(state, deadline, waiting).unwrap().0.ended
    }

    fn read_all(&self, mut input: impl Read) {
        let mut buffer = [0; 8192];
        loop {
            // A terminal whose other side is gone answers with an error; it is an end like another.
            let count = input.read(&mut buffer).unwrap_or(0);
            let mut state = self.0.state.lock().unwrap();
            state.bytes.extend(&buffer[..count]);
            state.ended = count == 0;
            self.0.grown.notify_all();
            if state.ended {
                return;
            }
        }
    }
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return Some(0);
    }
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
