//! Arguments, environment and `.env` to one `Config`: every value is decided here, once.
//!
//! One rule protects the key: a credential of the real environment never goes to a server that a
//! `.env` names, since that file comes with whatever repository one happens to be in.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    api::{
        recording::Replay,
        transport::{Credential, Endpoint, Target},
    },
    cli::{Args, Session},
    dotenv,
    error::{Error, Result},
};

const API_KEY: &str = "ANTHROPIC_API_KEY";
const AUTH_TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
const BASE_URL: &str = "ANTHROPIC_BASE_URL";
const MODEL_ID: &str = "MODEL_ID";
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// The model of a recording, which no request asks for.
const RECORDED: &str = "recorded";
const PUBLIC_API: &str = "https://api.anthropic.com";
/// Of all current models (<https://docs.anthropic.com/en/docs/about-claude/models>), at the least.
const CONTEXT_WINDOW: u64 = 200_000;
const MAX_OUTPUT_TOKENS: u32 = 8000;
/// Longer than the API is ever silent: it sends pings.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// With the waits in between, about a minute and a half.
const MAX_RETRIES: u32 = 8;
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(300);
/// Each task costs two processes and a thread.
const MAX_BACKGROUND: usize = 64;
/// A command that prints without end must not fill the disk.
const LOG_LIMIT: u64 = 64 * 1024 * 1024;
/// A `.env` that is larger is none.
const LARGEST_DOTENV: u64 = 1024 * 1024;

/// What the program needs to know.
pub struct Config {
    pub folder: PathBuf,
    pub model: String,
    pub max_output_tokens: u32,
    /// In tokens.
    pub context_window: u64,
    pub session: Session,
    pub source: Source,
    /// How often in a row a failed request is tried again.
    pub max_retries: u32,
    pub max_turns: Option<u64>,
    /// Input and output of the whole run together.
    pub max_total_tokens: Option<u64>,
    pub record: Option<PathBuf>,
    pub background_timeout: Duration,
    pub max_background: usize,
    /// The size in bytes that no command's log exceeds.
    pub log_limit: u64,
    /// Where the program keeps what outlives a run; None when there is no place for it.
    pub state_folder: Option<PathBuf>,
    /// Variables that no command may see.
    pub hidden_variables: Vec<String>,
}

/// Where answers come from.
pub enum Source {
    Api(Endpoint),
    Recording(Replay),
}

impl Config {
    /// Fails with one sentence that names what is missing or malformed, and how to set it.
    pub fn load(args: &Args) -> Result<Config> {
        let folder = working_directory()?;
        let variables = Variables::read(&folder)?;
        let model = match &args.model {
            Some(model) if model.is_empty() => return Err(no_model()),
            Some(model) => Some(model.clone()),
            None => variables.get(MODEL_ID)?,
        };
        let (source, model) = match &args.replay {
            Some(path) => {
                let model = model.unwrap_or(RECORDED.into());
                (Source::Recording(recording(path)?), model)
            }
            None => (
                Source::Api(endpoint(args, &variables)?),
                model.ok_or_else(no_model)?,
            ),
        };
        Ok(Config::new(args, folder, source, model))
    }

    /// The configuration of a run, which keeps nothing, that answers from `replay`, in `folder`.
    pub fn replayed(args: &Args, folder: PathBuf, replay: Replay) -> Config {
        let config = Config::new(args, folder, Source::Recording(replay), "recorded".into());
        Config {
            session: Session::None,
            state_folder: None,
            ..config
        }
    }

    fn new(args: &Args, folder: PathBuf, source: Source, model: String) -> Config {
        Config {
            folder,
            model,
            max_output_tokens: args.max_output_tokens.unwrap_or(MAX_OUTPUT_TOKENS),
            context_window: args.context_window.unwrap_or(CONTEXT_WINDOW),
            session: args.session.clone(),
            source,
            max_retries: args.max_retries.unwrap_or(MAX_RETRIES),
            max_turns: args.max_turns,
            max_total_tokens: args.max_total_tokens,
            record: args.record.clone(),
            background_timeout: args.background_timeout.unwrap_or(BACKGROUND_TIMEOUT),
            max_background: args.max_background.unwrap_or(MAX_BACKGROUND),
            log_limit: args.log_limit.unwrap_or(LOG_LIMIT),
            state_folder: state_folder(),
            hidden_variables: vec![API_KEY.into(), AUTH_TOKEN.into()],
        }
    }
}

/// What `doctor` looks at; each part with what is wrong with it.
pub struct Survey {
    pub target: std::result::Result<Target, String>,
    /// The names of what is set.
    pub model: std::result::Result<String, String>,
    pub credential: std::result::Result<String, String>,
}

/// Looks at the configuration without stopping at the first thing that is missing.
pub fn survey(args: &Args) -> Result<Survey> {
    let variables = Variables::read(&working_directory()?)?;
    let model = match &args.model {
        Some(_) => Ok("--model".into()),
        None => variables
            .get(MODEL_ID)
            .and_then(|model| model.ok_or_else(no_model))
            .map(|_| MODEL_ID.into()),
    };
    let credential = variables.credential().map(|credential| match credential {
        Credential::ApiKey(_) => API_KEY.into(),
        Credential::AuthToken(_) => AUTH_TOKEN.into(),
    });
    let text = |err: Error| err.to_string();
    Ok(Survey {
        target: variables.target().map_err(text),
        model: model.map_err(text),
        credential: credential.map_err(text),
    })
}

