//! The proxy for a server, found in the environment as curl does.

use std::net::IpAddr;

use super::environment::in_environment;
use crate::error::Result;

/// The proxy for `url`: by the scheme, and none for a host in `NO_PROXY`. `HTTP_PROXY` in capitals is ignored: in a CGI
/// program, a client could set it. Unlike curl, a server on this machine is reached through a proxy on this machine
/// only: no other can reach it. Fails if a variable is not UTF-8.
pub fn proxy(url: &str) -> Result<Option<String>> {
    let is_https = url.starts_with("https://");
    let names: &[&str] = if is_https { &["https_proxy", "HTTPS_PROXY"] } else { &["http_proxy"] };
    for name in ["no_proxy", "NO_PROXY"] {
        if in_environment(name)?.is_some_and(|list| exempts(&list, host(url))) {
            return Ok(None);
        }
    }
    for name in names.iter().chain(&["all_proxy", "ALL_PROXY"]) {
        if let Some(proxy) = in_environment(name)? {
            return Ok(Some(proxy).filter(|proxy| is_loopback(proxy) || !is_loopback(url)));
        }
    }
    Ok(None)
}

/// Whether the server of `url` is on this machine, by its name or address.
pub fn is_loopback(url: &str) -> bool {
    let host = host(url);
    // Linux connects to `0.0.0.0`, at which servers say that they listen, as to `127.0.0.1`.
    let is_own = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_own)
}

/// The host in a URL, without the brackets of an IPv6 address.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    // The URL of a proxy may have a password.
    let authority = authority.rsplit('@').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Whether `NO_PROXY` lists the host: as `*`, by name, by the name of a domain above it, by address, or by a block of
/// addresses (`10.0.0.0/8`).
fn exempts(list: &str, host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    let host = format!(".{}", host.to_lowercase());
    list.split([',', ' ']).any(|name| {
        if let Some(address) = address
            && is_in_block(address, name.trim_matches(['[', ']']))
        {
            return true;
        }
        let name = name.trim_start_matches("*.").trim_start_matches('.').to_lowercase();
        name == "*" || !name.is_empty() && host.ends_with(&format!(".{name}"))
    })
}

/// Whether the address is `block`, or in it if that is a block.
fn is_in_block(address: IpAddr, block: &str) -> bool {
    let (start, length) = block.split_once('/').unwrap_or((block, "128"));
    let (Ok(start), Ok(length)) = (start.parse(), length.parse::<u32>()) else { return false };
    let (differ, bits) = match (address, start) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits() ^ b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits(), 128),
        _ => return false,
    };
    // The first `length` bits have to be the same.
    differ.checked_shr(bits - length.min(bits)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_and_what_is_below_them() {
        let cases = [
            ("*", "a.b", true),
            ("x,a.b", "a.b", true),
            (".a.b", "c.a.b", true),
            ("*.a.b", "c.a.b", true),
            ("a.b", "ca.b", false),
            ("", "a.b", false),
            ("127.0.0.1, localhost", "localhost", true),
            ("localhost,127.0.0.0/8", "127.1.2.3", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("10.1.2.3/0", "8.8.8.8", true),
            ("10.1.2.3/32", "10.1.2.4", false),
            ("localhost,::1", "::1", true),
            ("[::1]", "::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "1.2.3.4", false),
            ("1.2.3.4/x,/8,/", "1.2.3.4", false),
        ];
        for (list, host, expected) in cases {
            assert_eq!(exempts(list, host), expected, "{list} {host}");
        }
    }

    #[test]
    fn a_loopback_url_names_this_machine() {
        for url in
            ["http://localhost:1234/v1", "http://127.0.0.1", "https://[::1]:8080/x", "http://LOCALHOST"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in
            ["http://localhost.evil.test", "http://128.0.0.1", "http://[::2]", "http://127.0.0.1.evil.test"]
        {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
