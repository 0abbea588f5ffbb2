//! The way to the API: over HTTPS, through a proxy where one is set, or nowhere, with answers from a recording.

use std::{
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ureq::{
    Agent, Proxy, SendBody,
    config::Config,
    tls::{PemItem, RootCerts, TlsConfig},
};

use rustls::{
    crypto::{CryptoProvider, KeyProvider, ring},
    pki_types::PrivateKeyDer,
    sign::SigningKey,
};

use super::recording::{Recorder, Recording, Replay};
use crate::error::{Error, Result};
use crate::mask::Mask;
use crate::text::masked;

/// Both buffers of a connection are zeroed before its first request, and stay. An answer's head has to fit into
/// one, a history of megabytes passes through the other; ureq takes 128 KiB for each.
const READ_BUFFER: usize = 32 * 1024;
const WRITE_BUFFER: usize = 64 * 1024;

/// How long a connection is kept while commands run or the user types: as long as Go's `http.DefaultTransport`
/// keeps one. ureq's 15 s are less than a test run takes.
pub const KEPT: Duration = Duration::from_secs(90);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
    pub secrets: Vec<String>,
    /// The PEM text of certificates that stand in for the built-in roots.
    pub roots: Option<Vec<u8>>,
    /// The URL of a proxy.
    pub proxy: Option<String>,
    /// A stream that is silent for so long is dead: the API sends pings.
    pub idle_timeout: Duration,
}

/// What came back; the body is read as it arrives.
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

/// The bytes of an answer, without the credential, recorded as they are read where that was asked for.
pub struct Body {
    reader: Box<dyn Read + Send>,
    mask: Mask,
    /// Masked, and from `next` on not handed on yet.
    masked: Vec<u8>,
    next: usize,
    recording: Option<Recording>,
}

impl Body {
    pub fn new(reader: Box<dyn Read + Send>, secrets: &[String]) -> Body {
        Body {
            reader,
            mask: Mask::new(secrets),
            masked: Vec::new(),
            next: 0,
            recording: None,
        }
    }

    fn read_masked(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.next == self.masked.len() {
            let read = self.reader.read(buffer)?;
            self.masked.clear();
            self.next = 0;
            let keep = &mut |bytes: &[u8]| self.masked.extend_from_slice(bytes);
            match read {
                0 => self.mask.end(keep),
                n => self.mask.pass(&buffer[..n], keep),
            }
            if read == 0 {
                break;
            }
        }
        let n = (&self.masked[self.next..]).read(buffer)?;
        self.next += n;
        Ok(n)
    }

    /// The reply is whole: the recording of it is written now, and what follows is not in it.
    pub fn complete(&mut self) {
        self.recording = None;
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.read_masked(buffer)?;
        if let Some(recording) = &mut self.recording {
            recording.add(&buffer[..n]);
        }
        Ok(n)
    }
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
        Ok(Transport {
            way: Way::Network(Box::new(Network::new(endpoint)?)),
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

    /// Whether the way to the first request is long enough to be gone ahead.
    pub fn is_far(&self) -> bool {
        matches!(&self.way, Way::Network(network) if network.endpoint.url.starts_with("https:"))
    }

    /// Opens the connection, with the name looked up and the keys exchanged. It says nothing of what comes of it:
    /// the request will.
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
        let config = config(
            endpoint.roots.as_deref(),
            endpoint.proxy.as_deref(),
            endpoint.idle_timeout,
        )?;
        let agent = Mutex::new(config.new_agent());
        let used = AtomicBool::new(false);
        Ok(Network {
            endpoint,
            config,
            agent,
            used,
        })
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
            (name.as_str().to_owned(), masked(value, secrets))
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
            Credential::AuthToken(token) => {
                request.header("authorization", format!("Bearer {token}"))
            }
        };
        request.send(SendBody::from_owned_reader(body))
    }

    fn failure(&self, err: ureq::Error) -> Error {
        let retry = match &err {
            ureq::Error::Io(err) => !is_bad_certificate(err),
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_) => {
                true
            }
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Protocol(_) => true,
            _ => false,
        };
        Error::Network {
            url: self.url.clone(),
            cause: err.to_string(),
            retry,
        }
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
    matches!(
        err.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

impl Response {
    /// The value of the header `name`, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What every request has in common. Fails when the certificates or the proxy are none.
pub(super) fn config(
    roots: Option<&[u8]>,
    proxy_url: Option<&str>,
    idle_timeout: Duration,
) -> Result<Config> {
    let roots = match roots {
        Some(pem) => RootCerts::Specific(Arc::new(certificates(pem)?)),
        None => RootCerts::WebPki,
    };
    Ok(Agent::config_builder()
        .tls_config(
            TlsConfig::builder()
                .root_certs(roots)
                .unversioned_rustls_crypto_provider(Arc::new(crypto()))
                .build(),
        )
        .proxy(proxy_url.map(proxy).transpose()?)
        .http_status_as_error(false)
        // A redirect would carry the credential to another host.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .input_buffer_size(READ_BUFFER)
        .output_buffer_size(WRITE_BUFFER)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .max_response_header_size(READ_BUFFER - 1)
        .timeout_per_read(Some(idle_timeout))
        .timeout_per_write(Some(idle_timeout))
        // A head may come for ever without a silence, by interim answers.
        .timeout_recv_response(Some(idle_timeout))
        .max_idle_age(KEPT)
        .user_agent(concat!("meanwhile/", env!("CARGO_PKG_VERSION")))
        .build())
}

/// All that ring offers but the private keys of who has a certificate of its own: 39 KB of the binary less.
fn crypto() -> CryptoProvider {
    CryptoProvider {
        key_provider: &NoKeys,
        ..ring::default_provider()
    }
}

#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> std::result::Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("there are no private keys".into()))
    }
}

fn proxy(url: &str) -> Result<Proxy> {
    // The URL may hold a password: it is not repeated.
    Proxy::new(url)
        .map_err(|_| Error::Config("the proxy variable holds no URL of an HTTP proxy".into()))
}

fn certificates(pem: &[u8]) -> Result<Vec<ureq::tls::Certificate<'static>>> {
    let found = ureq::tls::parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => {
            let text = "the file that `SSL_CERT_FILE` names holds no PEM certificate";
            Err(Error::Config(text.into()))
        }
        false => Ok(found),
    }
}
