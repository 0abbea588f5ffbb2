//! Everything that can end a run, as one flat enum: its sentences and its exit codes.
//!
//! The failure of a tool is not an `Error`: it is an answer to the model (see `tools::Answer`).

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::stop::Stop;
use crate::text::duration;

/// The longest wait that a server may ask for.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub enum Error {
    /// The command line is invalid.
    Usage(String),
    /// A variable or a file that configures the program is missing or malformed.
    Config(String),
    /// A file or folder that the program itself needs could not be used.
    File { doing: &'static str, path: PathBuf, err: io::Error },
    /// A thread, a pipe or standard input or output failed.
    System { doing: &'static str, err: io::Error },
    /// The API returned an error, as a status or in the middle of a stream.
    Api {
        status: u16,
        kind: String,
        message: String,
        request_id: Option<String>,
        /// Whether the same request may succeed later.
        retry: bool,
        /// How long the server asked to wait before that.
        retry_after: Option<Duration>,
        /// How another request may succeed at once.
        rejection: Option<Rejection>,
    },
    /// The API could not be reached.
    Network {
        url: String,
        cause: String,
        /// Whether it may be reached later.
        retry: bool,
    },
    /// A reply broke off, or a part of it was damaged.
    CutOff(String),
    /// The reply is an impossible one. The same request is made once more.
    Protocol(String),
    /// A session can't be found or opened.
    Session(String),
    /// A message does not fit into the context window.
    TooLong(String),
    /// The model refused to answer.
    Refusal(String),
    /// A recording has no more replies.
    Replay(String),
    /// A limit of the run was reached.
    Limit { option: &'static str, text: String },
    /// `--on-end fail`: a background task still ran or had failed.
    Tasks(String),
    /// `--json-schema`: the answer does not fit, even when asked for once more.
    Unfit { said: String, problem: String },
    /// A bug in this program.
    Panic,
    /// Something asked the turn or the program to end.
    Stopped(Stop),
}

/// A rejection that a smaller or other request cures. All numbers are tokens, as the server counts them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rejection {
    /// A thinking block, or its signature, does not belong where it stands.
    Thinking,
    /// A reply may be `most` long.
    MaxTokens { most: u32 },
    /// The request and its reply do not fit into the context window. `prompt` is the request without its reply.
    Window { prompt: Option<u32>, window: Option<u32> },
    /// The request has too many bytes.
    TooLarge,
    /// The server has no structured answers.
    Format,
    /// The server has structured answers, but not for this schema.
    Schema,
    /// The model takes no pictures, or not one of these.
    Picture,
    /// A tool is not one that the server knows or allows.
    Tools,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// None if retrying is pointless; otherwise how long the server asked to wait, if it did.
    pub fn retry(&self) -> Option<Option<Duration>> {
        match self {
            Error::Api { retry: true, retry_after, .. } => Some(*retry_after),
            Error::Network { retry: true, .. } | Error::CutOff(_) => Some(None),
            _ => None,
        }
    }

    /// How another request may succeed at once, if one may.
    pub fn rejection(&self) -> Option<Rejection> {
        match self {
            Error::Api { rejection, .. } => *rejection,
            _ => None,
        }
    }

    /// Adds what the user can do about an answer of the API.
    pub fn with_advice(mut self, advice: &str) -> Error {
        if let Error::Api { message, .. } = &mut self {
            message.push_str(advice);
        }
        self
    }

    /// Leaves out what the user can do about a rejection.
    pub fn without_advice(mut self) -> Error {
        if let Error::Api { rejection, .. } = &mut self {
            *rejection = None;
        }
        self
    }

    /// The option whose limit ended the run, if one did.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Error::Limit { option, .. } => Some(option),
            Error::Stopped(Stop::TimeUp(_)) => Some("--max-time"),
            _ => None,
        }
    }

    /// The exit code of a run that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Config(_) => 2,
            Error::Api { .. } | Error::Network { .. } | Error::CutOff(_) => 3,
            Error::Protocol(_) | Error::Replay(_) | Error::TooLong(_) => 3,
            Error::Limit { .. } => 4,
            Error::Tasks(_) => 5,
            Error::Unfit { .. } => 6,
            Error::Stopped(stop) => stop.exit_code(),
            Error::File { .. } | Error::System { .. } | Error::Refusal(_) | Error::Session(_) => 1,
            Error::Panic => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Usage(text) => write!(f, "{text}; try `meanwhile --help`"),
            Error::Config(text) | Error::Replay(text) | Error::Session(text) => f.write_str(text),
            Error::TooLong(text) => f.write_str(text),
            Error::File { doing, path, err } => {
                write!(f, "failed to {doing} `{}`: {err}", path.display())
            }
            Error::System { doing, err } => write!(f, "failed to {doing}: {err}"),
            Error::Api { status, kind, message, request_id, retry_after, rejection, .. } => {
                match status {
                    200 if kind == "unknown" => write!(f, "the API broke off its reply: {message}")?,
                    200 => write!(f, "the API broke off its reply: {kind}: {message}")?,
                    // A proxy's page without a word.
                    _ if message.is_empty() => write!(f, "the API answered {status}")?,
                    _ => write!(f, "the API answered {status} {kind}: {message}")?,
                }
                if let Some(id) = request_id {
                    write!(f, " (request {id})")?;
                }
                if let Some(asked) = retry_after.filter(|asked| *asked > LONGEST_RETRY_AFTER) {
                    write!(f, "; it asks to wait {}", duration(asked))?;
                }
                f.write_str(advice(*status, *rejection))
            }
            Error::Network { url, cause, .. } => write!(f, "failed to reach {url}: {cause}"),
            Error::CutOff(text) => write!(f, "the reply broke off: {text}"),
            Error::Refusal(text) => write!(f, "the model refused to answer{text}"),
            Error::Protocol(text) => write!(f, "the reply can't be used: {text}"),
            Error::Limit { option, text } => write!(f, "{option}: {text}"),
            Error::Tasks(text) => write!(f, "--on-end fail: {text}"),
            Error::Unfit { problem, .. } => write!(f, "--json-schema: the answer does not fit: {problem}"),
            Error::Panic => f.write_str("internal error: meanwhile panicked (details above)"),
            Error::Stopped(stop) => f.write_str(&stop.sentence()),
        }
    }
}

/// What the user can do about it.
fn advice(status: u16, rejection: Option<Rejection>) -> &'static str {
    if let Some(Rejection::Window { .. } | Rejection::TooLarge) = rejection {
        return "; `/compact` makes the conversation shorter";
    }
    match status {
        401 => "; check the credential: `meanwhile doctor` says where it comes from",
        403 => "; this credential lacks the permission",
        404 => "; check `MODEL_ID` and `ANTHROPIC_BASE_URL`",
        300..=399 => "; redirects are not followed: set `ANTHROPIC_BASE_URL` to the final server",
        _ => "",
    }
}
