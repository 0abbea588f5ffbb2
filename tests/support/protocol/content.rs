//! The rules for one message and its content blocks, each block by itself.

use serde_json::Value;

use super::{Checked, check_keys, ensure, fields, is_filled, is_word};

/// A string, or text blocks.
pub fn check_system(system: &Value) -> Checked {
    if system.is_string() {
        return Ok(());
    }
    let blocks = system.as_array().ok_or("system: must be a string or an array")?;
    for (n, block) in blocks.iter().enumerate() {
        let place = format!("system.{n}");
        ensure!(block["type"] == "text", "{place}.type: must be text");
        check_text_block(&place, block)?;
    }
    Ok(())
}

pub fn check_message(n: usize, message: &Value) -> Checked {
    check_keys(&format!("messages.{n}"), message, &["role", "content"])?;
    let place = format!("messages.{n}.content");
    let role = message["role"].as_str().unwrap_or_default();
    let blocks = match &message["content"] {
        text @ Value::String(_) => return check_text(&place, text),
        Value::Array(blocks) if !blocks.is_empty() => blocks,
        _ => return Err(format!("{place}: must be a string or a non-empty array")),
    };
    for (k, block) in blocks.iter().enumerate() {
        check_block(&format!("{place}.{k}"), role, block)?;
    }
    let last = blocks.last().map(|block| &block["type"]);
    let thinking = last.is_some_and(|kind| kind == "thinking" || kind == "redacted_thinking");
    ensure!(!thinking, "{place}: the last block must not be thinking");
    Ok(())
}

fn check_block(place: &str, role: &str, block: &Value) -> Checked {
    ensure!(block.is_object(), "{place}: must be an object");
    let kind = block["type"].as_str().unwrap_or_default();
    ensure!(!kind.is_empty(), "{place}.type: must be a string");
    let allowed = match kind {
        "text" => true,
        "tool_result" | "image" => role == "user",
        // Whatever else there is: what the API itself has sent, and takes back.
        _ => role == "assistant",
    };
    ensure!(allowed, "{place}.type: `{kind}` is not allowed in a message of role {role}");
    match kind {
        "text" => check_text_block(place, block),
        "tool_use" => check_tool_use(place, block),
        "tool_result" => check_tool_result(place, block),
        "thinking" => check_thinking(place, block),
        "redacted_thinking" => {
            check_keys(place, block, &["type", "data"])?;
            ensure!(is_filled(&block["data"]), "{place}.data: must be a non-empty string");
            Ok(())
        }
        "image" => check_image(place, block),
        _ => Ok(()),
    }
}

fn check_text_block(place: &str, block: &Value) -> Checked {
    check_keys(place, block, &["type", "text", "citations", "cache_control"])?;
    check_text(&format!("{place}.text"), &block["text"])
}

fn check_text(place: &str, text: &Value) -> Checked {
    let text = text.as_str().ok_or_else(|| format!("{place}: must be a string"))?;
    ensure!(!text.is_empty(), "{place}: text must be non-empty");
    ensure!(!text.trim().is_empty(), "{place}: text must contain non-whitespace text");
    Ok(())
}

fn check_tool_use(place: &str, block: &Value) -> Checked {
    check_keys(place, block, &["type", "id", "name", "input", "caller", "cache_control"])?;
    let id = block["id"].as_str().unwrap_or_default();
    ensure!(is_word(id), "{place}.id: `{id}` does not match ^[a-zA-Z0-9_-]+$");
    ensure!(is_filled(&block["name"]), "{place}.name: must be a non-empty string");
    ensure!(block["input"].is_object(), "{place}.input: must be an object");
    Ok(())
}

fn check_tool_result(place: &str, block: &Value) -> Checked {
    check_keys(place, block, &["type", "tool_use_id", "content", "is_error", "cache_control"])?;
    ensure!(is_filled(&block["tool_use_id"]), "{place}.tool_use_id: must be a non-empty string");
    let is_error = block.get("is_error").is_none_or(Value::is_boolean);
    ensure!(is_error, "{place}.is_error: must be a boolean");
    let empty = match block.get("content") {
        None => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(parts)) => {
            check_result_parts(place, parts)?;
            parts.is_empty()
        }
        Some(_) => return Err(format!("{place}.content: must be a string or an array")),
    };
    let silent_error = empty && block["is_error"] == true;
    ensure!(!silent_error, "{place}: content cannot be empty if is_error is true");
    Ok(())
}

fn check_result_parts(place: &str, parts: &[Value]) -> Checked {
    for (n, part) in parts.iter().enumerate() {
        let place = format!("{place}.content.{n}");
        match part["type"].as_str() {
            Some("text") => check_text_block(&place, part)?,
            Some("image") => check_image(&place, part)?,
            kind => {
                return Err(format!("{place}.type: {kind:?} is not allowed in a tool_result"));
            }
        }
    }
    Ok(())
}

fn check_thinking(place: &str, block: &Value) -> Checked {
    check_keys(place, block, &["type", "thinking", "signature"])?;
    ensure!(block["thinking"].is_string(), "{place}.thinking: must be a string");
    ensure!(is_filled(&block["signature"]), "{place}.signature: must be a non-empty string");
    Ok(())
}

fn check_image(place: &str, block: &Value) -> Checked {
    check_keys(place, block, &["type", "source", "cache_control"])?;
    fields::check_source(place, &block["source"])
}
