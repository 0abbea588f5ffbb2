//! The way to the API: over HTTPS, through a proxy where one is set, or nowhere, with answers from a recording.

use std::{
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ureq::{Agent, SendBody, config::Config};

use super::{
    connection::config,
    recording::{Recorder, Replay},
    response::{Body, Response},
};
use crate::{
    error::{Error, Result},
    secrets::Secrets,
};

/// The version of the API that this program speaks.
const API_VERSION: &str = "2023-06-01";

/// What identifies the user to the API.
#[derive(Clone)]
pub enum Credential {
    /// Sent as `x-api-key`.
    ApiKey(String),
    /// Sent as `Authorization: Bearer`.
    AuthToken(String),
}

/// Where and how to reach the API.
pub struct Endpoint {
    /// The whole URL of the messages resource.
    pub url: String,
    pub credential: Credential,
    /// Texts that are masked in what comes back: a server may repeat the credential.
    pub secrets: Secrets,
    /// The PEM text of certificates that stand in for the built-in roots.
    pub roots: Option<Vec<u8>>,
    /// The URL of a proxy.
    pub proxy: Option<String>,
    /// A stream that is silent for so long is dead: the API sends pings.
    pub idle_timeout: Duration,
}

pub struct Transport {
    way: Way,
    recorder: Option<Arc<Recorder>>,
}

enum Way {
    Network(Box<Network>),
    Replay(Mutex<Replay>),
}

struct Network {
    endpoint: Endpoint,
    config: Config,
    /// Holds the connection that is used for one request after the other.
    agent: Mutex<Agent>,
    /// The connection may be one that the server has closed meanwhile.
    used: AtomicBool,
}

impl Transport {
    /// Fails when the certificates or the proxy are none.
    pub fn network(endpoint: Endpoint) -> Result<Transport> {
        Ok(Transport { way: Way::Network(Box::new(Network::new(endpoint)?)), recorder: None })
    }

    /// Answers from a recording: one exchange a request, in order.
    pub fn replay(replay: Replay) -> Transport {
        Transport { way: Way::Replay(Mutex::new(replay)), recorder: None }
    }

    pub fn record_to(&mut self, recorder: Recorder) {
        self.recorder = Some(Arc::new(recorder));
    }

    /// Sends `body` (`length` bytes) and returns when the head of the answer has come.
    pub fn post(&self, body: impl Read + Clone + 'static, length: u64) -> Result<Response> {
        let mut response = match &self.way {
            Way::Network(network) => network.post(body, length)?,
            Way::Replay(replay) => lock(replay).next()?,
        };
        let Some(recorder) = &self.recorder else {
            return Ok(response);
        };
        let recording = recorder.begin(response.status, &response.headers);
        response.body.recording = Some(recording);
        Ok(response)
    }

    /// Whether a connection is worth being opened ahead: it takes a handshake.
    pub fn is_secure(&self) -> bool {
        matches!(&self.way, Way::Network(network) if network.endpoint.url.starts_with("https:"))
    }

    /// Opens the connection, with the name looked up and the keys exchanged, and keeps it. Nothing is said of what
    /// comes of it: the request will tell.
    pub fn warm_up(&self) {
        if let Way::Network(network) = &self.way {
            let agent = lock(&network.agent).clone();
            let answer = agent.head(&network.endpoint.url).call();
            network.used.fetch_or(answer.is_ok(), Ordering::Relaxed);
        }
    }

    /// Ends a request that another thread is waiting for: it fails at once.
    pub fn abort(&self) {
        if let Way::Network(network) = &self.way {
            let fresh = network.config.new_agent();
            std::mem::replace(&mut *lock(&network.agent), fresh).shutdown();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    fn new(endpoint: Endpoint) -> Result<Network> {
        let config = config(endpoint.roots.as_deref(), endpoint.proxy.as_deref(), endpoint.idle_timeout)?;
        let agent = Mutex::new(config.new_agent());
        let used = AtomicBool::new(false);
        Ok(Network { endpoint, config, agent, used })
    }

    fn post(&self, body: impl Read + Clone + 'static, length: u64) -> Result<Response> {
        let agent = lock(&self.agent).clone();
        let mut answer = self.endpoint.post(&agent, body.clone(), length);
        // A server may promise to keep a connection and close it all the same: that counts for nothing.
        if answer.as_ref().is_err_and(was_closed) && self.used.swap(false, Ordering::Relaxed) {
            answer = self.endpoint.post(&agent, body, length);
        }
        let answer = answer.map_err(|err| self.endpoint.failure(err))?;
        self.used.store(true, Ordering::Relaxed);
        let (head, body) = answer.into_parts();
        let secrets = &self.endpoint.secrets;
        let headers = head.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), secrets.mask(value).into_owned())
        });
        Ok(Response {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: Body::new(Box::new(body.into_reader()), secrets),
        })
    }
}

impl Endpoint {
    fn post(
        &self,
        agent: &Agent,
        body: impl Read + 'static,
        length: u64,
    ) -> std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("content-length", length)
            .header("anthropic-version", API_VERSION);
        let request = match &self.credential {
            Credential::ApiKey(key) => request.header("x-api-key", key),
            Credential::AuthToken(token) => request.header("authorization", format!("Bearer {token}")),
        };
        request.send(SendBody::from_owned_reader(body))
    }

    fn failure(&self, err: ureq::Error) -> Error {
        let retry = match &err {
            ureq::Error::Io(err) => !is_bad_certificate(err),
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_) => true,
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Protocol(_) => true,
            _ => false,
        };
        Error::Network { url: self.url.clone(), cause: err.to_string(), retry }
    }
}

/// A certificate that is not trusted today will not be tomorrow.
fn is_bad_certificate(err: &io::Error) -> bool {
    let cause = err.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// The connection ended before a byte of an answer came.
fn was_closed(err: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let ureq::Error::Io(err) = err else {
        return false;
    };
    matches!(err.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
