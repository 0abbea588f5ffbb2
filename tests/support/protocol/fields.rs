//! The rules for the optional fields of a request, and for its tools.

use std::collections::HashSet;

use serde_json::Value;

use super::{Checked, blocks, check_keys, ensure, is_filled, is_word};

const MAX_TOOL_NAME: usize = 64;
const TOOL_FIELDS: [&str; 5] = ["name", "description", "input_schema", "cache_control", "type"];

/// Tools that run on the server: the type without its date, which is the name, and the fields.
const SERVER_TOOLS: [(&str, &[&str]); 2] = [
    (
        "web_search",
        &[
            "type",
            "name",
            "max_uses",
            "allowed_domains",
            "blocked_domains",
            "user_location",
            "allowed_callers",
            "cache_control",
        ],
    ),
    (
        "web_fetch",
        &[
            "type",
            "name",
            "max_uses",
            "allowed_domains",
            "blocked_domains",
            "citations",
            "max_content_tokens",
            "allowed_callers",
            "cache_control",
        ],
    ),
];

const LEAST_BUDGET: u64 = 1024;
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// Bounds that structured output does not have.
const UNSUPPORTED: [&str; 8] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
];

pub fn check_tools(tools: &Value) -> Checked {
    let tools = tools.as_array().ok_or("tools: must be an array")?;
    let mut names = HashSet::new();
    for (n, tool) in tools.iter().enumerate() {
        let place = format!("tools.{n}");
        let name = tool["name"].as_str().unwrap_or_default();
        let fits = is_word(name) && name.len() <= MAX_TOOL_NAME;
        ensure!(fits, "{place}.name: `{name}` does not match ^[a-zA-Z0-9_-]{{1,64}}$");
        ensure!(names.insert(name), "{place}.name: `{name}` is not unique");
        match tool.get("type") {
            Some(kind) if kind != "custom" => check_server_tool(&place, tool)?,
            _ => check_custom_tool(&place, tool)?,
        }
    }
    Ok(())
}

fn check_custom_tool(place: &str, tool: &Value) -> Checked {
    check_keys(place, tool, &TOOL_FIELDS)?;
    let description = tool.get("description").is_none_or(Value::is_string);
    ensure!(description, "{place}.description: must be a string");
    let schema = &tool["input_schema"]["type"];
    ensure!(schema == "object", "{place}.input_schema: must be a schema of type object");
    Ok(())
}

/// Its type is its name and a date, as in `web_search_20260318`.
fn check_server_tool(place: &str, tool: &Value) -> Checked {
    let kind = tool["type"].as_str().unwrap_or_default();
    let (name, date) = kind.rsplit_once('_').unwrap_or_default();
    let known = SERVER_TOOLS.iter().find(|(known, _)| *known == name);
    let fields = known.filter(|_| date.len() == 8 && date.bytes().all(|digit| digit.is_ascii_digit()));
    let (_, fields) =
        fields.ok_or_else(|| format!("{place}.type: `{kind}` is neither custom nor a server tool"))?;
    ensure!(tool["name"] == name, "{place}.name: must be {name}");
    check_keys(place, tool, fields)
}

pub fn check_thinking(body: &Value) -> Checked {
    let Some(thinking) = body.get("thinking") else {
        return Ok(());
    };
    let fields: &[&str] = match thinking["type"].as_str() {
        Some("adaptive") => &["type", "display"],
        Some("enabled") => &["type", "display", "budget_tokens"],
        Some("disabled") => &["type"],
        kind => return Err(format!("thinking.type: {kind:?} is not adaptive, enabled or disabled")),
    };
    check_keys("thinking", thinking, fields)?;
    let display =
        thinking.get("display").is_none_or(|display| display == "summarized" || display == "omitted");
    ensure!(display, "thinking.display: must be summarized or omitted");
    if thinking["type"] == "enabled" {
        let budget = thinking["budget_tokens"].as_u64().unwrap_or(0);
        ensure!(budget >= LEAST_BUDGET, "thinking.enabled.budget_tokens: must be at least {LEAST_BUDGET}");
        let most = body["max_tokens"].as_u64().unwrap_or(0);
        ensure!(budget < most, "`max_tokens` must be greater than `thinking.budget_tokens`");
        return check_calls_behind_thinking(body);
    }
    Ok(())
}

