//! Arguments, environment and `.env` become one `Config`: every value is decided here, once.
//!
//! One rule protects the key: a credential of the environment is never sent to a server that `.env` names,
//! because that file comes with the repository.

mod dotenv;
mod variables;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::connection::Server;
use crate::api::recording::Replay;
use crate::api::transport::{Credential, Endpoint, Source};
use crate::cli::args::{Args, Commands, Limits, RunOptions, SandboxMode, Service, Session};
use crate::command::sandbox::Sandbox;
use crate::error::{Error, Result};
use crate::secrets::Secrets;
use variables::{API_KEY, AUTH_TOKEN, MODEL_ID, Variables, no_model, read};

/// The model of a recording, if none is named: no request asks for it.
const RECORDED: &str = "recorded";

/// All that the program needs to know.
pub struct Config {
    pub folder: PathBuf,
    /// Where the program keeps what outlives a run; None if there is no place for it.
    pub state_folder: Option<PathBuf>,
    pub run: RunOptions,
    pub model: String,
    pub source: Source,
    /// Every credential, in use or not.
    pub secrets: Secrets,
    pub session: Session,
    pub limits: Limits,
    pub service: Service,
    /// With folders that are absolute.
    pub commands: Commands,
    pub sandbox: Sandbox,
    /// Variables that no command may see.
    pub hidden_variables: Vec<String>,
}

impl Config {
    /// Fails with one sentence that names what is missing or malformed, and how to set it.
    pub fn load(args: Args) -> Result<Config> {
        let folder = working_directory()?;
        let variables = Variables::read(&folder)?;
        let secrets = Secrets::new(variables.secrets());
        let model = model(&args, &variables)?;
        let (source, model) = match &args.replay {
            Some(path) => (Source::Recording(recording(path)?), model.unwrap_or(RECORDED.into())),
            None => {
                let endpoint = endpoint(&variables, secrets.clone(), args.limits.idle_timeout)?;
                (Source::Api(endpoint), model.ok_or_else(no_model)?)
            }
        };
        Ok(Config::new(args, folder, source, model, secrets))
    }

    /// The configuration of a run in `folder` that answers from `replay` and keeps nothing.
    pub fn replayed(args: Args, folder: PathBuf, replay: Replay) -> Config {
        let source = Source::Recording(replay);
        let config = Config::new(args, folder, source, RECORDED.into(), Secrets::default());
        Config { session: Session::None, state_folder: None, ..config }
    }

    /// Where the logs of tasks go.
    pub fn log_folder(&self) -> Option<PathBuf> {
        self.state_folder.as_ref().map(|folder| folder.join("tasks"))
    }

    fn new(args: Args, folder: PathBuf, source: Source, model: String, secrets: Secrets) -> Config {
        let Args { run, session, limits, mut commands, service, .. } = args;
        for added in &mut commands.add_dirs {
            *added = folder.join(&added);
        }
        Config {
            state_folder: state_folder(),
            sandbox: sandbox(&commands, &folder),
            hidden_variables: hidden_variables(&commands),
            folder,
            run,
            model,
            source,
            secrets,
            session,
            limits,
            service,
            commands,
        }
    }
}

/// What `doctor` reports: each value, or what is wrong with it.
pub struct Survey {
    pub server: Result<Server, String>,
    /// The name of the option or variable that sets it.
    pub model: Result<String, String>,
    pub credential: Result<String, String>,
    pub state_folder: Option<PathBuf>,
}

/// Looks at the configuration without stopping at the first thing that is missing.
pub fn survey(args: &Args) -> Result<Survey> {
    let variables = Variables::read(&working_directory()?)?;
    let name = if args.model.is_some() { "--model" } else { MODEL_ID };
    let model = model(args, &variables).and_then(|model| model.ok_or_else(no_model));
    let credential = variables.credential().map(|credential| match credential {
        Credential::ApiKey(_) => API_KEY.into(),
        Credential::AuthToken(_) => AUTH_TOKEN.into(),
    });
    let text = |err: Error| err.to_string();
    Ok(Survey {
        server: variables.server().map_err(text),
        model: model.map(|_| name.into()).map_err(text),
        credential: credential.map_err(text),
        state_folder: state_folder(),
    })
}

/// The model of `--model`, or else of the variable.
fn model(args: &Args, variables: &Variables) -> Result<Option<String>> {
    match &args.model {
        Some(model) if model.is_empty() => Err(no_model()),
        Some(model) => Ok(Some(model.clone())),
        None => variables.get(MODEL_ID),
    }
}

fn working_directory() -> Result<PathBuf> {
    env::current_dir().map_err(|err| Error::System { doing: "find the working directory", err })
}

fn endpoint(variables: &Variables, secrets: Secrets, idle_timeout: Duration) -> Result<Endpoint> {
    Ok(Endpoint { credential: variables.credential()?, server: variables.server()?, secrets, idle_timeout })
}

fn recording(path: &Path) -> Result<Replay> {
    let text = read(path)?;
    Replay::parse(&path.display().to_string(), &String::from_utf8_lossy(&text), None)
}

/// The rules for commands.
fn sandbox(commands: &Commands, folder: &Path) -> Sandbox {
    let writable = match commands.sandbox {
        SandboxMode::Off => None,
        SandboxMode::ReadOnly => Some(Vec::new()),
        SandboxMode::Workspace => {
            Some([&[folder.to_owned(), env::temp_dir()], &commands.add_dirs[..]].concat())
        }
    };
    Sandbox { writable, no_network: commands.no_network, best_effort: commands.best_effort }
}

/// The credentials, what `--drop-env` names, and with `--scrub-env` what looks like a secret; without what
/// `--keep-env` names.
fn hidden_variables(commands: &Commands) -> Vec<String> {
    let mut hidden = vec![API_KEY.to_owned(), AUTH_TOKEN.to_owned()];
    hidden.extend_from_slice(&commands.drop_env);
    if commands.scrub_env {
        let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        hidden.extend(names.filter(|name| looks_secret(name)));
    }
    hidden.retain(|name| !commands.keep_env.contains(name));
    hidden
}

fn looks_secret(name: &str) -> bool {
    const ENDS: [&str; 8] =
        ["TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIALS", "PASSPHRASE", "PRIVATE"];
    let name = name.to_ascii_uppercase();
    ENDS.iter().any(|end| name.ends_with(end))
}

/// `$XDG_STATE_HOME/meanwhile`, `~/.local/state/meanwhile` (XDG base directory specification), or else a folder of
/// this user in the temp folder. None if there is not even that.
pub fn state_folder() -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let state = env::var_os("XDG_STATE_HOME").and_then(absolute);
    let home = env::var_os("HOME").and_then(absolute).map(|home| home.join(".local/state"));
    if let Some(folder) = state.or(home) {
        return Some(folder.join("meanwhile"));
    }
    let user = rustix::process::getuid();
    // A temp folder that is missing is not created.
    let temp = Some(env::temp_dir()).filter(|temp| temp.is_dir())?;
    Some(temp.join(format!("meanwhile-{user}")))
}
