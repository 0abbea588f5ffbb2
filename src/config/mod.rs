//! Arguments, environment and `.env` become one `Config`: every value is decided here, once.
//!
//! One rule protects the key: a credential that is not in `.env` is never sent to a server that only `.env` names,
//! because that file comes with the repository.

mod credential;
mod dotenv;
pub mod environment;
mod gateway;
mod key_command;
mod proxy;
mod variables;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::api::connection::Server;
use crate::api::recording::Replay;
use crate::api::schema::Schema;
use crate::api::transport::{Endpoint, Source};
use crate::cli::args::{Args, Commands, Limits, RunOptions, SandboxMode, Service, Session, ThinkingOptions};
use crate::command::sandbox::Sandbox;
use crate::error::{Error, Result};
use crate::secrets::Secrets;
use credential::{API_KEY_FILE, AUTH_TOKEN_FILE, Access};
use environment::temp_folder;
use variables::{API_KEY, AUTH_TOKEN, Variables, no_model, not_sent, read};

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
    /// What the user adds to the body of every request.
    pub fields: Map<String, Value>,
    /// Every credential, in use or not.
    pub secrets: Secrets,
    pub session: Session,
    pub limits: Limits,
    /// What the answer must fit.
    pub schema: Option<Schema>,
    pub thinking: ThinkingOptions,
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
        let access = Access::read(&args.gateway, &variables)?;
        let secrets = access.secrets.clone();
        let schema = args.json_schema.as_deref().map(schema).transpose()?;
        let fields = gateway::fields(&args.gateway.bodies)?;
        let secret_fields = gateway::secrets(&fields);
        if variables.names_foreign_server() && !secret_fields.is_empty() {
            return Err(not_sent("--body"));
        }
        secret_fields.into_iter().for_each(|secret| secrets.add(secret));
        let model = model(&args, &variables)?.map(|(_, model)| model);
        let (source, model) = match &args.replay {
            Some(path) => (Source::Recording(recording(path)?), model.unwrap_or(RECORDED.into())),
            None => {
                let server = variables.server()?;
                let found = access.find(&server.url, &args.gateway, &folder)?;
                let endpoint = found.endpoint(server, args.limits.idle_timeout);
                (Source::Api(endpoint), model.ok_or_else(no_model)?)
            }
        };
        let config = Config::new(args, folder, source, model, secrets);
        Ok(Config { fields, schema, ..config })
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
        let Args { run, session, limits, thinking, mut commands, service, .. } = args;
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
            fields: Map::new(),
            secrets,
            session,
            limits,
            schema: None,
            thinking,
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
    /// The option or variable that it comes from; None if none is needed.
    pub credential: Result<Option<&'static str>, String>,
    /// The names of the user's headers, or that some are not sent; None if there are none.
    pub headers: Option<Result<String, String>>,
    /// The server with its credential, and the model; None if one of them is missing.
    pub account: Option<(Endpoint, String)>,
    pub state_folder: Option<PathBuf>,
}

/// Looks at the configuration without stopping at the first thing that is missing.
pub fn survey(args: &Args) -> Result<Survey> {
    let folder = working_directory()?;
    let variables = Variables::read(&folder)?;
    let model = model(args, &variables).and_then(|model| model.ok_or_else(no_model));
    let server = variables.server();
    let url = server.as_ref().map_or("", |server| &server.url);
    let access = Access::read(&args.gateway, &variables);
    let header_names = access.as_ref().ok().and_then(Access::header_names);
    let found = access.and_then(|access| access.find(url, &args.gateway, &folder));
    let text = |err: Error| err.to_string();
    let credential = found.as_ref().map(|found| found.from).map_err(Error::to_string);
    let account = match (&server, &model, found) {
        (Ok(server), Ok((_, model)), Ok(found)) => {
            Some((found.endpoint(server.clone(), args.limits.idle_timeout), model.clone()))
        }
        _ => None,
    };
    Ok(Survey {
        server: server.map_err(text),
        model: model.map(|(name, _)| name.into()).map_err(text),
        credential,
        headers: header_names,
        account,
        state_folder: state_folder(),
    })
}

/// The model of `--model`, or else of a variable, and the name of what sets it.
fn model(args: &Args, variables: &Variables) -> Result<Option<(&'static str, String)>> {
    match &args.model {
        Some(model) if model.is_empty() => Err(no_model()),
        Some(model) => Ok(Some(("--model", model.clone()))),
        None => variables.model(),
    }
}

fn working_directory() -> Result<PathBuf> {
    env::current_dir().map_err(|err| Error::System { doing: "find the working directory", err })
}

fn recording(path: &Path) -> Result<Replay> {
    let text = read(path)?;
    Replay::parse(&path.display().to_string(), &String::from_utf8_lossy(&text), None)
}

/// The schema in a file, or in the value itself.
fn schema(value: &Path) -> Result<Schema> {
    let inline = value.to_str().filter(|text| text.trim_start().starts_with('{'));
    let (name, text) = match inline {
        Some(text) => ("the schema".into(), text.to_owned()),
        None => {
            let text = read(value).map_err(|err| Error::Config(format!("--json-schema: {err}")))?;
            (format!("`{}`", value.display()), String::from_utf8_lossy(&text).into_owned())
        }
    };
    Schema::parse(&text).map_err(|err| Error::Config(format!("--json-schema: {name} {err}")))
}

/// The rules for commands.
fn sandbox(commands: &Commands, folder: &Path) -> Sandbox {
    let writable = match commands.sandbox {
        SandboxMode::Off => None,
        SandboxMode::ReadOnly => Some(Vec::new()),
        SandboxMode::Workspace => {
            Some([&[folder.to_owned(), temp_folder()], &commands.add_dirs[..]].concat())
        }
    };
    Sandbox { writable, no_network: commands.no_network, best_effort: commands.best_effort }
}

/// What holds or names credentials, what `--drop-env` names, and with `--scrub-env` what looks like a secret; without what
/// `--keep-env` names.
fn hidden_variables(commands: &Commands) -> Vec<String> {
    let own = [API_KEY, AUTH_TOKEN, API_KEY_FILE, AUTH_TOKEN_FILE, gateway::CUSTOM_HEADERS];
    let mut hidden = own.map(str::to_owned).to_vec();
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
    let temp = Some(temp_folder()).filter(|temp| temp.is_dir())?;
    Some(temp.join(format!("meanwhile-{user}")))
}
