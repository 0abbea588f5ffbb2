//! The variables, from `.env` or else from the environment, and the server and credential they name.
//!
//! A credential of the environment is never paired with a server that `.env` names.

use std::env;
use std::fs::{self, Metadata};
use std::path::Path;

use super::dotenv;
use crate::api::connection::Server;
use crate::api::transport::Credential;
use crate::error::{Error, Result};

pub const API_KEY: &str = "ANTHROPIC_API_KEY";
pub const AUTH_TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
const BASE_URL: &str = "ANTHROPIC_BASE_URL";
pub const MODEL_ID: &str = "MODEL_ID";
const CERTIFICATES: &str = "SSL_CERT_FILE";
const PUBLIC_API: &str = "https://api.anthropic.com";

const NO_CREDENTIAL: &str = "no credential: set `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN` in the environment \
                             or in `.env` (`meanwhile demo` needs none)";
const FOREIGN_SERVER: &str = "`.env` sets `ANTHROPIC_BASE_URL` but no credential, and a credential from the \
                              environment is not sent to a server that a file in the working directory names: set \
                              `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN` in the same `.env`";

/// In bytes. A larger `.env` is ignored.
const LARGEST_DOTENV: u64 = 1024 * 1024;

/// The variables of `.env`, which override those of the environment.
pub struct Variables {
    dotenv: Vec<(String, String)>,
}

impl Variables {
    /// Reads `.env` in `folder`, if there is one. Fails if it can't be read or a value in it has no end.
    pub fn read(folder: &Path) -> Result<Variables> {
        let path = folder.join(".env");
        // Anything else, like a FIFO, might block.
        let is_dotenv = |found: &Metadata| found.is_file() && found.len() <= LARGEST_DOTENV;
        if !fs::metadata(&path).is_ok_and(|found| is_dotenv(&found)) {
            return Ok(Variables { dotenv: Vec::new() });
        }
        let text = read(&path)?;
        let names = [MODEL_ID, API_KEY, AUTH_TOKEN, BASE_URL];
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

    /// The credential for the server. Fails if there is none, or none that may be sent to that server.
    pub fn credential(&self) -> Result<Credential> {
        let (found, none) = match self.in_dotenv(BASE_URL) {
            Some(_) => (credential(|name| Ok(self.in_dotenv(name)))?, FOREIGN_SERVER),
            None => (credential(|name| self.get(name))?, NO_CREDENTIAL),
        };
        found.ok_or_else(|| Error::Config(none.into()))
    }

    /// Every credential that is set, in `.env` or the environment, in use or not.
    pub fn secrets(&self) -> Vec<String> {
        let names = [API_KEY, AUTH_TOKEN];
        let set = names.map(|name| [in_environment(name).ok().flatten(), self.in_dotenv(name)]);
        set.into_iter().flatten().flatten().collect()
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

    fn in_dotenv(&self, name: &str) -> Option<String> {
        let found = self.dotenv.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }
}

fn in_environment(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(malformed(name, "is not UTF-8")),
    }
}

fn credential(get: impl Fn(&str) -> Result<Option<String>>) -> Result<Option<Credential>> {
    for (name, kind) in
        [(API_KEY, Credential::ApiKey as fn(String) -> Credential), (AUTH_TOKEN, Credential::AuthToken)]
    {
        if let Some(value) = get(name)? {
            if !value.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(malformed(
                    name,
                    "contains a character that cannot be in a key (a space or a line end?)",
                ));
            }
            return Ok(Some(kind(value)));
        }
    }
    Ok(None)
}

/// The URL of the messages resource. The base URL may have a path and end with a slash.
fn messages_url(base: &str) -> Result<String> {
    let authority = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    let host = authority.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#');
    if host.is_empty() || host.contains('@') || base.contains(odd) {
        return Err(malformed(BASE_URL, "is not a URL of the form `https://HOST[:PORT][/PATH]`"));
    }
    Ok(format!("{}/v1/messages", base.trim_end_matches('/')))
}

/// The proxy for `url`, found as curl does: by the scheme, and none for a host in `NO_PROXY`. `HTTP_PROXY` in capitals is
/// ignored: in a CGI program, a client could set it.
fn proxy(url: &str) -> Result<Option<String>> {
    let is_https = url.starts_with("https://");
    let names: &[&str] = if is_https { &["https_proxy", "HTTPS_PROXY"] } else { &["http_proxy"] };
    let host = url.split("://").nth(1).unwrap_or_default();
    let host = host.split(['/', ':']).next().unwrap_or_default();
    for name in ["no_proxy", "NO_PROXY"] {
        if in_environment(name)?.is_some_and(|list| exempts(&list, host)) {
            return Ok(None);
        }
    }
    for name in names.iter().chain(&["all_proxy", "ALL_PROXY"]) {
        if let Some(proxy) = in_environment(name)? {
            return Ok(Some(proxy));
        }
    }
    Ok(None)
}

/// Whether `NO_PROXY` lists the host: as `*`, by name, or by the name of a domain above it.
fn exempts(list: &str, host: &str) -> bool {
    let host = format!(".{}", host.to_lowercase());
    list.split([',', ' ']).any(|name| {
        let name = name.trim_start_matches("*.").trim_start_matches('.').to_lowercase();
        name == "*" || !name.is_empty() && host.ends_with(&format!(".{name}"))
    })
}

/// Fails with the path and the cause.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|err| Error::Config(format!("failed to read file `{}`: {err}", path.display())))
}

fn malformed(name: &str, what: &str) -> Error {
    Error::Config(format!("`{name}` {what}; set it in the environment or in `.env`"))
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
    fn no_proxy_names_hosts_and_what_is_below_them() {
        let cases = [
            ("*", "a.b", true),
            ("x,a.b", "a.b", true),
            (".a.b", "c.a.b", true),
            ("*.a.b", "c.a.b", true),
            ("a.b", "ca.b", false),
            ("", "a.b", false),
            ("127.0.0.1, localhost", "localhost", true),
        ];
        for (list, host, expected) in cases {
            assert_eq!(exempts(list, host), expected, "{list} {host}");
        }
    }

    #[test]
    fn the_base_url_takes_a_path_and_a_slash() {
        let cases = [
            ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/messages"),
            ("https://host/a/b//", "https://host/a/b/v1/messages"),
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
