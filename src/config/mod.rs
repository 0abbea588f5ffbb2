//! Arguments, environment and `.env` to one `Config`: every value is decided here, once.
//!
//! One rule protects the key: a credential of the real environment never goes to a server that a
//! `.env` names, since that file comes with whatever repository one happens to be in.

mod dotenv;
mod variables;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    api::{
        connection::Server,
        recording::Replay,
        transport::{Credential, Endpoint},
    },
    cli::{Args, Loudness, Mode, SandboxMode, Session},
    command::sandbox::Sandbox,
    error::{Error, Result},
    secrets::Secrets,
};
use variables::{API_KEY, AUTH_TOKEN, MODEL_ID, Variables, no_model, read};

/// The model of a recording, which no request asks for.
const RECORDED: &str = "recorded";
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

/// What the program needs to know.
pub struct Config {
    pub folder: PathBuf,
    /// Nothing but errors is said.
    pub is_quiet: bool,
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
    /// Folders that are open beside the working directory.
    pub add_dirs: Vec<PathBuf>,
    pub sandbox: Sandbox,
    /// What no rule decides needs consent.
    pub asks: bool,
    /// The rules, as they were typed.
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    /// Every credential, in use or not.
    pub secrets: Secrets,
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
        let secrets = Secrets::new(variables.secrets());
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
            None => (Source::Api(endpoint(args, &variables, secrets.clone())?), model.ok_or_else(no_model)?),
        };
        Ok(Config::new(args, folder, source, model, secrets))
    }

    /// The configuration of a run, which keeps nothing, that answers from `replay`, in `folder`.
    pub fn replayed(args: &Args, folder: PathBuf, replay: Replay) -> Config {
        let config =
            Config::new(args, folder, Source::Recording(replay), "recorded".into(), Secrets::default());
        Config { session: Session::None, state_folder: None, ..config }
    }

    /// Where the logs of tasks go.
    pub fn log_folder(&self) -> Option<PathBuf> {
        self.state_folder.as_ref().map(|folder| folder.join("tasks"))
    }

    fn new(args: &Args, folder: PathBuf, source: Source, model: String, secrets: Secrets) -> Config {
        let add_dirs: Vec<PathBuf> = args.add_dirs.iter().map(|added| folder.join(added)).collect();
        let sandbox = sandbox(args, &folder, &add_dirs);
        // A conversation has no end that these could bring about.
        let is_print = args.mode == Mode::Print;
        Config {
            folder,
            is_quiet: args.loudness == Loudness::Quiet,
            model,
            max_output_tokens: args.max_output_tokens.unwrap_or(MAX_OUTPUT_TOKENS),
            context_window: args.context_window.unwrap_or(CONTEXT_WINDOW),
            session: args.session.clone(),
            source,
            max_retries: args.max_retries.unwrap_or(MAX_RETRIES),
            max_turns: args.max_turns.filter(|_| is_print),
            max_total_tokens: args.max_total_tokens.filter(|_| is_print),
            record: args.record.clone(),
            background_timeout: args.background_timeout.unwrap_or(BACKGROUND_TIMEOUT),
            max_background: args.max_background.unwrap_or(MAX_BACKGROUND),
            log_limit: args.log_limit.unwrap_or(LOG_LIMIT),
            state_folder: state_folder(),
            secrets,
            sandbox,
            asks: args.asks,
            allow: args.allow.clone(),
            deny: args.deny.clone(),
            add_dirs,
            hidden_variables: hidden_variables(args),
        }
    }
}

/// What `doctor` looks at; each part with what is wrong with it.
pub struct Survey {
    pub server: std::result::Result<Server, String>,
    /// The names of what is set.
    pub model: std::result::Result<String, String>,
    pub credential: std::result::Result<String, String>,
}

/// Looks at the configuration without stopping at the first thing that is missing.
pub fn survey(args: &Args) -> Result<Survey> {
    let variables = Variables::read(&working_directory()?)?;
    let model = match &args.model {
        Some(model) if model.is_empty() => Err(no_model()),
        Some(_) => Ok("--model".into()),
        None => variables.get(MODEL_ID).and_then(|model| model.ok_or_else(no_model)).map(|_| MODEL_ID.into()),
    };
    let credential = variables.credential().map(|credential| match credential {
        Credential::ApiKey(_) => API_KEY.into(),
        Credential::AuthToken(_) => AUTH_TOKEN.into(),
    });
    let text = |err: Error| err.to_string();
    Ok(Survey {
        server: variables.server().map_err(text),
        model: model.map_err(text),
        credential: credential.map_err(text),
    })
}

fn working_directory() -> Result<PathBuf> {
    env::current_dir().map_err(|err| Error::System { doing: "find the working directory", err })
}

fn endpoint(args: &Args, variables: &Variables, secrets: Secrets) -> Result<Endpoint> {
    Ok(Endpoint {
        credential: variables.credential()?,
        server: variables.server()?,
        secrets,
        idle_timeout: args.idle_timeout.unwrap_or(IDLE_TIMEOUT),
    })
}

fn recording(path: &Path) -> Result<Replay> {
    let text = read(path)?;
    Replay::parse(&path.display().to_string(), &String::from_utf8_lossy(&text), None)
}

/// What commands are kept from.
fn sandbox(args: &Args, folder: &Path, add_dirs: &[PathBuf]) -> Sandbox {
    let writable = match args.sandbox {
        SandboxMode::Off => None,
        SandboxMode::ReadOnly => Some(Vec::new()),
        SandboxMode::Workspace => {
            let mut folders = vec![folder.to_owned(), env::temp_dir()];
            folders.extend_from_slice(add_dirs);
            Some(folders)
        }
    };
    Sandbox { writable, no_network: args.no_network, best_effort: args.best_effort }
}

/// The credentials, what `--drop-env` names and with `--scrub-env` what looks like a secret, less what
/// `--keep-env` names.
fn hidden_variables(args: &Args) -> Vec<String> {
    let mut hidden = vec![API_KEY.to_owned(), AUTH_TOKEN.to_owned()];
    hidden.extend_from_slice(&args.drop_env);
    if args.scrub_env {
        let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        hidden.extend(names.filter(|name| looks_secret(name)));
    }
    hidden.retain(|name| !args.keep_env.contains(name));
    hidden
}

fn looks_secret(name: &str) -> bool {
    const ENDS: [&str; 8] =
        ["TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIALS", "PASSPHRASE", "PRIVATE"];
    let name = name.to_ascii_uppercase();
    ENDS.iter().any(|end| name.ends_with(end))
}

/// `$XDG_STATE_HOME/meanwhile`, `~/.local/state/meanwhile`, or a folder of the user's own among the
/// temporary files (XDG base directory specification).
pub fn state_folder() -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let state = env::var_os("XDG_STATE_HOME").and_then(absolute);
    let home = env::var_os("HOME").and_then(absolute).map(|home| home.join(".local/state"));
    if let Some(folder) = state.or(home) {
        return Some(folder.join("meanwhile"));
    }
    let user = rustix::process::getuid();
    // Nobody makes a temp folder that is not there.
    let temp = Some(env::temp_dir()).filter(|temp| temp.is_dir())?;
    Some(temp.join(format!("meanwhile-{user}")))
}