/// The variables of the environment, and those of `.env` before them.
struct Variables {
    dotenv: Vec<(String, String)>,
}

impl Variables {
    fn read(folder: &Path) -> Result<Variables> {
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
    fn get(&self, name: &str) -> Result<Option<String>> {
        match self.in_dotenv(name) {
            Some(value) => Ok(Some(value)),
            None => in_environment(name),
        }
    }

    /// The credential for the server that `target` names.
    fn credential(&self) -> Result<Credential> {
        match self.in_dotenv(BASE_URL) {
            Some(_) => credential(|name| Ok(self.in_dotenv(name)))?.ok_or_else(foreign_server),
            None => credential(|name| self.get(name))?.ok_or_else(no_credential),
        }
    }

    fn target(&self) -> Result<Target> {
        let base = self.get(BASE_URL)?.unwrap_or(PUBLIC_API.into());
        let roots = match env::var_os(CERTIFICATES).filter(|path| !path.is_empty()) {
            Some(path) => Some(certificates(Path::new(&path))?),
            None => None,
        };
        let url = messages_url(&base)?;
        Ok(Target {
            proxy: proxy(&url)?,
            url,
            roots,
        })
    }

    fn in_dotenv(&self, name: &str) -> Option<String> {
        let found = self.dotenv.iter().rev().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    }
}

fn in_environment(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(malformed(name, "is not UTF-8")),
    }
}

fn working_directory() -> Result<PathBuf> {
    env::current_dir().map_err(|err| Error::System {
        doing: "find the working directory",
        err,
    })
}

fn endpoint(args: &Args, variables: &Variables) -> Result<Endpoint> {
    let credential = variables.credential()?;
    let Target { url, roots, proxy } = variables.target()?;
    Ok(Endpoint {
        url,
        credential,
        roots,
        proxy,
        idle_timeout: args.idle_timeout.unwrap_or(IDLE_TIMEOUT),
    })
}

fn credential(get: impl Fn(&str) -> Result<Option<String>>) -> Result<Option<Credential>> {
    for (name, kind) in [
        (API_KEY, Credential::ApiKey as fn(String) -> Credential),
        (AUTH_TOKEN, Credential::AuthToken),
    ] {
        if let Some(value) = get(name)? {
            if !value.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(malformed(
                    name,
                    "holds a character that no key has (a space, a line end?)",
                ));
            }
            return Ok(Some(kind(value)));
        }
    }
    Ok(None)
}

/// The base URL may have a path and end with a slash.
fn messages_url(base: &str) -> Result<String> {
    let authority = base
        .strip_prefix("https://")
        .or_else(|| base.strip_prefix("http://"));
    let host = authority
        .and_then(|rest| rest.split(['/', '?', '#']).next())
        .unwrap_or_default();
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
                    || host
                        .to_lowercase()
                        .ends_with(&format!(".{}", name.to_lowercase())))
    })
}

fn recording(path: &Path) -> Result<Replay> {
    let text = read(path)?;
    Replay::parse(
        &path.display().to_string(),
        &String::from_utf8_lossy(&text),
        None,
    )
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut content)) {
        Ok(_) => Ok(content),
        Err(err) => Err(Error::Config(format!(
            "failed to read file `{}`: {err}",
            path.display()
        ))),
    }
}

fn certificates(path: &Path) -> Result<Vec<u8>> {
    read(path).map_err(|err| Error::Config(format!("`{CERTIFICATES}`: {err}")))
}

/// `$XDG_STATE_HOME/meanwhile`, `~/.local/state/meanwhile`, or a folder of the user's own among the
/// temporary files (XDG base directory specification).
pub fn state_folder() -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let state = env::var_os("XDG_STATE_HOME").and_then(absolute);
    let home = env::var_os("HOME")
        .and_then(absolute)
        .map(|home| home.join(".local/state"));
    if let Some(folder) = state.or(home) {
        return Some(folder.join("meanwhile"));
    }
    let user = rustix::process::getuid();
    Some(env::temp_dir().join(format!("meanwhile-{user}")))
}

fn malformed(name: &str, what: &str) -> Error {
    Error::Config(format!(
        "`{name}` {what}; set it in the environment or in `.env`"
    ))
}

fn no_model() -> Error {
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
            (
                "https://api.anthropic.com",
                "https://api.anthropic.com/v1/messages",
            ),
            (
                "http://127.0.0.1:8080/",
                "http://127.0.0.1:8080/v1/messages",
            ),
            ("https://host/a/b//", "https://host/a/b/v1/messages"),
        ];
        for (base, expected) in cases {
            assert_eq!(messages_url(base).unwrap(), expected);
        }
        for base in [
            "",
            "host",
            "ftp://host",
            "https://",
            "https:///x",
            "http://a b",
            "http://u:p@h",
            "http://h?x",
        ] {
            assert!(messages_url(base).is_err(), "{base}");
        }
    }
}