/// With a budget, calls whose results come last have thinking before them.
fn check_calls_behind_thinking(body: &Value) -> Checked {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(n) = messages.iter().rposition(|message| message["role"] == "assistant") else {
        return Ok(());
    };
    let content = blocks(&messages[n]);
    let first = content.first().and_then(|block| block["type"].as_str()).unwrap_or_default();
    let has_calls = content.iter().any(|block| block["type"] == "tool_use");
    let thinks = !has_calls || first == "thinking" || first == "redacted_thinking";
    ensure!(
        thinks,
        "messages.{n}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When \
         `thinking` is enabled, a final `assistant` message must start with a thinking block"
    );
    Ok(())
}

pub fn check_output_config(body: &Value) -> Checked {
    let Some(config) = body.get("output_config") else {
        return Ok(());
    };
    check_keys("output_config", config, &["effort", "format"])?;
    if let Some(effort) = config.get("effort") {
        let known = EFFORTS.iter().any(|known| effort == known);
        ensure!(known, "output_config.effort: {effort} is not one of {EFFORTS:?}");
        let is_high = effort == "xhigh" || effort == "max";
        let fits = !is_high || body["thinking"]["type"] != "disabled";
        ensure!(fits, "output_config.effort: {effort} needs thinking, which is disabled");
    }
    let Some(format) = config.get("format") else {
        return Ok(());
    };
    let place = "output_config.format";
    check_keys(place, format, &["type", "schema"])?;
    ensure!(format["type"] == "json_schema", "{place}.type: must be json_schema");
    check_schema(&format!("{place}.schema"), &format["schema"])
}

/// The part of JSON Schema that structured output has.
fn check_schema(place: &str, schema: &Value) -> Checked {
    let fields = schema.as_object().ok_or_else(|| format!("{place}: must be an object"))?;
    for name in UNSUPPORTED {
        ensure!(!fields.contains_key(name), "{place}: property `{name}` is not supported");
    }
    let closed = schema["type"] != "object" || schema["additionalProperties"] == false;
    ensure!(closed, "{place}: for `object` type, `additionalProperties` must be explicitly set to false");
    for name in ["properties", "$defs", "definitions"] {
        for (key, part) in fields.get(name).and_then(Value::as_object).into_iter().flatten() {
            check_schema(&format!("{place}.{name}.{key}"), part)?;
        }
    }
    for name in ["anyOf", "allOf"] {
        for (n, part) in fields.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
            check_schema(&format!("{place}.{name}.{n}"), part)?;
        }
    }
    fields.get("items").map_or(Ok(()), |items| check_schema(&format!("{place}.items"), items))
}

/// In a cache marker: what it may hold.
pub fn check_marker(marker: &Value) -> Checked {
    check_keys("cache_control", marker, &["type", "ttl"])?;
    ensure!(marker["type"] == "ephemeral", "cache_control.type: must be ephemeral");
    let ttl = marker.get("ttl").is_none_or(|ttl| ttl == "5m" || ttl == "1h");
    ensure!(ttl, "cache_control.ttl: must be 5m or 1h");
    Ok(())
}

/// Formats, and the most bytes of base64 (<https://docs.anthropic.com/en/docs/build-with-claude/vision>).
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const MAX_PICTURE: usize = 5 * 1024 * 1024;

/// The source of a picture.
pub fn check_source(place: &str, source: &Value) -> Checked {
    let complete = match source["type"].as_str() {
        Some("base64") => is_filled(&source["data"]) && is_filled(&source["media_type"]),
        Some("url") => is_filled(&source["url"]),
        _ => false,
    };
    ensure!(complete, "{place}.source: must be whole, of type base64 or url");
    let Some(data) = source["data"].as_str() else {
        return Ok(());
    };
    let known = PICTURES.iter().any(|known| source["media_type"] == *known);
    ensure!(known, "{place}.source.base64.media_type: is not one of {PICTURES:?}");
    let size = data.len();
    ensure!(size <= MAX_PICTURE, "{place}.source.base64: image exceeds 5 MB maximum: {size} bytes");
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'/' || c == b'=';
    let decodable = size.is_multiple_of(4) && data.bytes().all(allowed);
    ensure!(decodable, "{place}.source.base64.data: is no base64");
    Ok(())
}
