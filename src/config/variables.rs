//! The variables, from `.env` or else from the environment, and the server they name.

use std::env;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use super::dotenv;
use super::environment::{in_environment, malformed};
use super::proxy::proxy;
use crate::api::connection::Server;
use crate::error::{Error, Result};

pub const API_KEY: &str = "ANTHROPIC_API_KEY";
pub const AUTH_TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
const BASE_URL: &str = "ANTHROPIC_BASE_URL";
pub const MODEL_ID: &str = "MODEL_ID";
const MODEL: &str = "ANTHROPIC_MODEL";
const CERTIFICATES: &str = "SSL_CERT_FILE";
const PUBLIC_API: &str = "https://api.anthropic.com";

/// In bytes. A larger `.env` is ignored.
const LARGEST_DOTENV: u64 = 1024 * 1024;

/// The variables of `.env`, which override those of the environment.
pub struct Variables {
    dotenv: Vec<(String, String)>,
}

impl Variables {
    /// Reads `.env` in `folder`, if there is one that this user may read: in a shared folder it may be somebody
    /// else's. Fails if a value in it has no end.
    pub fn read(folder: &Path) -> Result<Variables> {
        let path = folder.join(".env");
        // Anything else, like a FIFO, might block.
        let is_dotenv = |found: &Metadata| found.is_file() && found.len() <= LARGEST_DOTENV;
        if !fs::metadata(&path).is_ok_and(|found| is_dotenv(&found)) {
            return Ok(Variables { dotenv: Vec::new() });
        }
        let text = match fs::read(&path) {
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied => Vec::new(),
            read => read.map_err(|err| unreadable(&path, &err))?,
        };
        let names = [MODEL_ID, MODEL, API_KEY, AUTH_TOKEN, BASE_URL];
        let dotenv = dotenv::parse(&String::from_utf8_lossy(&text), &names);
        let dotenv = dotenv.map_err(|err| Error::Config(format!("`{}`: {err}", path.display())))?;
        Ok(Variables { dotenv })
    }

    /// The value in force; None if it is not set or empty. Fails if it is not UTF-8.
    pub fn get(&self, name: &str) -> Result<Option<String>> {
        match self.in_dotenv(name) {
            Some(value) => Ok(Some(value)),
            None => in_environment(name),
        }
    }

    /// The model in force: `MODEL_ID`, or else what other clients call it. Fails if it is not UTF-8.
    pub fn model(&self) -> Result<Option<(&'static str, String)>> {
        for name in [MODEL_ID, MODEL] {
            if let Some(model) = self.get(name)? {
                return Ok(Some((name, model)));
            }
        }
        Ok(None)
    }

    /// Whether `.env` names another server than the environment does.
    pub fn names_foreign_server(&self) -> bool {
        let own = in_environment(BASE_URL).ok().flatten().unwrap_or(PUBLIC_API.into());
        let named = self.in_dotenv(BASE_URL);
        named.is_some_and(|named| messages_url(&named).ok() != messages_url(&own).ok())
    }

    /// The server to send requests to. Fails if its URL is invalid or the certificates can't be read.
    pub fn server(&self) -> Result<Server> {
        let base = self.get(BASE_URL)?.unwrap_or(PUBLIC_API.into());
        let roots = env::var_os(CERTIFICATES).filter(|path| !path.is_empty());
        let roots = roots.map(|path| read(Path::new(&path))).transpose();
        let roots = roots.map_err(|err| Error::Config(format!("`{CERTIFICATES}`: {err}")))?;
        let url = messages_url(&base)?;
        Ok(Server { proxy: proxy(&url)?, url, roots })
    }

    /// The value in `.env`; None if it is not set there or empty.
    pub fn in_dotenv(&self, name: &str) -> Option<String> {
        let found = self.dotenv.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }
}

/// The URL of the messages resource. The base URL may have a path and end with a slash; as other clients take them, it
/// may end with `/v1` or be the whole URL.
fn messages_url(base: &str) -> Result<String> {
    let authority = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    let host = authority.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#');
    if host.is_empty() || host.contains('@') || base.contains(odd) {
        return Err(malformed(BASE_URL, "is not a URL of the form `https://HOST[:PORT][/PATH]`"));
    }
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix("/messages").filter(|base| base.ends_with("/v1")).unwrap_or(base);
    // A host may be called `v1`.
    let without = base.strip_suffix("/v1").map(|base| base.trim_end_matches('/'));
    let base = without.filter(|base| base.contains("//")).unwrap_or(base);
    Ok(format!("{base}/v1/messages"))
}

/// Fails with the path and the cause.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|err| unreadable(path, &err))
}

fn unreadable(path: &Path, err: &io::Error) -> Error {
    Error::Config(format!("failed to read file `{}`: {err}", path.display()))
}

/// What `option` gives must not go to a server that only `.env` names.
pub fn not_sent(option: &str) -> Error {
    Error::Config(format!(
        "what {option} says is not sent to a server that a file in the working directory names (`.env` sets \
         `{BASE_URL}`): set `{BASE_URL}` in the environment"
    ))
}

pub fn no_model() -> Error {
    let text = "no model: set `MODEL_ID` in the environment or in `.env`, or use `--model ID` \
                (`meanwhile demo` needs none)";
    Error::Config(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_takes_a_path_and_a_slash() {
        let cases = [
            ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/messages"),
            ("https://host/a/b//", "https://host/a/b/v1/messages"),
            ("https://host/v1", "https://host/v1/messages"),
            ("https://host/a//v1/", "https://host/a/v1/messages"),
            ("https://host/v1/messages", "https://host/v1/messages"),
            ("https://host/messages", "https://host/messages/v1/messages"),
            ("https://v1", "https://v1/v1/messages"),
        ];
        for (base, expected) in cases {
            assert_eq!(messages_url(base).unwrap(), expected);
        }
        for base in
            ["", "host", "ftp://host", "https://", "https:///x", "http://a b", "http://u:p@h", "http://h?x"]
        {
            assert!(messages_url(base).is_err(), "{base}");
        }
    }
}
