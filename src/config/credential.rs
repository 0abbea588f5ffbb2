//! What gives access to a server: the headers of the user, and one of the credentials that are set.
//!
//! Two rules hold. A bearer token wins over a key, as in other clients: who sets one means a gateway, and the key is
//! left from the shell's profile. And a server that only `.env` names gets what the same file holds, or nothing:
//! neither the environment nor a file nor `--key-command` speaks for a server that a repository chose.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::environment::{in_environment, malformed};
use super::gateway::CUSTOM_HEADERS;
use super::proxy::is_loopback;
use super::variables::{API_KEY, AUTH_TOKEN, Variables, not_sent};
use super::{gateway, key_command};
use crate::api::connection::Server;
use crate::api::credential::{Credential, Key, Kind, LONGEST_KEY};
use crate::api::headers::Headers;
use crate::api::transport::Endpoint;
use crate::cli::args::Gateway;
use crate::error::{Error, Result};
use crate::secrets::Secrets;

/// They name files that hold a credential, as containers have them.
pub const API_KEY_FILE: &str = "ANTHROPIC_API_KEY_FILE";
pub const AUTH_TOKEN_FILE: &str = "ANTHROPIC_AUTH_TOKEN_FILE";
const KEY_COMMAND: &str = "--key-command";

/// The variables that may hold or name a credential, what wins first.
const VARIABLES: [(&str, &str, Kind); 2] =
    [(AUTH_TOKEN, AUTH_TOKEN_FILE, Key::Bearer), (API_KEY, API_KEY_FILE, Key::Plain)];

const NO_KEY: &str = "contains no key, or a character that cannot be in a key (a space or a line end?)";
const NO_CREDENTIAL: &str = "no credential: set `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN` in the environment \
                             or in `.env`; any word will do if the server needs none (`meanwhile demo` needs none)";
const FOREIGN_SERVER: &str = "`.env` sets `ANTHROPIC_BASE_URL` but no credential, and a credential from the \
                              environment is not sent to a server that a file in the working directory names: set \
                              `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN` in the same `.env`";

/// What is set, in use or not.
pub struct Access {
    headers: Headers,
    dotenv: Vec<Candidate>,
    environment: Vec<Candidate>,
    /// Only `.env` names the server.
    is_foreign: bool,
    /// What must not be sent or kept.
    pub secrets: Secrets,
}

/// A variable that is set, and the credential in it or in its file.
type Candidate = (&'static str, Result<Key>);

/// What is sent to a server for access to it.
pub struct Found {
    /// The option or variable that the credential comes from; None if the server needs none.
    pub from: Option<&'static str>,
    credential: Credential,
    headers: Headers,
    secrets: Secrets,
}

impl Access {
    /// Reads the variables, and the files that they name. Fails if a header is malformed, or must not be sent to the
    /// server.
    pub fn read(typed: &Gateway, variables: &Variables) -> Result<Access> {
        let is_foreign = variables.names_foreign_server();
        let headers = gateway::headers(typed, is_foreign)?;
        let (mut dotenv, mut environment): (Vec<Candidate>, Vec<Candidate>) = Default::default();
        for (name, file, kind) in VARIABLES {
            let key = |value: String| Key::parse(&value, kind).ok_or_else(|| malformed(name, NO_KEY));
            dotenv.extend(variables.in_dotenv(name).map(|value| (name, key(value))));
            environment.extend(in_environment(name).transpose().map(|value| (name, value.and_then(key))));
            let key = |path: String| read(file, &path, kind);
            environment.extend(in_environment(file).transpose().map(|path| (file, path.and_then(key))));
        }
        let keys = dotenv.iter().chain(&environment).flat_map(|(_, key)| key);
        let secrets = keys.filter_map(Key::secret).map(str::to_owned).chain(headers.secrets());
        // A server that does not get the headers of the environment must not read them in a file either.
        let custom = gateway::custom_headers()?;
        let secrets = Secrets::new(secrets.chain(custom.secrets()).collect());
        Ok(Access { headers, dotenv, environment, is_foreign, secrets })
    }

    /// The names of the headers, or that some are not sent; None if there are none.
    pub fn header_names(&self) -> Option<Result<String, String>> {
        let is_set = in_environment(CUSTOM_HEADERS).is_ok_and(|lines| lines.is_some());
        if self.is_foreign && is_set {
            return Some(Err(format!("`{CUSTOM_HEADERS}` is not sent to a server that only `.env` names")));
        }
        let names = self.headers.names();
        (!names.is_empty()).then(|| Ok(names.join(", ")))
    }

    /// What to send to the server at `url`. Fails if there is no credential, none that may be sent there, or if it is
    /// malformed.
    pub fn find(self, url: &str, typed: &Gateway, folder: &Path) -> Result<Found> {
        let Access { headers, dotenv, environment, is_foreign, secrets } = self;
        let withheld = if is_foreign { environment.len() } else { 0 };
        let mut allowed = dotenv.into_iter().chain(environment.into_iter().skip(withheld));
        let (from, credential) = if let Some(command) = &typed.key_command {
            if is_foreign {
                return Err(not_sent(KEY_COMMAND));
            }
            let printed = key_command::printed(command, folder, &secrets);
            (Some(KEY_COMMAND), Credential::Printed(printed))
        } else if let Some((name, key)) = allowed.next() {
            (Some(name), Credential::Known(key?))
        } else if headers.has_credential() {
            (Some("a header"), Credential::Known(Key::None))
        } else if is_loopback(url) && withheld == 0 {
            (None, Credential::Known(Key::None))
        } else {
            return Err(Error::Config(if is_foreign { FOREIGN_SERVER } else { NO_CREDENTIAL }.into()));
        };
        Ok(Found { from, credential, headers, secrets })
    }
}

impl Found {
    /// The server with what is sent to it for access.
    pub fn endpoint(self, server: Server, idle_timeout: Duration) -> Endpoint {
        let Found { credential, headers, secrets, .. } = self;
        Endpoint { server, credential, headers, secrets, idle_timeout }
    }
}

/// The key in the file that the variable `name` names.
fn read(name: &str, path: &str, kind: Kind) -> Result<Key> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST_KEY as u64 + 3).read_to_end(&mut bytes));
    read.map_err(|err| Error::Config(format!("`{name}`: failed to read file `{path}`: {err}")))?;
    let found = Key::parse(&String::from_utf8_lossy(&bytes), kind);
    found.ok_or_else(|| Error::Config(format!("file `{path}`, which `{name}` names, {NO_KEY}")))
}
