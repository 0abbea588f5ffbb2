//! `meanwhile`: a coding agent that keeps working while your commands run.

#![forbid(unsafe_code)]

mod agent;
mod api;
mod background;
mod cli;
mod command;
mod config;
mod error;
mod private;
mod secrets;
mod session;
mod stop;
mod text;
mod threads;
mod tools;
mod ui;

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use agent::Agent;
use api::{client::Client, recording::Recorder, request, transport::Transport};
use background::Tasks;
use cli::{Args, Mode, Session};
use command::{children::Children, log::Logs, supervisor};
use config::{Config, Source};
use error::{Error, Result};
use session::{
    store::{Store, Which},
    transcript::{Keeping, Transcript},
};
use stop::Stop;
use tools::{Context, approval::Approval, rules::Rule, workspace::Workspace};
use ui::{chat::Sessions, interrupt::Interrupts};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == supervisor::ARGUMENT).is_some() {
        return supervisor::run(arguments);
    }
    supervisor::adopt_orphans();
    supervisor::hide_memory();
    let arguments: Vec<OsString> = arguments.collect();
    let outcome = match Args::parse(arguments.iter().cloned()) {
        Ok(args) => run(args),
        Err(err) => ui::headless::refuse(err, cli::wanted_format(&arguments)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed standard output has read enough.
        Err(Error::Stopped(stop @ Stop::OutputClosed)) => ExitCode::from(stop.exit_code()),
        Err(err) => {
            // Nobody may be listening.
            let _ = writeln!(io::stderr(), "meanwhile: {}", text::sentence(&err.to_string()));
            ExitCode::from(err.exit_code())
        }
    }
}

fn run(args: Args) -> Result<()> {
    match &args.mode {
        Mode::Help => print(&cli::help::help()),
        Mode::Version => print(&cli::version()),
        Mode::Completions(shell) => print(&cli::help::completions(shell)),
        Mode::Man => print(&cli::help::man()),
        Mode::Sessions => print(&ui::sessions::table(&session_store(config::state_folder())?.list())),
        Mode::Doctor => doctor(&args),
        Mode::Demo => ui::demo::run(|folder, replay, interrupts| {
            agent(Config::replayed(&args, folder, replay), interrupts)
        }),
        Mode::Print => ui::headless::print(&args, |interrupts| agent(Config::load(&args)?, interrupts)),
        Mode::Chat => chat(&args),
    }
}

fn chat(args: &Args) -> Result<()> {
    let state_folder = config::state_folder();
    let history = state_folder.as_ref().map(|folder| folder.join("history"));
    let sessions = Sessions {
        table: &|| Ok(ui::sessions::table(&session_store(state_folder.clone())?.list())),
        open: &|id| resumed(state_folder.clone(), Which::Id(id)),
    };
    ui::repl::run(args, history, sessions, |interrupts| agent(Config::load(args)?, interrupts))
}

fn doctor(args: &Args) -> Result<()> {
    let (report, is_well) = ui::doctor::examine(args)?;
    print(&text::visible(&report))?;
    match is_well {
        true => Ok(()),
        false => Err(Error::Config("what is marked with !! is needed and missing".into())),
    }
}

/// Puts the parts together.
fn agent(config: Config, interrupts: &Interrupts) -> Result<Agent> {
    let transcript = transcript(&config)?;
    let tasks = tasks(&config, interrupts)?;
    let workspace = workspace(&config)?;
    let mut transport = match config.source {
        Source::Api(endpoint) => Transport::network(endpoint)?,
        Source::Recording(replay) => Transport::replay(replay),
    };
    if let Some(path) = &config.record {
        transport.record_to(Recorder::create(path)?);
    }
    let system = system_prompt(&config.folder, &workspace);
    let about = agent::About {
        folder: config.folder.display().to_string(),
        model: config.model.clone(),
        tools: tools::names(),
    };
    let client = request::Settings {
        model: config.model,
        max_tokens: config.max_output_tokens,
        system: config.secrets.mask(system).into_owned(),
        tools: tools::definitions(config.background_timeout),
    };
    let context = Context {
        workspace,
        tasks,
        approval: Approval {
            deny: rules("--deny", &config.deny)?,
            allow: rules("--allow", &config.allow)?,
            asks: config.asks,
            asker: None,
        },
        secrets: config.secrets,
    };
    let settings = agent::Settings {
        max_retries: config.max_retries,
        context_window: config.context_window,
        max_turns: config.max_turns,
        max_total_tokens: config.max_total_tokens,
        about,
    };
    Ok(Agent::new(Client::new(transport, client), context, settings, transcript))
}

