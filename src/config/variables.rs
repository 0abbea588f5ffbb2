//! The variables of the environment, those of `.env` before them, and what they say of the server.

use std::{
    env,
    fs::{self, File},
    io::Read,
    path::Path,
};

use super::dotenv;
use crate::{
    api::{connection::Server, transport::Credential},
    error::{Error, Result},
};

pub const API_KEY: &str = "ANTHROPIC_API_KEY";
pub const AUTH_TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
const BASE_URL: &str = "ANTHROPIC_BASE_URL";
pub const MODEL_ID: &str = "MODEL_ID";
const CERTIFICATES: &str = "SSL_CERT_FILE";
const PUBLIC_API: &str = "https://api.anthropic.com";

/// A `.env` that is larger is none.
const LARGEST_DOTENV: u64 = 1024 * 1024;

/// The variables of the environment, and those of `.env` before them.
pub struct Variables {
    dotenv: Vec<(String, String)>,
}

impl Variables {
    pub fn read(folder: &Path) -> Result<Variables> {
        let path = folder.join(".env");
        let names = [MODEL_ID, API_KEY, AUTH_TOKEN, BASE_URL];
        let text = match fs::metadata(&path) {
            // Anything else (a FIFO, a folder) is no `.env`, and might block.
            Ok(found) if found.is_file() && found.len() <= LARGEST_DOTENV => read(&path)?,
            _ => return Ok(Variables { dotenv: Vec::new() }),
        };
        let dotenv = dotenv::parse(&String::from_utf8_lossy(&text), &names)
            .map_err(|err| Error::Config(format!("`{}`: {err}", path.display())))?;
        Ok(Variables { dotenv })
    }

    /// The value in force; an empty one counts as none.
    pub fn get(&self, name: &str) -> Result<Option<String>> {
        match self.in_dotenv(name) {
            Some(value) => Ok(Some(value)),
            None => in_environment(name),
        }
    }

    /// The credential for the server that `target` names.
    pub fn credential(&self) -> Result<Credential> {
        match self.in_dotenv(BASE_URL) {
            Some(_) => credential(|name| Ok(self.in_dotenv(name)))?.ok_or_else(foreign_server),
            None => credential(|name| self.get(name))?.ok_or_else(no_credential),
        }
    }

    /// Every credential that is set anywhere, in use or not.
    pub fn secrets(&self) -> Vec<String> {
        let names = [API_KEY, AUTH_TOKEN];
        let set = names.into_iter().flat_map(|name| {
            let outside = in_environment(name).ok().flatten();
            [outside, self.in_dotenv(name)]
        });
        set.flatten().collect()
    }

    pub fn server(&self) -> Result<Server> {
        let base = self.get(BASE_URL)?.unwrap_or(PUBLIC_API.into());
        let roots = match env::var_os(CERTIFICATES).filter(|path| !path.is_empty()) {
            Some(path) => Some(certificates(Path::new(&path))?),
            None => None,
        };
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
                return Err(malformed(name, "holds a character that no key has (a space, a line end?)"));
            }
            return Ok(Some(kind(value)));
        }
    }
    Ok(None)
}

/// The base URL may have a path and end with a slash.
fn messages_url(base: &str) -> Result<String> {
    let authority = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    let host = authority.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#');
    if host.is_empty() || host.contains('@') || base.contains(odd) {
        let text = "is no base URL: it takes the form `https://HOST[:PORT][/PATH]`";
        return Err(malformed(BASE_URL, text));
    }
    Ok(format!("{}/v1/messages", base.trim_end_matches('/')))
}

/// The proxy for `url`, as curl finds it: by the scheme, and not for a host that `NO_PROXY` names.
/// `HTTP_PROXY` in capitals is not looked at: in a CGI program a client could set it.
fn proxy(url: &str) -> Result<Option<String>> {
    let names: &[&str] = match url.starts_with("https://") {
        true => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        false => &["http_proxy", "all_proxy", "ALL_PROXY"],
    };
    let host = url.split("://").nth(1).unwrap_or_default();
    let host = host.split(['/', ':']).next().unwrap_or_default();
    for name in ["no_proxy", "NO_PROXY"] {
        if in_environment(name)?.is_some_and(|list| exempts(&list, host)) {
            return Ok(None);
        }
    }
    for name in names {
        if let Some(proxy) = in_environment(name)? {
            return Ok(Some(proxy));
        }
    }
    Ok(None)
}

/// `NO_PROXY`: `*`, or names that stand for themselves and for all below them.
fn exempts(list: &str, host: &str) -> bool {
    list.split([',', ' ']).any(|name| {
        let name = name.trim_start_matches("*.").trim_start_matches('.');
        name == "*"
            || !name.is_empty()
                && (host.eq_ignore_ascii_case(name)
                    || host.to_lowercase().ends_with(&format!(".{}", name.to_lowercase())))
    })
}

fn certificates(path: &Path) -> Result<Vec<u8>> {
    read(path).map_err(|err| Error::Config(format!("`{CERTIFICATES}`: {err}")))
}

pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut content)) {
        Ok(_) => Ok(content),
        Err(err) => Err(Error::Config(format!("failed to read file `{}`: {err}", path.display()))),
    }
}

fn malformed(name: &str, what: &str) -> Error {
    Error::Config(format!("`{name}` {what}; set it in the environment or in `.env`"))
}

pub fn no_model() -> Error {
    let text = "no model: set `MODEL_ID`, in the environment or in `.env`, or give `--model ID` \
                (`meanwhile demo` needs none)";
    Error::Config(text.into())
}

fn no_credential() -> Error {
    let text = "no credential: set `ANTHROPIC_API_KEY` (or `ANTHROPIC_AUTH_TOKEN`), in the environment or in \
                `.env` (`meanwhile demo` needs none)";
    Error::Config(text.into())
}

fn foreign_server() -> Error {
    let text = "`.env` sets `ANTHROPIC_BASE_URL` and no credential: the one of the environment is not sent to \
                a server that a file in the working directory names; set `ANTHROPIC_API_KEY` or \
                `ANTHROPIC_AUTH_TOKEN` in the same `.env`";
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
