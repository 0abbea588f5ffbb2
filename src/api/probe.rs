//! Looks at a server without cost: its address, its TLS, its clock.

use std::net::ToSocketAddrs;
use std::time::{Duration, SystemTime};

use super::connection::Server;

/// What a server answers.
pub struct Answer {
    /// The status, or why there is none.
    pub status: Result<u16, String>,
    /// The time on the server's clock.
    pub date: Option<SystemTime>,
}

/// Looks up the name of the server. Returns a line about its address, or about what failed.
pub fn address(server: &Server) -> Result<String, String> {
    if server.proxy.is_some() {
        return Ok("the proxy looks it up".into());
    }
    let uri: ureq::http::Uri = server.url.parse().map_err(|_| format!("{} is not a URL", server.url))?;
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if server.is_secure() { 443 } else { 80 });
    let found = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    match found.map(|mut found| found.next()) {
        Ok(Some(address)) => Ok(format!("{host} is {}", address.ip())),
        Ok(None) => Err(format!("{host} has no address")),
        Err(err) => Err(format!("{host}: {err}")),
    }
}

/// Sends one request without a body and without the credential, which costs nothing.
pub fn ask(server: &Server, timeout: Duration) -> Answer {
    let response = server
        .agent(timeout)
        .map_err(|err| err.to_string())
        .and_then(|agent| agent.head(&server.url).call().map_err(|err| err.to_string()));
    let date = response.as_ref().ok().and_then(|response| response.headers().get("date")?.to_str().ok());
    Answer {
        date: date.and_then(|date| httpdate::parse_http_date(date).ok()),
        status: response.map(|response| response.status().as_u16()),
    }
}
