//! What can be typed on the command line, as types. The environment is not in them; `config` adds it.
//!
//! `Config` takes the groups over unchanged.

use std::{path::PathBuf, time::Duration};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Mode {
    /// The prompt loop.
    #[default]
    Chat,
    /// One task, then exit.
    Print,
    Demo,
    Sessions,
    Doctor,
    Completions(Shell),
    Man,
    Help,
    Version,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// How `-p` prints its answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
    StreamJson,
}

/// What happens to tasks that still run when the model is done.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum OnEnd {
    #[default]
    Wait,
    Kill,
    Fail,
}

/// Where commands may write.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum SandboxMode {
    #[default]
    Off,
    Workspace,
    ReadOnly,
}

/// When colors are used.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ColorWhen {
    #[default]
    Auto,
    Always,
    Never,
}

/// How much is printed on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loudness {
    Quiet,
    #[default]
    Normal,
    Verbose,
}

/// Which session to use.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Session {
    #[default]
    New,
    /// The last one of the working directory.
    Continue,
    /// The one whose id starts with this.
    Resume(String),
    /// A new one that is not saved.
    None,
}

/// The command line.
#[derive(Debug, Default, PartialEq)]
pub struct Args {
    pub mode: Mode,
    pub run: RunOptions,
    pub model: Option<String>,
    pub session: Session,
    pub limits: Limits,
    pub thinking: ThinkingOptions,
    pub commands: Commands,
    pub service: Service,
    pub replay: Option<PathBuf>,
    /// A file with a JSON schema, or the schema itself.
    pub json_schema: Option<PathBuf>,
    pub gateway: Gateway,
}

/// How a run begins, what it asks, prints and records, and when it ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunOptions {
    pub prompt: Option<String>,
    pub file: Option<PathBuf>,
    pub format: Format,
    pub on_end: OnEnd,
    pub max_time: Option<Duration>,
    pub loudness: Loudness,
    pub color: ColorWhen,
    /// Whether the end of a background task starts a turn; None: at a terminal only.
    pub wakes: Option<bool>,
    /// Whether to ask before what no rule decides.
    pub asks: bool,
    /// Rules, as they were typed.
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub record: Option<PathBuf>,
}

/// What requests need besides the conversation, as it was typed.
#[derive(Debug, Default, PartialEq)]
pub struct Gateway {
    /// Lines `Name: value`.
    pub headers: Vec<String>,
    /// JSON objects.
    pub bodies: Vec<String>,
    pub key_command: Option<String>,
}

/// How hard the model works, and how it thinks. None: as it does by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ThinkingOptions {
    pub effort: Option<Effort>,
    pub thinking: Option<Thinking>,
}

/// How hard the model works (<https://platform.claude.com/docs/en/build-with-claude/effort>).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effort {
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

/// How the model thinks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Thinking {
    /// When and as much as it finds right.
    On,
    Off,
    /// Up to so many tokens, which the models before adaptive thinking need.
    Budget(u32),
}

/// The limits of a reply, a request and the run; `RunOptions` has the one on time.
#[derive(Debug, Default, PartialEq)]
pub struct Limits {
    /// In tokens; None: the model's own.
    pub max_output_tokens: Option<u32>,
    /// In tokens; None: the model's own.
    pub context_window: Option<u64>,
    /// How often in a row a failed request is tried again.
    pub max_retries: u32,
    /// A reply that is silent for so long is given up.
    pub idle_timeout: Duration,
    /// Replies of the model.
    pub max_turns: Option<u64>,
    /// Input and output of the whole run together.
    pub max_total_tokens: Option<u64>,
}

/// What the server does besides answering.
#[derive(Debug, Default, PartialEq)]
pub struct Service {
    /// Search the web and read pages.
    pub web: bool,
    /// Keep what it has cached for an hour, and not for five minutes.
    pub long_cache: bool,
}

/// What commands may do.
#[derive(Debug, Default, PartialEq)]
pub struct Commands {
    pub background_timeout: Duration,
    pub max_background: usize,
    /// The largest size of a log, in bytes.
    pub log_limit: u64,
    /// Folders that may be used besides the working directory.
    pub add_dirs: Vec<PathBuf>,
    pub sandbox: SandboxMode,
    /// Run commands even if the kernel can't enforce all of the sandbox.
    pub best_effort: bool,
    pub no_network: bool,
    pub keep_env: Vec<String>,
    pub drop_env: Vec<String>,
    pub scrub_env: bool,
}

impl Effort {
    /// All of them, and their names in the API.
    pub const ALL: [Effort; 5] = [Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max];
    pub const NAMES: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

    /// The effort with this name.
    pub fn from_name(name: &str) -> Option<Effort> {
        Effort::ALL.into_iter().find(|effort| effort.name() == name)
    }

    pub fn name(self) -> &'static str {
        Effort::NAMES[self as usize]
    }
}

impl ThinkingOptions {
    /// Fails with a sentence if they contradict each other, or a limit of the user's.
    pub fn check(&self, limits: &Limits) -> Result<(), String> {
        if let (Some(Thinking::Budget(budget)), Some(most)) = (self.thinking, limits.max_output_tokens)
            && budget >= most
        {
            return Err(format!(
                "--thinking {budget} must be less than --max-output-tokens, which is {most}"
            ));
        }
        match *self {
            ThinkingOptions {
                effort: Some(effort @ (Effort::XHigh | Effort::Max)),
                thinking: Some(Thinking::Off),
            } => Err(format!("effort `{}` needs thinking, which is off (--thinking off)", effort.name())),
            _ => Ok(()),
        }
    }
}
