//! What identifies the user to the API: a key or a token, known from the start or printed by a command.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ureq::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, Result};

/// How a credential is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// Not at all: a server on this machine may need none.
    None,
    /// As `x-api-key`.
    Plain(String),
    /// As `Authorization: Bearer`.
    Bearer(String),
}

impl Key {
    /// Sets its header. Fails if it has a character that no header can have.
    pub(super) fn set_in(&self, to: &mut HeaderMap) -> Result<()> {
        let (name, value) = match self {
            Key::None => return Ok(()),
            Key::Plain(key) => (HeaderName::from_static("x-api-key"), key.clone()),
            Key::Bearer(token) => (AUTHORIZATION, format!("Bearer {token}")),
        };
        let value = HeaderValue::from_str(&value);
        to.insert(
            name,
            value.map_err(|_| Error::Config("the credential has a control character in it".into()))?,
        );
        Ok(())
    }
}

/// Where the key comes from.
pub enum Credential {
    Known(Key),
    Printed(Printed),
}

impl Credential {
    /// The key for the next request. Fails if the command that prints it fails.
    pub fn key(&self) -> Result<Key> {
        match self {
            Credential::Known(key) => Ok(key.clone()),
            Credential::Printed(printed) => printed.other_than(None),
        }
    }

    /// The key to try after the server has rejected `rejected`: None if there is no other. Fails if the command that
    /// prints it fails.
    pub fn another(&self, rejected: &Key) -> Result<Option<Key>> {
        match self {
            Credential::Known(_) => Ok(None),
            Credential::Printed(printed) => {
                Ok(Some(printed.other_than(Some(rejected))?).filter(|key| key != rejected))
            }
        }
    }
}

/// Calls a command and returns the key that it prints, or why there is none.
type Print = dyn Fn() -> Result<Key, String> + Send + Sync;

/// A key that a command prints: when it is first needed, and again after the server has rejected it.
pub struct Printed {
    print: Box<Print>,
    /// How often the command has run.
    runs: AtomicU64,
    last: Mutex<Option<Result<Key, String>>>,
}

impl Printed {
    pub fn new(print: impl Fn() -> Result<Key, String> + Send + Sync + 'static) -> Printed {
        Printed { print: Box::new(print), runs: AtomicU64::new(0), last: Mutex::new(None) }
    }

    /// The last key, unless it is `rejected`; then what the command prints now. Requests that need a key at the same
    /// time share one run, also if that fails.
    fn other_than(&self, rejected: Option<&Key>) -> Result<Key> {
        let runs = self.runs.load(Ordering::Acquire);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let has_waited = self.runs.load(Ordering::Acquire) != runs;
        let of_use = |last: &&Result<Key, String>| match last {
            Ok(key) => has_waited || Some(key) != rejected,
            Err(_) => has_waited,
        };
        let outcome = match last.as_ref().filter(of_use) {
            Some(outcome) => outcome,
            None => {
                let outcome = (self.print)();
                self.runs.fetch_add(1, Ordering::Release);
                last.insert(outcome)
            }
        };
        outcome.clone().map_err(Error::Config)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn the_command_runs_when_a_key_is_needed_and_again_when_it_is_rejected() {
        let runs = AtomicU64::new(0);
        let credential = Credential::Printed(Printed::new(move || {
            Ok(Key::Plain((runs.fetch_add(1, Ordering::Relaxed).min(1)).to_string()))
        }));
        let (first, second) = (Key::Plain("0".into()), Key::Plain("1".into()));
        assert_eq!(credential.key().unwrap(), first);
        assert_eq!(credential.key().unwrap(), first);
        assert_eq!(credential.another(&first).unwrap(), Some(second.clone()));
        // Another request was rejected with the first key meanwhile.
        assert_eq!(credential.another(&first).unwrap(), Some(second.clone()));
        assert_eq!(credential.another(&second).unwrap(), None);
        assert_eq!(credential.key().unwrap(), second);
    }
    #[test]
    fn requests_that_wait_for_a_run_share_its_failure() {
        let (started, has_started) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let may_go = Mutex::new(may_go);
        let printed = Printed::new(move || {
            started.send(()).unwrap();
            let _ = may_go.lock().unwrap().recv();
            Err("no".into())
        });
        let failure = |printed: &Printed| printed.other_than(None).unwrap_err().to_string();
        thread::scope(|scope| {
            let first = scope.spawn(|| failure(&printed));
            has_started.recv().unwrap();
            let second = scope.spawn(|| failure(&printed));
            // If the second comes too late to wait, it runs the command again, which now ends at once.
            drop(go);
            assert_eq!([first, second].map(|thread| thread.join().unwrap()), ["no", "no"]);
        });
        // Later it may succeed.
        assert_eq!(failure(&printed), "no");
    }
}
