//! What identifies the user to the API: a key or a token, known from the start or printed by a command.

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

/// The longest key, in bytes. Servers take no larger heads; signed tokens have some thousand bytes.
pub const LONGEST_KEY: usize = 16 * 1024;

/// How a key of some kind is sent.
pub type Kind = fn(String) -> Key;

impl Key {
    /// The key in a text, without the line end that an editor or a command leaves behind it. None if it is no key.
    pub fn parse(text: &str, kind: Kind) -> Option<Key> {
        let text = text.trim();
        let is_key = (1..=LONGEST_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        is_key.then(|| kind(text.to_owned()))
    }

    /// The key itself.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Key::None => None,
            Key::Plain(key) | Key::Bearer(key) => Some(key),
        }
    }

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
    last: Mutex<Option<Key>>,
}

impl Printed {
    pub fn new(print: impl Fn() -> Result<Key, String> + Send + Sync + 'static) -> Printed {
        Printed { print: Box::new(print), last: Mutex::new(None) }
    }

    /// The last key, unless it is `rejected`; then what the command prints now.
    fn other_than(&self, rejected: Option<&Key>) -> Result<Key> {
        // Requests that need a key at the same time share one run.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = last.as_ref().filter(|key| Some(*key) != rejected) {
            return Ok(key.clone());
        }
        let key = (self.print)().map_err(Error::Config)?;
        Ok(last.insert(key).clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

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
}
