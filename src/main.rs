//! `meanwhile`: a coding agent that keeps working while your commands run.
//!
//! The house. A room imports only from the rows below it:
//!
//! ```text
//! main                     the way in
//! setup                    the wiring: from a configuration to an agent
//! ui                       what people and scripts see; the only room that prints
//! agent                    the turn: requests and tool calls until the model is done
//! tools                    what the model can call: one file and one row per tool
//! session, background      the transcript, append-only; the tasks, each result delivered once
//! config                   arguments, environment and `.env` -> one `Config`
//! api, command, cli        the Messages API; one running command; the command line, one row per option
//! error                    what ends a run, and its exit code
//! stop, secrets            why a run is stopped; the mask over credentials
//! text, private, threads   text for models and terminals; files for the user alone; named threads
//! ```

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
mod setup;
mod stop;
mod text;
mod threads;
mod tools;
mod ui;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use cli::args::{Args, Mode};
use cli::{completions, help};
use command::supervisor;
use config::Config;
use error::{Error, Result};
use session::store::Which;
use session::transcript::Transcript;
use stop::Stop;
use ui::{chat, doctor, headless, repl, sessions};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == supervisor::ARGUMENT).is_some() {
        return supervisor::run(arguments);
    }
    supervisor::adopt_orphans();
    supervisor::hide_memory();
    let outcome = match Args::parse(arguments) {
        Ok(args) => run(args),
        Err((err, format)) => headless::report_early_failure(err, format),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed standard output has read enough.
        Err(Error::Stopped(stop @ Stop::OutputClosed)) => ExitCode::from(stop.exit_code()),
        Err(err) => {
            // Standard error may be closed too.
            let _ = writeln!(io::stderr(), "meanwhile: {}", text::sentence(&err.to_string()));
            ExitCode::from(err.exit_code())
        }
    }
}

fn run(args: Args) -> Result<()> {
    match args.mode {
        Mode::Chat => chat(args),
        Mode::Print => print(args),
        Mode::Demo => ui::demo::run(args.run.color, |folder, replay, interrupts| {
            setup::agent(Config::replayed(args, folder, replay), interrupts)
        }),
        Mode::Sessions => ui::print(&session_table()?),
        Mode::Doctor => doctor::run(config::survey(&args)?),
        Mode::Completions(shell) => ui::print(&completions::completions(shell)),
        Mode::Man => ui::print(&help::man()),
        Mode::Help => ui::print(&help::help()),
        Mode::Version => ui::print(&help::version()),
    }
}

fn chat(args: Args) -> Result<()> {
    let config = Config::load(args)?;
    let (state_folder, run) = (config.state_folder.clone(), config.run.clone());
    let history = state_folder.as_ref().map(|folder| folder.join("history"));
    let sessions = chat::Sessions {
        table: &session_table,
        open: &|id| Transcript::resume(&setup::session_store(state_folder.clone())?, Which::Id(id)),
    };
    repl::run(&run, history, sessions, |interrupts| setup::agent(config, interrupts))
}

fn print(args: Args) -> Result<()> {
    let run = args.run.clone();
    match Config::load(args) {
        Ok(config) => {
            let schema = config.schema.clone();
            headless::print(&run, schema.as_ref(), |interrupts| setup::agent(config, interrupts))
        }
        Err(err) => headless::report_early_failure(err, run.format),
    }
}

fn session_table() -> Result<String> {
    Ok(sessions::table(&setup::session_store(config::state_folder())?.list()))
}
