//! The wiring: from a `Config` to an agent with its transport, tools, tasks and transcript.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{
    agent::{self, Agent},
    api::{
        client::Client,
        request::{Asked, Prefix, Settings},
        schema,
        transport::Transport,
        web,
    },
    background::{self, Tasks},
    cli::args::{Loudness, Session},
    command::{self, children::Children, log::Logs, supervisor},
    config::Config,
    error::{Error, Result},
    session::{
        self,
        store::{Store, Which},
        transcript::{Keeping, Transcript},
    },
    tools::{self, Context, approval::Approval, rules::Rule, workspace::Workspace},
    ui::interrupt::Interrupts,
};

/// The agent that `config` describes. Fails if a file, a folder, a rule or a certificate can't be used.
pub fn agent(config: Config, interrupts: &Interrupts) -> Result<Agent> {
    let transcript = transcript(&config)?;
    let tasks = tasks(&config, interrupts)?;
    let workspace = workspace(&config)?;
    let transport = Transport::new(config.source, config.run.record.as_deref())?;
    let system = system_prompt(&config.folder, &workspace);
    let about = agent::About {
        folder: config.folder.display().to_string(),
        model: config.model.clone(),
        tools: if config.service.web { [&tools::names()[..], &web::NAMES].concat() } else { tools::names() },
    };
    let mut prefix = Prefix {
        system: config.secrets.mask(system).into_owned(),
        tools: tools::definitions(config.commands.background_timeout),
    };
    if config.service.web {
        prefix = prefix.with_web();
    }
    let client = Client::new(
        transport,
        Settings {
            model: config.model,
            long_cache: config.service.long_cache,
            asked: Asked::default(),
            format: config.schema.as_ref().map(|schema| schema::format(schema.as_value())),
            fields: config.fields,
        },
    );
    let context = Context {
        workspace,
        tasks,
        approval: Approval {
            deny: rules("--deny", &config.run.deny)?,
            allow: rules("--allow", &config.run.allow)?,
            asks: config.run.asks,
            asker: None,
        },
        takes_pictures: true,
        secrets: config.secrets,
    };
    Ok(Agent::new(client, context, config.limits, config.thinking, about, transcript, prefix))
}

fn rules(option: &str, texts: &[String]) -> Result<Vec<Rule>> {
    let parse = |text: &String| {
        Rule::parse(text, &tools::names()).map_err(|err| Error::Usage(format!("{option}: {err}")))
    };
    texts.iter().map(parse).collect()
}

/// The folders that the file tools may use: the same as for commands.
fn workspace(config: &Config) -> Result<Workspace> {
    let failed = |path: &Path, err| Error::File { doing: "open the folder", path: path.to_owned(), err };
    let mut workspace = Workspace::open(&config.folder).map_err(|err| failed(&config.folder, err))?;
    for folder in &config.commands.add_dirs {
        workspace.add(folder).map_err(|err| failed(folder, err))?;
    }
    workspace.add_logs(config.log_folder());
    if config.sandbox.writable.as_ref().is_some_and(Vec::is_empty) {
        workspace.make_read_only();
    }
    Ok(workspace)
}

/// The background tasks, with all that commands have in common.
fn tasks(config: &Config, interrupts: &Interrupts) -> Result<Tasks> {
    if config.run.loudness != Loudness::Quiet && !Path::new("/proc/self").exists() {
        let _ = writeln!(
            io::stderr(),
            "meanwhile: /proc is missing: of a command, only the process group can be ended; what left it goes on"
        );
    }
    let doing = "reap the orphans of this container";
    let children = Children::new().map_err(|err| Error::System { doing, err })?;
    let commands = command::start::Settings {
        folder: config.folder.clone(),
        hidden: config.hidden_variables.clone(),
        open_files: supervisor::raise_open_files(),
        logs: config.log_folder().map(|folder| Logs::new(folder, config.commands.log_limit)),
        children: Arc::new(children),
        sandbox: config.sandbox.clone(),
        secrets: config.secrets.clone(),
    };
    let settings = background::Settings {
        commands,
        limit: config.commands.background_timeout,
        max_running: config.commands.max_background,
    };
    Ok(Tasks::new(settings, interrupts.stops.clone()))
}

/// The history to start from, and where it is kept. Fails if a saved session can't be found, opened or read.
fn transcript(config: &Config) -> Result<Transcript> {
    let store = session_store(config.state_folder.clone());
    match &config.session {
        Session::Continue => Transcript::resume(&store?, Which::Latest(&config.folder)),
        Session::Resume(id) => Transcript::resume(&store?, Which::Id(id)),
        Session::None => Ok(Transcript::new(Keeping::Nowhere)),
        Session::New => {
            let (store, folder, model) = (store.ok(), config.folder.clone(), config.model.clone());
            Ok(Transcript::new(Keeping::New { store, folder, model }))
        }
    }
}

/// The saved sessions. Fails if there is no folder for them.
pub fn session_store(state_folder: Option<PathBuf>) -> Result<Store> {
    let folder = state_folder.ok_or_else(|| {
        Error::Session("there is no folder to keep sessions in: set `HOME` or `XDG_STATE_HOME`".into())
    })?;
    Ok(Store { folder: folder.join("sessions") })
}

/// The system prompt with the project's own instructions. They are read like any file of the workspace: links that
/// lead out of it are not followed.
fn system_prompt(folder: &Path, workspace: &Workspace) -> String {
    let instructions = ["AGENTS.md", "CLAUDE.md"].into_iter().find_map(|name| {
        let content = workspace.read(name).ok()?;
        Some((name, String::from_utf8_lossy(&content).into_owned()))
    });
    session::prompt::system_prompt(folder, instructions)
}
