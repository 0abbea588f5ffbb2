//! A look at a server that costs nothing: its address, its TLS, its clock.

use std::{
    net::ToSocketAddrs,
    time::{Duration, SystemTime},
};

use super::transport::config;

/// A server to look at without a credential.
#[derive(Clone)]
pub struct Target {
    pub url: String,
    pub roots: Option<Vec<u8>>,
    pub proxy: Option<String>,
}

/// What a look at a server has found.
pub struct Probe {
    /// What its name stands for.
    pub address: std::result::Result<String, String>,
    /// The status of its answer, over TLS where the URL says so.
    pub status: std::result::Result<u16, String>,
    /// Its clock.
    pub date: Option<SystemTime>,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe {
            address: Err("not looked at".into()),
            status: Err("not looked at".into()),
            date: None,
        }
    }
}

/// Looks the server up and sends it one request without a body or a credential, which costs nothing.
pub fn probe(target: &Target, timeout: Duration) -> Probe {
    let mut probe = Probe {
        address: address(target),
        ..Probe::default()
    };
    let config = match config(target.roots.as_deref(), target.proxy.as_deref(), timeout) {
        Ok(config) => config,
        Err(err) => {
            return Probe {
                status: Err(err.to_string()),
                ..probe
            };
        }
    };
    match config.new_agent().head(&target.url).call() {
        Ok(response) => {
            let date = response
                .headers()
                .get("date")
                .and_then(|date| date.to_str().ok());
            probe.date = date.and_then(|date| httpdate::parse_http_date(date).ok());
            probe.status = Ok(response.status().as_u16());
        }
        Err(err) => probe.status = Err(err.to_string()),
    }
    probe
}

fn address(target: &Target) -> std::result::Result<String, String> {
    if target.proxy.is_some() {
        return Ok("left to the proxy".into());
    }
    let uri: ureq::http::Uri = target
        .url
        .parse()
        .map_err(|_| format!("{} is no URL", target.url))?;
    let host = uri.host().unwrap_or_default();
    let port = uri
        .port_u16()
        .unwrap_or(if target.url.starts_with("https:") {
            443
        } else {
            80
        });
    let found = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    match found.map(|mut found| found.next()) {
        Ok(Some(address)) => Ok(format!("{host} is {}", address.ip())),
        Ok(None) => Err(format!("{host} has no address")),
        Err(err) => Err(format!("{host}: {err}")),
    }
}
