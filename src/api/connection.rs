//! A server and the settings of every connection to it: TLS, the proxy, buffer sizes and timeouts.

use std::{sync::Arc, time::Duration};

use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Proxy, ProxyProtocol};

use crate::error::{Error, Result};

/// Both buffers of a connection are zeroed before its first request and stay allocated; ureq takes 128 KiB for
/// each. The head of a response has to fit into this one.
const READ_BUFFER: usize = 32 * 1024;
/// A history of megabytes passes through this one.
const WRITE_BUFFER: usize = 64 * 1024;

/// How long an idle connection is kept while commands run or the user types: as long as Go's
/// `http.DefaultTransport` keeps one. ureq's 15 s are less than a test run takes.
pub const KEPT: Duration = Duration::from_secs(90);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server, and how to connect to it.
#[derive(Clone)]
pub struct Server {
    /// The whole URL of the messages resource.
    pub url: String,
    /// The PEM text of certificates that replace the built-in roots.
    pub roots: Option<Vec<u8>>,
    /// The URL of a proxy.
    pub proxy: Option<String>,
}

impl Server {
    pub fn is_secure(&self) -> bool {
        self.url.starts_with("https:")
    }

    /// The URL of another resource beside the messages.
    pub fn beside(&self, path: &str) -> String {
        let base = self.url.strip_suffix("messages").unwrap_or(&self.url);
        format!("{base}{path}")
    }

    /// Returns an agent without a connection. Every wait for the server ends after `idle_timeout`. Fails if the
    /// PEM text has no certificate or the URL of the proxy is invalid.
    pub fn agent(&self, idle_timeout: Duration) -> Result<Agent> {
        let roots = match &self.roots {
            Some(pem) => RootCerts::Specific(Arc::new(certificates(pem)?)),
            None => RootCerts::WebPki,
        };
        // All that ring offers except private keys for client certificates: that makes the binary 39 KB smaller.
        let crypto = CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() };
        let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(Arc::new(crypto));
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .proxy(self.proxy.as_deref().map(proxy).transpose()?)
            .http_status_as_error(false)
            // A redirect would send the credential to another host.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .input_buffer_size(READ_BUFFER)
            .output_buffer_size(WRITE_BUFFER)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .max_response_header_size(READ_BUFFER - 1)
            .timeout_per_read(Some(idle_timeout))
            .timeout_per_write(Some(idle_timeout))
            // Interim responses could delay the head forever without a silence.
            .timeout_recv_response(Some(idle_timeout))
            .max_idle_age(KEPT)
            .user_agent(concat!("meanwhile/", env!("CARGO_PKG_VERSION")));
        Ok(config.build().new_agent())
    }
}

#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("there are no private keys".into()))
    }
}

fn proxy(url: &str) -> Result<Proxy> {
    // The URL may contain a password, so the message does not repeat it.
    let parsed = Proxy::new(url)
        .ok()
        .filter(|proxy| matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https));
    parsed.ok_or_else(|| {
        Error::Config(
            "the proxy variable is not the URL of an HTTP proxy (there is no support for SOCKS)".into(),
        )
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = ureq::tls::parse_pem(pem).filter_map(certificate).collect();
    if found.is_empty() {
        return Err(Error::Config("the file named by `SSL_CERT_FILE` contains no PEM certificate".into()));
    }
    Ok(found)
}
