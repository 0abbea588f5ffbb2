//! Headers of the user's own: gateways need them. Pure.

use ureq::http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// Names the beta features to use (<https://docs.anthropic.com/en/api/beta-headers>).
const BETAS: &str = "anthropic-beta";

/// They say how a request is sent and how its reply may be packed.
const FIXED: [HeaderName; 5] = [ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING];

/// Their values name features and programs, and are part of many texts.
const PUBLIC: [&str; 6] = [BETAS, "anthropic-version", "http-referer", "referer", "user-agent", "x-title"];

/// The longest headers of all together, in bytes. Servers take no more (nginx: `large_client_header_buffers`), and they
/// have to fit into the buffer of a connection.
const LONGEST: usize = 32 * 1024;

/// What the user adds to every request.
#[derive(Clone, Default)]
pub struct Headers(HeaderMap);

impl Headers {
    /// Adds a line `Name: value`. It replaces an earlier one of that name; with an empty value, none of that name is
    /// sent. Several lines of beta features are joined. Fails with what is wrong, without the value: it may be a secret.
    pub fn add(&mut self, line: &str) -> Result<(), String> {
        let (name, value) = line.split_once(':').ok_or("is not of the form `Name: value`")?;
        let (name, value) = (name.trim(), value.trim());
        let header = name.parse::<HeaderName>().map_err(|_| "has a name that no header can have")?;
        if FIXED.contains(&header) {
            return Err(format!("sets `{name}`, which meanwhile sets itself"));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("has a control character in the value of `{name}`"))?;
        if header == BETAS && !value.is_empty() {
            let earlier = self.0.get(BETAS).into_iter().filter(|earlier| !earlier.is_empty());
            let joined =
                earlier.chain([&value]).map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b","[..]);
            value = HeaderValue::from_bytes(&joined).expect("both values are valid");
        }
        self.0.insert(header, value);
        let lengths = self.0.iter().map(|(name, value)| name.as_str().len() + value.len());
        let length: usize = lengths.sum();
        (length <= LONGEST)
            .then_some(())
            .ok_or_else(|| format!("makes the headers longer than {LONGEST} bytes"))
    }

    /// Asks for beta features: a list with commas. Fails if there is a control character in it.
    pub fn add_betas(&mut self, list: &str) -> Result<(), String> {
        let betas: Vec<&str> =
            list.split([',', '\n']).map(str::trim).filter(|beta| !beta.is_empty()).collect();
        self.add(&format!("{BETAS}: {}", betas.join(",")))
    }

    /// Whether one of them sets or removes the credential.
    pub fn has_credential(&self) -> bool {
        self.0.contains_key("authorization") || self.0.contains_key("x-api-key")
    }

    /// The names of those that are sent, in lower case.
    pub fn names(&self) -> Vec<&str> {
        let sent = self.0.iter().filter(|(_, value)| !value.is_empty());
        sent.map(|(name, _)| name.as_str()).collect()
    }

    /// The values that may be secret: all but those of well-known public headers, and URLs without a password. Of two
    /// words (`Bearer TOKEN`) the second.
    pub fn secrets(&self) -> Vec<String> {
        let values = self.0.iter().filter(|(name, _)| !PUBLIC.contains(&name.as_str()));
        let texts = values.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()));
        let secrets = texts.map(|text| match text.split_once(' ') {
            Some((_, secret)) if !secret.contains(' ') => secret.to_owned(),
            _ => text.into_owned(),
        });
        secrets.filter(|secret| !secret.contains("://") || secret.contains('@')).collect()
    }

    /// Sets them in `to`, instead of what has the same name there.
    pub(super) fn set_in(&self, to: &mut HeaderMap) {
        for (name, value) in &self.0 {
            to.remove(name);
            if !value.is_empty() {
                to.insert(name, value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: &[(&str, &str)]) {
        let mut headers = Headers::default();
        lines.iter().for_each(|line| headers.add(line).unwrap());
        let mut all = HeaderMap::new();
        all.insert("own", HeaderValue::from_static("value"));
        headers.set_in(&mut all);
        let found: Vec<(&str, &str)> =
            all.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(found, expected, "{lines:?}");
    }

    #[test]
    fn a_line_replaces_an_earlier_one_and_betas_are_joined() {
        let own = ("own", "value");
        check(&["X-One: 1", "x-two:  2: b "], &[own, ("x-one", "1"), ("x-two", "2: b")]);
        check(&["X-One: 1", "x-one: 2"], &[own, ("x-one", "2")]);
        check(&["X-One: 1", "x-one:"], &[own]);
        check(&["Own: 1"], &[("own", "1")]);
        check(&["own:"], &[]);
        check(&["anthropic-beta: a", "Anthropic-Beta: b, c"], &[own, ("anthropic-beta", "a,b, c")]);
        check(
            &["anthropic-beta: a", "anthropic-beta:", "anthropic-beta: b"],
            &[own, ("anthropic-beta", "b")],
        );
    }

    #[test]
    fn what_is_no_header_is_named_without_its_value() {
        for line in [
            "",
            "no colon",
            ": value",
            "two words: secret",
            "a\u{7f}: secret",
            "X: se\u{1}cret",
            "Content-Length: 7",
        ] {
            let err = Headers::default().add(line).unwrap_err();
            assert!(!err.contains("secret"), "{line:?}: {err}");
        }
    }

    #[test]
    fn values_that_may_be_secret_are_told_from_public_ones() {
        let mut headers = Headers::default();
        let lines = ["Authorization: Bearer a-token", "X-Key: plain", "X-Title: my agent", "X-Tags: a, b, c"];
        let urls = ["X-Target: https://api.test", "X-Login: https://u:p@host", "anthropic-beta: context-1m"];
        lines.iter().chain(&urls).for_each(|line| headers.add(line).unwrap());
        let mut secrets = headers.secrets();
        secrets.sort();
        assert_eq!(secrets, ["a, b, c", "a-token", "https://u:p@host", "plain"]);
    }
}
