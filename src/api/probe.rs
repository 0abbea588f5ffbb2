//! A look at a server that costs nothing: its address, its TLS, its clock.

use std::{
    net::ToSocketAddrs,
    time::{Duration, SystemTime},
};

use super::connection::config;

/// A server to look at without a credential.
#[derive(Clone)]
pub struct Target {
    pub url: String,
    pub roots: Option<Vec<u8>>,
    pub proxy: Option<String>,
}

/// What a server answers.
pub struct Answer {
    /// Over TLS where the URL says so.
    pub status: Result<u16, String>,
    /// Its clock.
    pub date: Option<SystemTime>,
}

impl Target {
    /// What the name of the server stands for.
    pub fn address(&self) -> Result<String, String> {
        if self.proxy.is_some() {
            return Ok("left to the proxy".into());
        }
        let uri: ureq::http::Uri = self.url.parse().map_err(|_| format!("{} is no URL", self.url))?;
        let host = uri.host().unwrap_or_default();
        let is_https = self.url.starts_with("https:");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let found = (host.trim_matches(['[', ']']), port).to_socket_addrs();
        match found.map(|mut found| found.next()) {
            Ok(Some(address)) => Ok(format!("{host} is {}", address.ip())),
            Ok(None) => Err(format!("{host} has no address")),
            Err(err) => Err(format!("{host}: {err}")),
        }
    }

    /// Sends one request without a body or a credential, which costs nothing.
    pub fn ask(&self, timeout: Duration) -> Answer {
        let config = match config(self.roots.as_deref(), self.proxy.as_deref(), timeout) {
            Ok(config) => config,
            Err(err) => {
                return Answer { status: Err(err.to_string()), date: None };
            }
        };
        match config.new_agent().head(&self.url).call() {
            Ok(response) => {
                let date = response.headers().get("date").and_then(|date| date.to_str().ok());
                Answer {
                    status: Ok(response.status().as_u16()),
                    date: date.and_then(|date| httpdate::parse_http_date(date).ok()),
                }
            }
            Err(err) => Answer { status: Err(err.to_string()), date: None },
        }
    }
}
