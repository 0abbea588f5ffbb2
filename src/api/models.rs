//! What a server says about a model: its limits and its capabilities
//! (<https://docs.anthropic.com/en/api/models>). The question costs nothing.
//!
//! Other servers answer in other shapes, or not at all. What they say in another shape counts as unknown.

use std::fmt::Write;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde_json::Value;

use super::receive::error_response;
use super::transport::Transport;
use crate::error::{Error, Result};
use crate::threads;

/// The longest description, and the longest list of models, in bytes: OpenRouter's list has some 600 KB.
const LONGEST_ANSWER: u64 = 2 * 1024 * 1024;

/// How long to wait for a description. Nothing waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// No useful model has a smaller window, in tokens: a smaller number counts something else.
const LEAST_WINDOW: u64 = 1024;

/// What is known of a model.
#[derive(Debug, Default, PartialEq)]
pub struct Description {
    /// The size of its context window, in tokens.
    pub max_input_tokens: Option<u64>,
    /// The longest reply, in tokens.
    pub max_tokens: Option<u32>,
    /// As the API says them; see `supports`.
    pub capabilities: Value,
}

impl Description {
    /// Reads the body of an answer. What is missing in it or makes no sense is unknown. None if it describes no model.
    pub fn parse(body: &str) -> Option<Description> {
        let mut answer: Value = serde_json::from_str(body).unwrap_or_default();
        // Another API calls the whole window `max_tokens`; it says `object`, and no `type`.
        if answer["type"] != "model" {
            return None;
        }
        let max_tokens = answer["max_tokens"].as_u64().and_then(|most| most.try_into().ok());
        Some(Description {
            max_input_tokens: answer["max_input_tokens"].as_u64().filter(|window| *window >= LEAST_WINDOW),
            max_tokens: max_tokens.filter(|most| *most > 0),
            capabilities: answer["capabilities"].take(),
        })
    }

    /// Whether the model has the capability at this path, like `["image_input"]` or `["thinking", "types", "adaptive"]`.
    /// None if that is unknown.
    pub fn supports(&self, path: &[&str]) -> Option<bool> {
        path.iter().fold(&self.capabilities, |value, name| &value[name])["supported"].as_bool()
    }
}

/// The answer to a question about a model: None if the server does not describe it.
pub type Answer = Result<Option<Description>>;

/// A question about a model.
pub enum Lookup {
    Asked(Receiver<Answer>),
    Answered(Description),
}

impl Lookup {
    /// What is known by now; None as long as there is no answer. After a failure, nothing is known of the model.
    pub fn description(&mut self) -> Option<&Description> {
        if let Lookup::Asked(answers) = self
            && let Ok(answer) = answers.try_recv()
        {
            *self = Lookup::Answered(answer.ok().flatten().unwrap_or_default());
        }
        match self {
            Lookup::Asked(_) => None,
            Lookup::Answered(description) => Some(description),
        }
    }
}

/// Asks with `question` (`describe` or `find`) about a model, on a thread of its own; with `ready`, as soon as a message
/// arrives there or can't arrive any more. Returns the channel on which the answer arrives.
pub fn ask(
    transport: &Arc<Transport>,
    model: &str,
    question: impl FnOnce(&Transport, &str) -> Answer + Send + 'static,
    ready: Option<Receiver<()>>,
) -> Receiver<Answer> {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let (transport, model) = (Arc::clone(transport), model.to_owned());
    let run = move || {
        let _ = ready.map(|ready| ready.recv_timeout(PATIENCE));
        let _ = sender.send(question(&transport, &model));
    };
    // If no thread can be started, there is no answer.
    let _ = threads::start("model", run);
    receiver
}

/// Asks the server to describe a model. Fails if it can't be reached or answers with an error.
pub fn describe(transport: &Transport, model: &str) -> Answer {
    get(transport, &format!("models/{}", encoded(model))).map(|body| Description::parse(&body))
}

/// The same, but 404 is an error only if the server has no such model: its list of models lacks it, or there is no list
/// and it has described another one. A server that can't describe models answers 404 for each.
pub fn find(transport: &Transport, model: &str, has_described: bool) -> Answer {
    match describe(transport, model) {
        Err(Error::Api { status: 404, kind, .. }) if kind != "not_found_error" => Ok(None),
        Err(Error::Api { status: 404, .. }) if !lacks(transport, model).unwrap_or(has_described) => Ok(None),
        described => described,
    }
}

