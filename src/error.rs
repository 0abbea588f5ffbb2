//! Everything that can end a run, as one flat enum: its sentences and its exit codes.
//!
//! A tool's failure is no `Error`: it is an answer to the model (see `tools::Answer`).

use std::{fmt, io, path::PathBuf};

#[derive(Debug)]
pub enum Error {
    /// The command line makes no sense.
    Usage(String),
    /// A variable or a file that configures the program is missing or malformed.
    Config(String),
    /// A file or folder of the program's own could not be used.
    File {
        doing: &'static str,
        path: PathBuf,
        err: io::Error,
    },
    /// A thread, a pipe or standard input or output failed.
    System { doing: &'static str, err: io::Error },
    /// The API answered with an error: in its status, or in the middle of a stream.
    Api {
        status: u16,
        kind: String,
        message: String,
        request_id: Option<String>,
    },
    /// The API could not be reached, or the connection broke.
    Network { url: String, cause: String },
    /// What came back is not what the protocol says.
    Protocol(String),
    /// A recording that answers in place of the API has come to its end.
    Replay(String),
    /// A signal asked the turn or the program to end.
    Interrupted(i32),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The exit code of a run that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Config(_) => 2,
            Error::Api { .. } | Error::Network { .. } | Error::Protocol(_) | Error::Replay(_) => 3,
            // A shell reports a program that a signal ended as 128 + its number.
            Error::Interrupted(signal) => 128u8.saturating_add(*signal as u8),
            Error::File { .. } | Error::System { .. } => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Usage(text) => write!(f, "{text}; try `meanwhile --help`"),
            Error::Config(text) | Error::Replay(text) => f.write_str(text),
            Error::File { doing, path, err } => {
                write!(f, "failed to {doing} `{}`: {err}", path.display())
            }
            Error::System { doing, err } => write!(f, "failed to {doing}: {err}"),
            Error::Api {
                status,
                kind,
                message,
                request_id,
            } => {
                write!(
                    f,
                    "the API refused the request ({status} {kind}): {message}"
                )?;
                match request_id {
                    Some(id) => write!(f, " (request {id})"),
                    None => Ok(()),
                }
            }
            Error::Network { url, cause } => write!(f, "failed to reach {url}: {cause}"),
            Error::Protocol(text) => write!(
                f,
                "the server's reply is not what the protocol says: {text}"
            ),
            Error::Interrupted(_) => f.write_str("interrupted"),
        }
    }
}