fn rules(option: &str, texts: &[String]) -> Result<Vec<Rule>> {
    let parse = |text: &String| {
        Rule::parse(text, &tools::names()).map_err(|err| Error::Usage(format!("{option}: {err}")))
    };
    texts.iter().map(parse).collect()
}

/// What the file tools may touch; the same policy as for commands.
fn workspace(config: &Config) -> Result<Workspace> {
    let failed = |path: &Path, err| Error::File { doing: "open the folder", path: path.to_owned(), err };
    let mut workspace = Workspace::open(&config.folder).map_err(|err| failed(&config.folder, err))?;
    for folder in &config.add_dirs {
        workspace.add(folder).map_err(|err| failed(folder, err))?;
    }
    workspace.add_logs(config.log_folder());
    if config.sandbox.writable.as_ref().is_some_and(Vec::is_empty) {
        workspace.make_read_only();
    }
    Ok(workspace)
}

/// The background tasks, with everything that commands have in common.
fn tasks(config: &Config, interrupts: &Interrupts) -> Result<Tasks> {
    if !config.is_quiet && !Path::new("/proc/self").exists() {
        let _ =
            writeln!(io::stderr(), "meanwhile: no /proc: of a command only its process group can be ended");
    }
    let doing = "reap the orphans of this container";
    let children = Children::new().map_err(|err| Error::System { doing, err })?;
    let settings = background::Settings {
        folder: config.folder.clone(),
        hidden: config.hidden_variables.clone(),
        limit: config.background_timeout,
        max_running: config.max_background,
        open_files: supervisor::raise_open_files(),
        logs: config.log_folder().map(|folder| Logs::new(folder, config.log_limit)),
        children: Arc::new(children),
        sandbox: config.sandbox.clone(),
        secrets: config.secrets.clone(),
    };
    Ok(Tasks::new(settings, interrupts.stops.clone()))
}

/// The history to go on with, kept where the configuration says.
fn transcript(config: &Config) -> Result<Transcript> {
    let which = match &config.session {
        Session::None => {
            let mut transcript = Transcript::default();
            transcript.keep(Keeping::Nowhere);
            return Ok(transcript);
        }
        Session::New => {
            let mut transcript = Transcript::default();
            let (folder, model) = (config.folder.clone(), config.model.clone());
            match session_store(config.state_folder.clone()) {
                Ok(store) => transcript.keep(Keeping::New { store, folder, model }),
                Err(_) => transcript.keep_nowhere(),
            }
            return Ok(transcript);
        }
        Session::Continue => Which::Latest(&config.folder),
        Session::Resume(id) => Which::Id(id),
    };
    resumed(config.state_folder.clone(), which)
}

/// A saved session, to be continued.
fn resumed(state_folder: Option<PathBuf>, which: Which) -> Result<Transcript> {
    Transcript::resume(&session_store(state_folder)?, which)
}

fn session_store(state_folder: Option<PathBuf>) -> Result<Store> {
    let folder =
        state_folder.ok_or_else(|| Error::Session("there is no place to keep sessions in".into()))?;
    Ok(Store { folder: folder.join("sessions") })
}

/// The prompt with the project's own instructions, read like any file of the workspace: a link that leads
/// out of it is not followed.
fn system_prompt(folder: &Path, workspace: &Workspace) -> String {
    let instructions = ["AGENTS.md", "CLAUDE.md"].into_iter().find_map(|name| {
        let content = workspace.read(name).ok()?;
        Some((name, String::from_utf8_lossy(&content).into_owned()))
    });
    let instructions = instructions.as_ref().map(|(name, text)| (*name, text.as_str()));
    session::prompt::system_prompt(folder, instructions)
}

fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::System { doing: "write to standard output", err })
        }
        _ => Ok(()),
    }
}