/// Whether the model is not in the server's list of its models. None if there is no list.
fn lacks(transport: &Transport, model: &str) -> Option<bool> {
    // The API sends 20 models unless it is asked for more, at most 1000.
    let list = get(transport, "models?limit=1000").unwrap_or_default();
    let list: Value = serde_json::from_str(&list).unwrap_or_default();
    Some(list["data"].as_array()?.iter().all(|listed| listed["id"] != model))
}

fn get(transport: &Transport, path: &str) -> Result<String> {
    let mut response = transport.get(path, PATIENCE)?;
    if response.status != 200 {
        return Err(error_response(&mut response));
    }
    let body = response.body.take(LONGEST_ANSWER);
    io::read_to_string(body).map_err(|err| Error::CutOff(err.to_string()))
}

/// The name of a model as a part of a path: all but the unreserved characters are encoded (RFC 3986, 2.3).
fn encoded(model: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut path = String::new();
    for byte in model.bytes() {
        if is_plain(byte) {
            path.push(byte.into());
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"type":"model","id":"m","display_name":"M","created_at":"2026-02-04T00:00:00Z",
        "max_input_tokens":1000000,"max_tokens":128000,"capabilities":{"image_input":{"supported":true},
        "thinking":{"supported":true,"types":{"adaptive":{"supported":true},"enabled":{"supported":false}}},
        "effort":{"supported":true,"high":{"supported":true},"xhigh":null}}}"#;

    #[test]
    fn limits_are_read_only_where_they_make_sense() {
        let cases = [
            (WHOLE, Some(1_000_000), Some(128_000)),
            (r#"{"type":"model","max_input_tokens":null,"max_tokens":null}"#, None, None),
            (r#"{"type":"model"}"#, None, None),
            (r#"{"type":"model","max_input_tokens":200000}"#, Some(200_000), None),
            (r#"{"type":"model","max_input_tokens":"200000","max_tokens":"64000"}"#, None, None),
            (r#"{"type":"model","max_input_tokens":0,"max_tokens":0}"#, None, None),
            (r#"{"type":"model","max_input_tokens":-1,"max_tokens":-1}"#, None, None),
            (r#"{"type":"model","max_input_tokens":200.5,"max_tokens":1e99}"#, None, None),
            (r#"{"type":"model","max_input_tokens":1,"max_tokens":99999999999}"#, None, None),
            (r#"{"type":"model","max_input_tokens":[],"max_tokens":{}}"#, None, None),
            (r#"{"object":"model","id":"m","max_input_tokens":9000,"max_tokens":9000}"#, None, None),
            (r#"{"type":"error","error":{"type":"not_found_error"}}"#, None, None),
            ("[1]", None, None),
            ("\"model\"", None, None),
            ("null", None, None),
            ("<html>", None, None),
            ("", None, None),
        ];
        for (body, window, most) in cases {
            let description = Description::parse(body).unwrap_or_default();
            assert_eq!((description.max_input_tokens, description.max_tokens), (window, most), "{body}");
        }
    }

    #[test]
    fn a_capability_is_there_or_not_or_unknown() {
        let whole = Description::parse(WHOLE).unwrap();
        let cases: [(&[&str], Option<bool>); 7] = [
            (&["image_input"], Some(true)),
            (&["thinking"], Some(true)),
            (&["thinking", "types", "enabled"], Some(false)),
            (&["effort", "high"], Some(true)),
            (&["effort", "xhigh"], None),
            (&["effort", "high", "more"], None),
            (&["of_the_future"], None),
        ];
        for (path, expected) in cases {
            assert_eq!(whole.supports(path), expected, "{path:?}");
            assert_eq!(Description::default().supports(path), None, "{path:?}");
        }
        for odd in ["null", "[]", "7", r#"{"image_input":true}"#, r#"{"image_input":{"supported":"yes"}}"#] {
            let body = format!(r#"{{"type":"model","capabilities":{odd}}}"#);
            assert_eq!(Description::parse(&body).unwrap().supports(&["image_input"]), None, "{odd}");
        }
    }

    #[test]
    fn the_name_of_a_model_is_one_part_of_a_path() {
        let cases = [
            ("claude-opus-5.5", "claude-opus-5.5"),
            ("anthropic/claude:v1?x#y", "anthropic%2Fclaude%3Av1%3Fx%23y"),
            ("a b%", "a%20b%25"),
            ("ü\n", "%C3%BC%0A"),
        ];
        for (model, expected) in cases {
            assert_eq!(encoded(model), expected);
        }
    }
}
