//! Where bytes go: over HTTPS, or nowhere, with answers from a recording; and the recorder.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use ureq::{
    Agent, SendBody,
    tls::{PemItem, RootCerts, TlsConfig},
};

use crate::error::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that is silent for so long is dead: the API sends pings.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The version of the API that this program speaks.
const API_VERSION: &str = "2023-06-01";

/// The headers that a recording keeps: those that say how to read the body, or what to do after an error.
const RECORDED_HEADERS: [&str; 4] = [
    "content-type",
    "request-id",
    "retry-after",
    "x-should-retry",
];

/// What identifies the user to the API.
#[derive(Clone)]
pub enum Credential {
    /// Sent as `x-api-key`.
    ApiKey(String),
    /// Sent as `Authorization: Bearer`.
    AuthToken(String),
}

/// Where and how to reach the API.
#[derive(Clone)]
pub struct Endpoint {
    /// The whole URL of the messages resource.
    pub url: String,
    pub credential: Credential,
    /// The PEM text of certificates that stand in for the built-in roots.
    pub roots: Option<Vec<u8>>,
}

/// What came back; the body is read as it arrives.
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Box<dyn Read + Send>,
}

pub struct Transport {
    way: Way,
    recorder: Option<Arc<Recorder>>,
}

enum Way {
    Network { agent: Agent, endpoint: Endpoint },
    Replay(Mutex<Replay>),
}

impl Transport {
    /// Fails when the certificates are none.
    pub fn network(endpoint: Endpoint) -> Result<Transport> {
        let roots = match &endpoint.roots {
            Some(pem) => RootCerts::Specific(Arc::new(certificates(pem)?)),
            None => RootCerts::WebPki,
        };
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            // A redirect would carry the credential to another host.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(IDLE_TIMEOUT))
            .user_agent(concat!("meanwhile/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Transport {
            way: Way::Network { agent, endpoint },
            recorder: None,
        })
    }

    /// Answers from a recording: one exchange a request, in order.
    pub fn replay(replay: Replay) -> Transport {
        Transport {
            way: Way::Replay(Mutex::new(replay)),
            recorder: None,
        }
    }

    pub fn record_to(&mut self, recorder: Recorder) {
        self.recorder = Some(Arc::new(recorder));
    }

    /// Sends `body` (`length` bytes) and returns when the head of the answer has come.
    pub fn post(&self, body: impl Read + 'static, length: u64) -> Result<Response> {
        let mut response = match &self.way {
            Way::Network { agent, endpoint } => endpoint.post(agent, body, length)?,
            Way::Replay(replay) => replay
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next()?,
        };
        if let Some(recorder) = &self.recorder {
            response.body = Box::new(Recording {
                status: response.status,
                headers: response.headers.clone(),
                body: response.body,
                read: Vec::new(),
                recorder: Arc::clone(recorder),
            });
        }
        Ok(response)
    }
}

impl Endpoint {
    fn post(&self, agent: &Agent, body: impl Read + 'static, length: u64) -> Result<Response> {
        let request = agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("content-length", length)
            .header("anthropic-version", API_VERSION);
        let request = match &self.credential {
            Credential::ApiKey(key) => request.header("x-api-key", key),
            Credential::AuthToken(token) => {
                request.header("authorization", format!("Bearer {token}"))
            }
        };
        let response = request
            .send(SendBody::from_owned_reader(body))
            .map_err(|err| Error::Network {
                url: self.url.clone(),
                cause: err.to_string(),
            })?;
        let (head, body) = response.into_parts();
        let headers = head.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        Ok(Response {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: Box::new(body.into_reader()),
        })
    }
}

impl Response {
    /// The value of the header `name`, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<ureq::tls::Certificate<'static>>> {
    let found = ureq::tls::parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => Err(Error::Config(
            "the file that `SSL_CERT_FILE` names holds no PEM certificate".into(),
        )),
        false => Ok(found),
    }
}

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
                    let text = format!(
                        "`{name}` is no recording: exchange {n} is not a JSON object with a status"
                    );
                    return Err(Error::Config(text));
                }
            }
        }
        Ok(Replay {
            name: name.to_owned(),
            exchanges: exchanges.into_iter(),
            used: 0,
            pace,
        })
    }

    fn next(&mut self) -> Result<Response> {
        let Some(exchange) = self.exchanges.next() else {
            let text = format!(
                "the recording `{}` has no reply left after {}",
                self.name, self.used
            );
            return Err(Error::Replay(text));
        };
        self.used += 1;
        let headers = exchange["headers"].as_object().into_iter().flatten();
        let headers = headers.map(|(name, value)| {
            (
                name.to_lowercase(),
                value.as_str().unwrap_or_default().to_owned(),
            )
        });
        let body = body_bytes(&exchange);
        Ok(Response {
            status: exchange["status"].as_u64().unwrap_or_default() as u16,
            headers: headers.collect(),
            body: match self.pace {
                Some(pace) => Box::new(Paced { body, at: 0, pace }),
                None => Box::new(io::Cursor::new(body)),
            },
        })
    }
}

/// `body_sse` (an event stream), `body` (JSON or text) or `body_b64` of a recorded exchange.
fn body_bytes(exchange: &Value) -> Vec<u8> {
    match (
        &exchange["body_sse"],
        &exchange["body_b64"],
        &exchange["body"],
    ) {
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
        let event = rest
            .windows(2)
            .position(|w| w == b"\n\n")
            .map_or(rest.len(), |end| end + 2);
        std::thread::sleep(self.pace);
        let n = event.min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

/// Writes every exchange with the API as a line of JSON; never a request header, so never a credential.
pub struct Recorder {
    path: PathBuf,
    file: Mutex<File>,
}

impl Recorder {
    /// Creates or empties the file.
    pub fn create(path: &Path) -> Result<Recorder> {
        let file = File::create(path).map_err(|err| Error::File {
            doing: "create the recording",
            path: path.to_owned(),
            err,
        })?;
        Ok(Recorder {
            path: path.to_owned(),
            file: Mutex::new(file),
        })
    }

    fn write(&self, exchange: &Value) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{exchange}\n").as_bytes())
            .map_err(|err| {
                io::Error::new(
                    err.kind(),
                    format!(
                        "failed to write the recording `{}`: {err}",
                        self.path.display()
                    ),
                )
            })
    }
}

/// A body that is recorded as it is read; a body that breaks is recorded as far as it came.
struct Recording {
    status: u16,
    headers: Vec<(String, String)>,
    body: Box<dyn Read + Send>,
    read: Vec<u8>,
    recorder: Arc<Recorder>,
}

impl Read for Recording {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.body.read(buffer)?;
        self.read.extend_from_slice(&buffer[..n]);
        Ok(n)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let kept = self
            .headers
            .iter()
            .filter(|(name, _)| RECORDED_HEADERS.contains(&name.as_str()));
        let headers: Map<String, Value> = kept
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let mut exchange = json!({"status": self.status, "headers": headers});
        match std::str::from_utf8(&self.read) {
            Ok(text) => exchange["body_sse"] = text.into(),
            Err(_) => exchange["body_b64"] = BASE64_STANDARD.encode(&self.read).into(),
        }
        // The reply itself is good: a recording that can't be written must not break the run.
        let _ = self.recorder.write(&exchange);
    }
}
