//! The command line: argv to `Args`. What was typed, nothing decided yet.

pub mod help;
pub mod options;
mod parse;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use lexopt::Parser;

use crate::error::{Error, Result};

/// Name, version, and the commit where the Makefile has told it.
pub fn version() -> String {
    let commit = option_env!("MEANWHILE_COMMIT").filter(|commit| !commit.is_empty());
    let commit = commit.map_or(String::new(), |commit| format!(" ({commit})"));
    format!("meanwhile {}{commit}\n", env!("CARGO_PKG_VERSION"))
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Mode {
    /// The prompt loop.
    #[default]
    Chat,
    /// One task, then exit.
    Print,
    Demo,
    Sessions,
    Doctor,
    /// For the shell of this name.
    Completions(String),
    Man,
    Help,
    Version,
}

/// How `-p` answers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
    StreamJson,
}

/// What becomes of tasks that still run when the model is done.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum OnEnd {
    #[default]
    Wait,
    Kill,
    Fail,
}

/// What commands may write.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum SandboxMode {
    Workspace,
    ReadOnly,
    #[default]
    Off,
}

/// When colors are used.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ColorWhen {
    #[default]
    Auto,
    Always,
    Never,
}

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loudness {
    Quiet,
    #[default]
    Normal,
    Verbose,
}

/// Which session the history belongs to.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Session {
    #[default]
    New,
    /// The last one of the working directory.
    Continue,
    /// The one whose id starts so.
    Resume(String),
    /// Nothing is kept.
    None,
}

/// What was typed.
#[derive(Debug, Default, PartialEq)]
pub struct Args {
    pub mode: Mode,
    pub prompt: Option<String>,
    pub file: Option<PathBuf>,
    pub format: Format,
    pub on_end: OnEnd,
    pub loudness: Loudness,
    pub color: ColorWhen,
    pub max_turns: Option<u64>,
    pub max_time: Option<Duration>,
    pub max_total_tokens: Option<u64>,
    pub session: Session,
    pub model: Option<String>,
    pub max_output_tokens: Option<u32>,
    pub context_window: Option<u64>,
    pub max_retries: Option<u32>,
    pub idle_timeout: Option<Duration>,
    pub background_timeout: Option<Duration>,
    pub max_background: Option<usize>,
    /// In bytes.
    pub log_limit: Option<u64>,
    pub add_dirs: Vec<PathBuf>,
    pub sandbox: SandboxMode,
    /// Go on with what the kernel can enforce.
    pub best_effort: bool,
    pub no_network: bool,
    pub keep_env: Vec<String>,
    pub drop_env: Vec<String>,
    pub scrub_env: bool,
    /// What no rule decides needs consent.
    pub asks: bool,
    /// Rules, as they were typed.
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    /// Whether the end of a background task wakes the agent.
    pub wake: Option<bool>,
    pub record: Option<PathBuf>,
    pub replay: Option<PathBuf>,
}

/// The format that the final record is wanted in, when the arguments as a whole make no sense.
pub fn wanted_format(arguments: &[OsString]) -> Format {
    let mut words = arguments.iter().filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        let value = match word.split_once('=') {
            Some(("--output-format", value)) => Some(value),
            _ if word == "--output-format" => words.next(),
            _ => None,
        };
        match value {
            Some("json") => return Format::Json,
            Some("stream-json") => return Format::StreamJson,
            _ => {}
        }
    }
    Format::Text
}

impl Args {
    /// Fails with a usage error that names the argument.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Args> {
        let mut args = Args::default();
        let mut parser = Parser::from_args(arguments);
        let words = args.take_options(&mut parser);
        words.and_then(|words| args.take_words(words)).map_err(|err| Error::Usage(err.to_string()))?;
        Ok(args)
    }
}
