//! How a request reaches the API: over the network, or not at all, with responses from a recording.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ureq::http::{self, HeaderMap, HeaderValue};
use ureq::{Agent, RequestBuilder, SendBody};

use super::connection::Server;
use super::credential::{Credential, Key};
use super::headers::Headers;
use super::recording::{Recorder, Replay};
use super::request;
use super::response::{Body, Response};
use crate::error::{Error, Result};
use crate::secrets::Secrets;

/// The version of the API that this program speaks.
const API_VERSION: &str = "2023-06-01";

/// A stream may be kept alive by pings for so many times the idle timeout, which makes half an hour: a model may
/// think for many minutes without a word, but a server that has lost it may ping for ever.
const MOST_SILENCES: u32 = 6;

/// Where and how to reach the API.
pub struct Endpoint {
    pub server: Server,
    pub credential: Credential,
    /// The user's own.
    pub headers: Headers,
    /// Masked in every response: a server may repeat the credential.
    pub secrets: Secrets,
    /// After such a silence a stream is dead: the API sends pings.
    pub idle_timeout: Duration,
}

/// Where the responses come from.
pub enum Source {
    Api(Endpoint),
    Recording(Replay),
}

pub struct Transport {
    way: Way,
    recorder: Option<Recorder>,
}

enum Way {
    Network(Box<Network>),
    /// Answers each request with the next exchange of a recording.
    Replay(Mutex<Replay>),
}

struct Network {
    endpoint: Endpoint,
    /// Keeps one connection for all requests.
    agent: Mutex<Agent>,
    /// The connection was used, so the server may have closed it since.
    used: AtomicBool,
}

impl Transport {
    /// Records the responses in the file `record`, if one is named. Fails if the PEM text of the roots has no
    /// certificate, if the URL of the proxy is invalid, or if the file can't be written.
    pub fn new(source: Source, record: Option<&Path>) -> Result<Transport> {
        let way = match source {
            Source::Api(endpoint) => {
                let agent = Mutex::new(endpoint.server.agent(endpoint.idle_timeout)?);
                Way::Network(Box::new(Network { endpoint, agent, used: AtomicBool::new(false) }))
            }
            Source::Recording(replay) => Way::Replay(Mutex::new(replay)),
        };
        Ok(Transport { way, recorder: record.map(Recorder::create).transpose()? })
    }

    /// Sends a request and returns when the head of the response has arrived.
    pub fn post(&self, body: request::Body) -> Result<Response> {
        let mut response = match &self.way {
            Way::Network(network) => network.post(body)?,
            Way::Replay(replay) => lock(replay).next()?,
        };
        response.body.copy = self.recorder.as_ref().map(|_| Vec::new());
        Ok(response)
    }

    /// Asks for another resource of the server, on a connection of its own: the next request does not wait for it.
    /// Fails if there is no whole answer within `timeout`, or no server, but a recording.
    pub fn get(&self, path: &str, timeout: Duration) -> Result<Response> {
        match &self.way {
            Way::Network(network) => network.get(path, timeout),
            Way::Replay(_) => Err(Error::Replay("a recording describes no models".into())),
        }
    }

    /// Records the response as far as it was read, if that was asked for.
    pub fn record(&self, response: &mut Response) {
        if let (Some(recorder), Some(body)) = (&self.recorder, response.body.copy.take()) {
            recorder.write(response.status, &response.headers, body);
        }
    }

    /// Whether opening a connection ahead saves time: it takes a handshake.
    pub fn is_secure(&self) -> bool {
        matches!(&self.way, Way::Network(network) if network.endpoint.server.is_secure())
    }

    /// Opens a connection and keeps it. A failure is not reported: the request will meet it again.
    pub fn warm_up(&self) {
        if let Way::Network(network) = &self.way {
            let agent = lock(&network.agent).clone();
            let response = agent.head(&network.endpoint.server.url).call();
            network.used.fetch_or(response.is_ok(), Ordering::Relaxed);
        }
    }

