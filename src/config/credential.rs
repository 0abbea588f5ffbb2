//! The credential: which of those that are set goes to the server, and which none may go to.
//!
//! Two rules hold. A bearer token wins over a key, as in other clients: who sets one means a gateway, and the key is
//! left from the shell's profile. And a server that only `.env` names gets what the same file holds, or nothing:
//! neither the environment nor a file nor `--key-command` speaks for a server that a repository chose.

use std::fs::File;
use std::io::Read;

use super::environment::{in_environment, malformed};
use super::proxy::is_loopback;
use super::variables::{API_KEY, AUTH_TOKEN, Variables, not_sent};
use crate::api::credential::{Credential, Key, Printed};
use crate::api::headers::Headers;
use crate::error::{Error, Result};

/// They name files that hold a credential, as containers have them.
pub const API_KEY_FILE: &str = "ANTHROPIC_API_KEY_FILE";
pub const AUTH_TOKEN_FILE: &str = "ANTHROPIC_AUTH_TOKEN_FILE";
const KEY_COMMAND: &str = "--key-command";

/// How a credential of some kind is sent.
pub type Kind = fn(String) -> Key;

/// The variables that may hold or name a credential, what wins first.
const VARIABLES: [(&str, &str, Kind); 2] =
    [(AUTH_TOKEN, AUTH_TOKEN_FILE, Key::Bearer), (API_KEY, API_KEY_FILE, Key::Plain)];

/// The longest credential, in bytes. Servers take no larger heads; signed tokens have some thousand bytes.
const LONGEST: usize = 16 * 1024;

const NO_KEY: &str = "contains no key, or a character that cannot be in a key (a space or a line end?)";
const NO_CREDENTIAL: &str = "no credential: set `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN` in the environment \
                             or in `.env`; any word will do if the server needs none (`meanwhile demo` needs none)";
const FOREIGN_SERVER: &str = "`.env` sets `ANTHROPIC_BASE_URL` but no credential, and a credential from the \
                              environment is not sent to a server that a file in the working directory names: set \
                              `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN` in the same `.env`";

/// Every credential that is set, in use or not.
pub struct Credentials {
    dotenv: Vec<Candidate>,
    environment: Vec<Candidate>,
}

/// A variable that is set, and the credential in it or in its file.
struct Candidate {
    name: &'static str,
    key: Result<Key>,
}

/// The credential to use.
pub struct Found {
    /// The option or variable that it comes from; None if the server needs none.
    pub from: Option<&'static str>,
    pub credential: Credential,
}

impl Credentials {
    /// Reads the variables, and the files that they name.
    pub fn read(variables: &Variables) -> Credentials {
        let (mut dotenv, mut environment) = (Vec::new(), Vec::new());
        for (name, file, kind) in VARIABLES {
            let plain = |value: Result<String>| Candidate {
                name,
                key: value.and_then(|value| key(&value, kind).ok_or_else(|| malformed(name, NO_KEY))),
            };
            dotenv.extend(variables.in_dotenv(name).map(Ok).map(plain));
            environment.extend(in_environment(name).transpose().map(plain));
            let path = in_environment(file).transpose();
            let key = |path: Result<String>| path.and_then(|path| read(file, &path, kind));
            environment.extend(path.map(|path| Candidate { name: file, key: key(path) }));
        }
        Credentials { dotenv, environment }
    }

    /// The values themselves.
    pub fn secrets(&self) -> Vec<String> {
        let keys = self.dotenv.iter().chain(&self.environment).flat_map(|candidate| &candidate.key);
        let values = keys.filter_map(|key| match key {
            Key::Plain(value) | Key::Bearer(value) => Some(value.clone()),
            Key::None => None,
        });
        values.collect()
    }

    /// The credential for the server at `url`. Fails if there is none, none that may be sent to that server, or if it
    /// is malformed.
    pub fn find(
        self,
        url: &str,
        is_foreign: bool,
        headers: &Headers,
        key_command: Option<Printed>,
    ) -> Result<Found> {
        if let Some(printed) = key_command {
            let from = Some(KEY_COMMAND);
            let found = Found { from, credential: Credential::Printed(printed) };
            return if is_foreign { Err(not_sent(KEY_COMMAND)) } else { Ok(found) };
        }
        let withheld = if is_foreign { self.environment.len() } else { 0 };
        let mut allowed = self.dotenv.into_iter().chain(self.environment.into_iter().skip(withheld));
        if let Some(Candidate { name, key }) = allowed.next() {
            return Ok(Found { from: Some(name), credential: Credential::Known(key?) });
        }
        if headers.has_credential() || is_loopback(url) && withheld == 0 {
            let from = headers.has_credential().then_some("a header");
            return Ok(Found { from, credential: Credential::Known(Key::None) });
        }
        Err(Error::Config(if is_foreign { FOREIGN_SERVER } else { NO_CREDENTIAL }.into()))
    }
}

/// The key in a text, without the line end that an editor or a command leaves behind it. None if it is no key.
pub fn key(text: &str, kind: Kind) -> Option<Key> {
    let text = text.trim();
    let is_key = (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    is_key.then(|| kind(text.to_owned()))
}

/// The key in the file that the variable `name` names.
fn read(name: &str, path: &str, kind: Kind) -> Result<Key> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST as u64 + 3).read_to_end(&mut bytes));
    read.map_err(|err| Error::Config(format!("`{name}`: failed to read file `{path}`: {err}")))?;
    let found = key(&String::from_utf8_lossy(&bytes), kind);
    found.ok_or_else(|| Error::Config(format!("file `{path}`, which `{name}` names, {NO_KEY}")))
}
