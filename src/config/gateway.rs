//! What a gateway needs in a request besides the conversation: headers and fields of the body, from options and the
//! environment.

use serde_json::{Map, Value};

use super::environment::in_environment;
use super::looks_secret;
use super::variables::not_sent;
use crate::api::headers::Headers;
use crate::cli::args::Gateway;
use crate::error::{Error, Result};

pub const CUSTOM_HEADERS: &str = "ANTHROPIC_CUSTOM_HEADERS";
pub const BETAS: &str = "ANTHROPIC_BETAS";

/// Fields of the body that `--body` can't set, and what to use instead.
const FIXED: [(&str, &str); 6] = [
    ("model", "use --model"),
    ("max_tokens", "use --max-output-tokens"),
    ("system", "use AGENTS.md"),
    ("messages", "meanwhile writes it"),
    ("tools", "meanwhile writes it"),
    ("stream", "meanwhile writes it"),
];

/// The headers of the environment and then those of the options, which replace them. A header may be a credential, so
/// a server that only `.env` names (`is_foreign`) gets none of those: fails if an option asks for one there, or for one that can't be.
pub fn headers(typed: &Gateway, is_foreign: bool) -> Result<Headers> {
    if is_foreign && !typed.headers.is_empty() {
        return Err(not_sent("--header"));
    }
    let mut headers = if is_foreign { Headers::default() } else { custom_headers()? };
    if let Some(betas) = in_environment(BETAS)? {
        headers.add_betas(&betas).map_err(|err| Error::Config(format!("`{BETAS}` {err}")))?;
    }
    for line in &typed.headers {
        headers.add(line).map_err(|err| Error::Usage(format!("--header {err}")))?;
    }
    Ok(headers)
}

/// The headers of the environment. Fails if one is malformed.
pub fn custom_headers() -> Result<Headers> {
    let mut headers = Headers::default();
    let lines = in_environment(CUSTOM_HEADERS)?.unwrap_or_default();
    for (at, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let added = headers.add(line);
        added.map_err(|err| Error::Config(format!("line {} of `{CUSTOM_HEADERS}` {err}", at + 1)))?;
    }
    Ok(headers)
}

/// The fields of `--body`. Objects in them are merged, the later of two values wins. Fails if a text is no JSON object
/// or sets a field that is not the user's.
pub fn fields(bodies: &[String]) -> Result<Map<String, Value>> {
    let mut fields = Map::new();
    for body in bodies {
        let Ok(Value::Object(added)) = serde_json::from_str(body) else {
            return Err(Error::Usage(
                "--body takes a JSON object, like '{\"service_tier\": \"auto\"}'".into(),
            ));
        };
        if let Some((name, instead)) = FIXED.iter().find(|(name, _)| added.contains_key(*name)) {
            return Err(Error::Usage(format!("--body can't set `{name}`: {instead}")));
        }
        merge(&mut fields, added);
    }
    Ok(fields)
}

/// Puts the fields of `from` into `into`. Where both have an object, those are merged; elsewhere `from` wins.
pub fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

/// The texts in `fields` under names that look like those of secrets.
pub fn secrets(fields: &Map<String, Value>) -> Vec<String> {
    fn collect(name: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) if looks_secret(name) => found.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| collect(name, value, found)),
            Value::Object(fields) => fields.iter().for_each(|(name, value)| collect(name, value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    fields.iter().for_each(|(name, value)| collect(name, value, &mut found));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(bodies: &[&str], expected: Value) {
        let bodies: Vec<String> = bodies.iter().map(|body| body.to_string()).collect();
        assert_eq!(Value::Object(fields(&bodies).unwrap()), expected);
    }

    #[test]
    fn objects_are_merged_and_the_later_value_wins() {
        check(&[], json!({}));
        check(&[r#"{"a": 1}"#, r#"{"b": [2]}"#], json!({"a": 1, "b": [2]}));
        check(&[r#"{"a": {"b": 1, "c": 2}}"#, r#"{"a": {"c": {}}}"#], json!({"a": {"b": 1, "c": {}}}));
        check(&[r#"{"a": {"b": 1}}"#, r#"{"a": null}"#], json!({"a": null}));
    }

    #[test]
    fn what_can_not_be_a_body_is_refused() {
        for (name, _) in FIXED {
            let err = fields(&[format!("{{\"x\": 1, \"{name}\": 2}}")]).unwrap_err().to_string();
            assert!(err.contains(&format!("--body can't set `{name}`")), "{err}");
        }
        for body in ["", "[]", "7", "{", "{} {}", "{'a': 1}"] {
            let err = fields(&[body.to_owned()]).unwrap_err().to_string();
            assert!(err.contains("--body takes a JSON object"), "{body}: {err}");
        }
    }

    #[test]
    fn texts_under_secret_names_are_secrets() {
        let fields =
            json!({"api_key": "one", "metadata": {"user_id": "u", "tokens": 7, "token": ["two", "three"]}});
        assert_eq!(secrets(fields.as_object().unwrap()), ["one", "two", "three"]);
    }
}
