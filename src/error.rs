//! Everything that can end a run, as one flat enum: its sentences and its exit codes.
//!
//! A tool's failure is no `Error`: it is an answer to the model (see `tools::Answer`).

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::stop::Stop;

#[derive(Debug)]
pub enum Error {
    /// The command line makes no sense.
    Usage(String),
    /// A variable or a file that configures the program is missing or malformed.
    Config(String),
    /// A file or folder of the program's own could not be used.
    File { doing: &'static str, path: PathBuf, err: io::Error },
    /// A thread, a pipe or standard input or output failed.
    System { doing: &'static str, err: io::Error },
    /// The API answered with an error: in its status, or in the middle of a stream.
    Api {
        status: u16,
        kind: String,
        message: String,
        request_id: Option<String>,
        /// Whether the same request may succeed later.
        retry: bool,
        /// How long the server asked to wait before that.
        retry_after: Option<Duration>,
    },
    /// The API could not be reached.
    Network {
        url: String,
        cause: String,
        /// Whether it may be reached later.
        retry: bool,
    },
    /// The reply began and broke off.
    CutOff(String),
    /// What came back is not what the protocol says.
    Protocol(String),
    /// A session can't be found or opened.
    Session(String),
    /// The model refused to answer.
    Refusal(String),
    /// A recording that answers in place of the API has come to its end.
    Replay(String),
    /// A limit of the run was reached.
    Limit { option: &'static str, text: String },
    /// `--on-end fail`: a background task had not ended, or had failed.
    Tasks(String),
    /// A mistake in this program.
    Panic,
    /// Something asked the turn or the program to end.
    Stopped(Stop),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same request may succeed later; with how long the server asked to wait, if it did.
    pub fn retry(&self) -> Option<Option<Duration>> {
        match self {
            Error::Api { retry: true, retry_after, .. } => Some(*retry_after),
            Error::Network { retry: true, .. } | Error::CutOff(_) => Some(None),
            _ => None,
        }
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
            Error::Protocol(_) | Error::Replay(_) => 3,
            Error::Limit { .. } => 4,
            Error::Tasks(_) => 5,
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
            Error::File { doing, path, err } => {
                write!(f, "failed to {doing} `{}`: {err}", path.display())
            }
            Error::System { doing, err } => write!(f, "failed to {doing}: {err}"),
            Error::Api { status, kind, message, request_id, .. } => {
                write!(f, "the API answered {status} {kind}: {message}")?;
                if let Some(id) = request_id {
                    write!(f, " (request {id})")?;
                }
                f.write_str(advice(*status))
            }
            Error::Network { url, cause, .. } => write!(f, "failed to reach {url}: {cause}"),
            Error::CutOff(text) => write!(f, "the reply broke off: {text}"),
            Error::Refusal(text) => write!(f, "the model refused to answer{text}"),
            Error::Protocol(text) => write!(f, "the server's reply is not what the protocol says: {text}"),
            Error::Limit { option, text } => write!(f, "{option}: {text}"),
            Error::Tasks(text) => write!(f, "--on-end fail: {text}"),
            Error::Panic => f.write_str("internal error: meanwhile panicked (details above)"),
            Error::Stopped(stop) => f.write_str(&stop.sentence()),
        }
    }
}

/// What a person can do about an answer with this status.
fn advice(status: u16) -> &'static str {
    match status {
        400 => "; if it is about the length of the conversation, `/compact` makes it shorter",
        401 => "; check `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN`",
        403 => "; this credential may not do that: check what it is for",
        404 => "; check `MODEL_ID` and `ANTHROPIC_BASE_URL`",
        413 => "; the conversation is too large: `/compact` makes it smaller",
        300..=399 => "; it points somewhere else, which is not followed: set `ANTHROPIC_BASE_URL`",
        _ => "",
    }
}
