//! What every connection has in common: TLS, the proxy, buffers, how long is waited.

use std::{sync::Arc, time::Duration};

use rustls::{
    crypto::{CryptoProvider, KeyProvider, ring},
    pki_types::PrivateKeyDer,
    sign::SigningKey,
};
use ureq::{
    Agent, Proxy,
    config::Config,
    tls::{PemItem, RootCerts, TlsConfig},
};

use crate::error::{Error, Result};

/// Both buffers of a connection are zeroed before its first request, and stay. An answer's head has to fit into
/// one, a history of megabytes passes through the other; ureq takes 128 KiB for each.
const READ_BUFFER: usize = 32 * 1024;

const WRITE_BUFFER: usize = 64 * 1024;

/// How long a connection is kept while commands run or the user types: as long as Go's `http.DefaultTransport`
/// keeps one. ureq's 15 s are less than a test run takes.
pub const KEPT: Duration = Duration::from_secs(90);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What every request has in common. Fails when the certificates or the proxy are none.
pub fn config(roots: Option<&[u8]>, proxy_url: Option<&str>, idle_timeout: Duration) -> Result<Config> {
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
    CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() }
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
    Proxy::new(url).map_err(|_| Error::Config("the proxy variable holds no URL of an HTTP proxy".into()))
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
