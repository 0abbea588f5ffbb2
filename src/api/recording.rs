//! Recordings of what the API said: written as it is read, or played back in place of the network.
//!
//! A line of JSON an exchange: status, the headers that matter, and the body. No request is kept, so
//! never a credential.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::response::{Body, Response};
use crate::{
    error::{Error, Result},
    secrets::Secrets,
};

/// The headers that say how to read the body, or what to do after an error.
const RECORDED_HEADERS: [&str; 4] = ["content-type", "request-id", "retry-after", "x-should-retry"];

/// A recording that answers requests.
pub struct Replay {
    name: String,
    exchanges: std::vec::IntoIter<Value>,
    used: usize,
    /// How long to wait before each event: a demonstration that a person can follow.
    pace: Option<Duration>,
}

impl Replay {
    /// Reads JSON values, one an exchange, from `text`; `name` is for errors. Fails when it is no recording.
    pub fn parse(name: &str, text: &str, pace: Option<Duration>) -> Result<Replay> {
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut exchanges = Vec::new();
        for (index, value) in values.enumerate() {
            match value {
                Ok(value) if value["status"].is_u64() => exchanges.push(value),
                _ => {
                    let n = index + 1;
                    let text =
                        format!("`{name}` is no recording: exchange {n} is not a JSON object with a status");
                    return Err(Error::Config(text));
                }
            }
        }
        Ok(Replay { name: name.to_owned(), exchanges: exchanges.into_iter(), used: 0, pace })
    }

    /// The next exchange. Fails when none is left.
    pub fn next(&mut self) -> Result<Response> {
        let Some(exchange) = self.exchanges.next() else {
            let text = format!("the recording `{}` has no reply left after {}", self.name, self.used);
            return Err(Error::Replay(text));
        };
        self.used += 1;
        let headers = exchange["headers"].as_object().into_iter().flatten();
        // Some recorders keep a list of values for each name.
        let headers = headers.map(|(name, value)| {
            let value = value.get(0).unwrap_or(value);
            (name.to_lowercase(), value.as_str().unwrap_or_default().to_owned())
        });
        let body = body_bytes(&exchange);
        Ok(Response {
            status: exchange["status"].as_u64().unwrap_or_default() as u16,
            headers: headers.collect(),
            body: Body::new(
                match self.pace {
                    Some(pace) => Box::new(Paced { body, at: 0, pace }),
                    None => Box::new(io::Cursor::new(body)),
                },
                &Secrets::default(),
            ),
        })
    }
}

/// `body_sse` (an event stream), `body` (JSON or text) or `body_b64` of a recorded exchange.
fn body_bytes(exchange: &Value) -> Vec<u8> {
    match (&exchange["body_sse"], &exchange["body_b64"], &exchange["body"]) {
        (Value::String(stream), _, _) => stream.clone().into_bytes(),
        (_, Value::String(encoded), _) => BASE64_STANDARD.decode(encoded).unwrap_or_default(),
        (_, _, Value::String(text)) => text.clone().into_bytes(),
        (_, _, Value::Null) => Vec::new(),
        (_, _, json) => json.to_string().into_bytes(),
    }
}

/// Gives an event stream out event by event.
struct Paced {
    body: Vec<u8>,
    at: usize,
    pace: Duration,
}

impl Read for Paced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.body[self.at..];
        let event = rest.windows(2).position(|w| w == b"\n\n").map_or(rest.len(), |end| end + 2);
        std::thread::sleep(self.pace);
        let n = event.min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

/// Writes every reply of the API.
pub struct Recorder {
    file: Mutex<File>,
}

impl Recorder {
    /// Creates the file, which only the user may read, or empties it.
    pub fn create(path: &Path) -> Result<Recorder> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path).map_err(|err| Error::File {
            doing: "create the recording",
            path: path.to_owned(),
            err,
        })?;
        Ok(Recorder { file: Mutex::new(file) })
    }

    /// Begins the recording of an exchange.
    pub fn begin(self: &Arc<Recorder>, status: u16, headers: &[(String, String)]) -> Recording {
        let kept = headers.iter().filter(|(name, _)| RECORDED_HEADERS.contains(&name.as_str()));
        Recording {
            status,
            headers: kept.map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
            body: Vec::new(),
            recorder: Arc::clone(self),
        }
    }

    fn write(&self, exchange: &Value) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{exchange}\n").as_bytes())
    }
}

/// An exchange that is being recorded: written when it is dropped, as far as it came.
pub struct Recording {
    status: u16,
    headers: Map<String, Value>,
    body: Vec<u8>,
    recorder: Arc<Recorder>,
}

impl Recording {
    pub fn add(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let headers = std::mem::take(&mut self.headers);
        let mut exchange = json!({"status": self.status, "headers": headers});
        match std::str::from_utf8(&self.body) {
            Ok(text) => exchange["body_sse"] = text.into(),
            Err(_) => exchange["body_b64"] = BASE64_STANDARD.encode(&self.body).into(),
        }
        // The reply itself is good: a recording that can't be written must not break the run.
        let _ = self.recorder.write(&exchange);
    }
}