    /// Makes a request that another thread waits for fail at once.
    pub fn abort(&self) {
        if let Way::Network(network) = &self.way {
            let mut agent = lock(&network.agent);
            let fresh = agent.config().new_agent();
            std::mem::replace(&mut *agent, fresh).shutdown();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// Sends the request. After a 401, once more with another key, if there is one.
    fn post(&self, body: request::Body) -> Result<Response> {
        let endpoint = &self.endpoint;
        // Taken before a command prints the key: if the request is aborted meanwhile, it fails.
        let agent = lock(&self.agent).clone();
        let key = endpoint.credential.key()?;
        let mut response = self.attempt(&agent, &key, body.clone())?;
        if response.status() == 401
            && let Some(key) = endpoint.credential.another(&key)?
        {
            response = self.attempt(&agent, &key, body)?;
        }
        Ok(endpoint.response(response))
    }

    fn attempt(&self, agent: &Agent, key: &Key, body: request::Body) -> Result<http::Response<ureq::Body>> {
        let headers = self.endpoint.headers(key)?;
        let mut response = self.endpoint.post(agent, headers.clone(), body.clone());
        // A server may close a kept connection at any time. That is no failed attempt.
        if response.as_ref().is_err_and(was_closed) && self.used.swap(false, Ordering::Relaxed) {
            response = self.endpoint.post(agent, headers, body);
        }
        let response = response.map_err(|err| self.endpoint.failure(err))?;
        self.used.store(true, Ordering::Relaxed);
        Ok(response)
    }

    fn get(&self, path: &str, timeout: Duration) -> Result<Response> {
        let endpoint = &self.endpoint;
        // The other agent may hold a connection that is open already. It is for the messages.
        let agent = lock(&self.agent).config().new_agent();
        let request = agent.get(endpoint.server.beside(path)).config().timeout_global(Some(timeout)).build();
        let headers = endpoint.headers(&endpoint.credential.key()?)?;
        let response = with(request, headers).call();
        response.map(|response| endpoint.response(response)).map_err(|err| endpoint.failure(err))
    }
}

impl Endpoint {
    fn post(
        &self,
        agent: &Agent,
        headers: HeaderMap,
        body: request::Body,
    ) -> Result<http::Response<ureq::Body>, ureq::Error> {
        let request = agent
            .post(&self.server.url)
            .header("content-type", "application/json")
            .header("content-length", body.length());
        with(request, headers).send(SendBody::from_owned_reader(body))
    }

    /// What every request to the server says: the version, the credential, and the headers of the user, which replace
    /// others of the same name. Fails if the credential can't be in a header.
    fn headers(&self, key: &Key) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-version", HeaderValue::from_static(API_VERSION));
        // Without it, a server may compress (RFC 9110, 12.5.3), and some proxies do.
        headers.insert("accept-encoding", HeaderValue::from_static("identity"));
        key.set_in(&mut headers)?;
        self.headers.set_in(&mut headers);
        Ok(headers)
    }

    fn response(&self, response: http::Response<ureq::Body>) -> Response {
        let (head, body) = response.into_parts();
        let headers = head.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), self.secrets.mask(value).into_owned())
        });
        Response {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: Body::new(body.into_reader(), &self.secrets),
            patience: self.idle_timeout.saturating_mul(MOST_SILENCES),
        }
    }

    fn failure(&self, err: ureq::Error) -> Error {
        let retry = match &err {
            ureq::Error::Io(err) => !is_bad_certificate(err),
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_) => true,
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Protocol(_) => true,
            _ => false,
        };
        Error::Network { url: self.server.url.clone(), cause: err.to_string(), retry }
    }
}

fn with<B>(mut request: RequestBuilder<B>, headers: HeaderMap) -> RequestBuilder<B> {
    // There are none if the URL is invalid; then sending fails.
    if let Some(all) = request.headers_mut() {
        all.extend(headers);
    }
    request
}

/// A certificate that is not trusted now will not be trusted a moment later.
fn is_bad_certificate(err: &io::Error) -> bool {
    let cause = err.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether the connection ended before the first byte of a response.
fn was_closed(err: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let ureq::Error::Io(err) = err else { return false };
    matches!(err.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
