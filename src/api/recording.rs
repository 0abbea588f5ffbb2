//! Recordings of responses: written as they arrive, or played back instead of using the network.
//!
//! Each exchange is one line of JSON: the status, the headers that matter, and the body. Requests are not
//! recorded, and so the credential never is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::response::{Body, Response};
use crate::error::{Error, Result};
use crate::private;
use crate::secrets::Secrets;

/// The headers that tell how to read the body, or what to do after an error.
const RECORDED_HEADERS: [&str; 4] = ["content-type", "request-id", "retry-after", "x-should-retry"];

/// A recording that is played back.
pub struct Replay {
    name: String,
    exchanges: std::vec::IntoIter<Value>,
    used: usize,
    pace: Option<Duration>,
}

impl Replay {
    /// Reads the exchanges in `text`, JSON values one after another; `name` is for error messages. With a `pace`,
    /// each event comes after such a wait, so that a person can follow. Fails if `text` is not a recording.
    pub fn parse(name: &str, text: &str, pace: Option<Duration>) -> Result<Replay> {
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut exchanges = Vec::new();
        for (n, value) in (1..).zip(values) {
            let Some(exchange) = value.ok().filter(|value| value["status"].is_u64()) else {
                let fault = format!("exchange {n} is not a JSON object with a status");
                return Err(Error::Config(format!("`{name}` is not a recording: {fault}")));
            };
            exchanges.push(exchange);
        }
        Ok(Replay { name: name.to_owned(), exchanges: exchanges.into_iter(), used: 0, pace })
    }

    /// The response of the next exchange. Fails if none is left.
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
        let body = Playback { body: body_bytes(&exchange), at: 0, pace: self.pace };
        Ok(Response {
            status: exchange["status"].as_u64().unwrap_or_default() as u16,
            headers: headers.collect(),
            body: Body::new(body, &Secrets::default()),
            patience: Duration::MAX,
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

/// Reads a recorded body, with a pace event by event.
struct Playback {
    body: Vec<u8>,
    at: usize,
    pace: Option<Duration>,
}

impl Read for Playback {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut next = &self.body[self.at..];
        if let Some(pace) = self.pace {
            thread::sleep(pace);
            let end = next.windows(2).position(|pair| pair == b"\n\n");
            next = end.map_or(next, |end| &next[..end + 2]);
        }
        let n = next.read(buffer)?;
        self.at += n;
        Ok(n)
    }
}

/// Writes every response into a file.
pub struct Recorder {
    file: File,
}

impl Recorder {
    /// Creates the file, which only the user may read, or empties it. Fails if it can't be written.
    pub fn create(path: &Path) -> Result<Recorder> {
        let failed = |err| Error::File { doing: "create the recording", path: path.to_owned(), err };
        let file = private::options().write(true).create(true).truncate(true).open(path).map_err(failed)?;
        Ok(Recorder { file })
    }

    /// Writes an exchange, with the body as far as it was read.
    pub fn write(&self, status: u16, headers: &[(String, String)], body: Vec<u8>) {
        let kept = headers.iter().filter(|(name, _)| RECORDED_HEADERS.contains(&name.as_str()));
        let headers: Map<String, Value> =
            kept.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let mut exchange = json!({"status": status, "headers": headers});
        match String::from_utf8(body) {
            Ok(text) => exchange["body_sse"] = text.into(),
            Err(err) => exchange["body_b64"] = BASE64_STANDARD.encode(err.as_bytes()).into(),
        }
        // The reply is good even if its recording can't be written, so the run goes on.
        let _ = (&self.file).write_all(format!("{exchange}\n").as_bytes());
    }
}
