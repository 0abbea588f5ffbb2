//! The rules by which the real API refuses a request, as far as a client of ours can break them.
//!
//! They come from its documentation and from recorded errors; where the real API is laxer with
//! some models, this is as strict as the strictest.

#[cfg(test)]
mod cases;
mod content;
mod fields;

use std::collections::HashSet;

use serde_json::Value;

use super::request::header;

/// Returns an error with the formatted message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
use ensure;

/// `Err` says which rule is broken, and where.
type Checked = Result<(), String>;

const VERSION: &str = "2023-06-01";
const MAX_CACHE_MARKERS: usize = 4;

const FIELDS: [&str; 12] = [
    "model",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "stream",
    "metadata",
    "stop_sequences",
    "thinking",
    "output_config",
    "service_tier",
];

/// Why the API would answer 401, if it would.
pub fn unauthorized(headers: &[(String, String)]) -> Option<String> {
    let key = header(headers, "x-api-key");
    let bearer = header(headers, "authorization");
    let secret = match (key, bearer) {
        (Some(key), None) => key,
        (None, Some(bearer)) => bearer.strip_prefix("Bearer ").unwrap_or_default(),
        (None, None) => return Some("neither x-api-key nor authorization".to_owned()),
        (Some(_), Some(_)) => return Some("both x-api-key and authorization".to_owned()),
    };
    secret.trim().is_empty().then(|| "the key is empty".to_owned())
}

/// Why the API would answer 400 `invalid_request_error`, if it would.
pub fn violation(headers: &[(String, String)], body: &Value) -> Option<String> {
    check(headers, body).err()
}

fn check(headers: &[(String, String)], body: &Value) -> Checked {
    check_headers(headers)?;
    check_fields(body)?;
    if let Some(tools) = body.get("tools") {
        fields::check_tools(tools)?;
    }
    if let Some(system) = body.get("system") {
        content::check_system(system)?;
    }
    let messages = body["messages"].as_array().ok_or("messages: must be an array")?;
    check_roles(messages)?;
    for (n, message) in messages.iter().enumerate() {
        content::check_message(n, message)?;
    }
    check_tool_pairs(messages)?;
    check_cache_markers(body)
}

/// Why the API would refuse the version of the protocol, if it would.
pub fn wrong_version(headers: &[(String, String)]) -> Option<String> {
    check_version(headers).err()
}

fn check_version(headers: &[(String, String)]) -> Checked {
    let version = header(headers, "anthropic-version");
    ensure!(version == Some(VERSION), "anthropic-version: {version:?} is not {VERSION}");
    Ok(())
}

fn check_headers(headers: &[(String, String)]) -> Checked {
    check_version(headers)?;
    let content_type = header(headers, "content-type");
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ensure!(media_type == "application/json", "content-type: {content_type:?} is not JSON");
    Ok(())
}

fn check_fields(body: &Value) -> Checked {
    ensure!(body.is_object(), "the body is not a JSON object");
    for sampling in ["temperature", "top_p", "top_k"] {
        ensure!(body.get(sampling).is_none(), "{sampling}: is refused by newer models");
    }
    check_keys("request", body, &FIELDS)?;
    ensure!(is_filled(&body["model"]), "model: must be a non-empty string");
    let tokens = body["max_tokens"].as_u64().unwrap_or(0);
    ensure!(tokens > 0, "max_tokens: must be a positive integer");
    let stream = &body["stream"];
    ensure!(stream.is_null() || stream.is_boolean(), "stream: must be a boolean");
    fields::check_thinking(body)?;
    fields::check_output_config(body)
}

fn check_roles(messages: &[Value]) -> Checked {
    ensure!(!messages.is_empty(), "messages: at least one message is required");
    for (n, message) in messages.iter().enumerate() {
        let expected = if n % 2 == 0 { "user" } else { "assistant" };
        let role = &message["role"];
        ensure!(role == expected, "messages.{n}.role: is {role}, expected {expected}");
    }
    let last = messages.last().filter(|last| last["role"] == "assistant");
    ensure!(last.is_none_or(is_paused), "messages: the last one must be of role user");
    Ok(())
}

/// A turn that the API itself has interrupted (`pause_turn`) is sent back as it is, to go on.
fn is_paused(message: &Value) -> bool {
    let last = blocks(message).last();
    last.is_some_and(|block| block["type"] == "server_tool_use") && ids(message, "tool_use", "id").is_empty()
}

/// Every call is answered in the next message, first of all, and nothing else is.
fn check_tool_pairs(messages: &[Value]) -> Checked {
    let mut seen = HashSet::new();
    let mut calls: Vec<&str> = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        if message["role"] == "user" {
            check_results(n, message, &calls)?;
            continue;
        }
        calls = ids(message, "tool_use", "id");
        for id in &calls {
            ensure!(seen.insert(*id), "messages.{n}: tool_use id `{id}` is not unique");
        }
    }
    Ok(())
}

fn check_results(n: usize, message: &Value, calls: &[&str]) -> Checked {
    let answered = ids(message, "tool_result", "tool_use_id");
    let leading = blocks(message).iter().take_while(|block| block["type"] == "tool_result").count();
    for (k, id) in answered.iter().enumerate() {
        ensure!(calls.contains(id), "messages.{n}: tool_result `{id}` without its tool_use before");
        ensure!(!answered[..k].contains(id), "messages.{n}: two tool_results for `{id}`");
    }
    for id in calls {
        ensure!(answered.contains(id), "messages.{n}: tool_use `{id}` without its tool_result");
    }
    ensure!(leading == answered.len(), "messages.{n}: tool_results must come before other blocks");
    Ok(())
}

/// In the order in which the cache sees them: tools, system, messages.
fn check_cache_markers(body: &Value) -> Checked {
    let messages = body["messages"].as_array().into_iter().flatten();
    let in_messages = messages
        .flat_map(blocks)
        .flat_map(|block| std::iter::once(block).chain(block["content"].as_array().into_iter().flatten()));
    let tools = body["tools"].as_array().into_iter().flatten();
    let system = body["system"].as_array().into_iter().flatten();
    let markers: Vec<&Value> =
        tools.chain(system).chain(in_messages).filter_map(|marked| marked.get("cache_control")).collect();
    let count = markers.len();
    ensure!(count <= MAX_CACHE_MARKERS, "cache_control: {count} markers, at most 4 are allowed");
    for marker in &markers {
        fields::check_marker(marker)?;
    }
    let long_first = markers.is_sorted_by_key(|marker| marker["ttl"] != "1h");
    ensure!(long_first, "cache_control.ttl: 1h must not come after 5m");
    Ok(())
}

fn check_keys(place: &str, value: &Value, known: &[&str]) -> Checked {
    let object = value.as_object().ok_or_else(|| format!("{place}: must be an object"))?;
    for key in object.keys() {
        ensure!(known.contains(&key.as_str()), "{place}.{key}: extra inputs are not permitted");
    }
    Ok(())
}

fn blocks(message: &Value) -> &[Value] {
    message["content"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn ids<'a>(message: &'a Value, block_type: &str, key: &str) -> Vec<&'a str> {
    let blocks = blocks(message).iter().filter(|block| block["type"] == block_type);
    blocks.filter_map(|block| block[key].as_str()).collect()
}

fn is_filled(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

/// Whether it matches `^[a-zA-Z0-9_-]+$`.
fn is_word(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.chars().all(allowed)
}
