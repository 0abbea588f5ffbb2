//! The one table of rejections that a smaller or other request cures: a full context, a limit on replies that is too
//! high, thinking that is bound to another conversation. Pure.
//!
//! Most servers say these in words only. This is the one place where words decide, and they decide only how to
//! recover. The words are facts from documentation, sources of servers and public bug reports.

use serde_json::Value;

use crate::error::Rejection;
use crate::text::first;

/// In characters: a longer message repeats what was sent.
const LONGEST_MESSAGE: usize = 4096;

/// About a thinking block or its signature (Anthropic, Bedrock, Vertex and gateways before them; the last from servers
/// that know no such blocks).
const THINKING: [&str; 8] = [
    "signature*thinking",
    "thinking*signature",
    "thought signature",
    "bound to a different conversation",
    "blocks in the latest assistant message cannot be modified",
    "invalid data in redacted_thinking block",
    "tag 'thinking'",
    "tag 'redacted_thinking'",
];

/// The limit of a reply is higher than the model's. `{}` is any number, `*` any text; there are no
/// backquotes.
const MAX_TOKENS: [&str; 8] = [
    // Anthropic; Bedrock.
    "max_tokens: {} > {most}, which is the maximum allowed number of output tokens",
    "maximum tokens you requested exceeds the model limit of {most}",
    // OpenAI; Groq.
    "max_tokens is too large*supports at most {most} completion tokens",
    "max_tokens must be less than or equal to {most}",
    // DeepSeek; DashScope; Volcano Engine.
    "valid range of max_tokens is [1, {most}]",
    "range of max_tokens should be [1, {most}]",
    "max_tokens*expected a value <= {most}",
    // OpenRouter, which reserves the whole limit against the credit that is left.
    "fewer max_tokens*can only afford {most}",
];

/// The window is full. `{prompt}` are tokens of the request, without its reply; several of them are added.
/// Where a server counts the reply too, or gives a lower bound, there is no `{prompt}`.
const WINDOW: [&str; 44] = [
    // Anthropic.
    "prompt is too long: {prompt} tokens > {window} maximum",
    "exceed context limit: {prompt} + {} > {window}",
    // OpenRouter; OpenAI and DeepSeek; vLLM. "At least" of vLLM is what makes the sum too large, not the prompt.
    "maximum context length is {window} tokens*({prompt} of text input, {prompt} of tool input",
    "maximum context length is {window} tokens*({prompt} of text input",
    "maximum context length is {window} tokens*({prompt} in the messages",
    "maximum context length is {window} tokens*({prompt} in your prompt",
    "maximum context length is {window} tokens*messages resulted in {prompt} tokens",
    "maximum context length is {window} tokens*your request has {prompt} input tokens",
    "maximum context length is {window}",
    // SGLang.
    "maximum context length of {window} tokens*: {prompt} tokens from the input messages",
    "maximum context length of {window}",
    "input length ({prompt}) exceeds model's maximum context length ({window}",
    "input length ({prompt} tokens) exceeds the maximum allowed length ({window}",
    "input ({prompt} tokens) is longer than the model's context length ({window}",
    // llama.cpp, llama-cpp-python, LM Studio, Ollama.
    "request ({prompt} tokens) exceeds the available context size ({window}",
    "exceeds the available context size",
    "requested tokens ({prompt}) exceed context window of {window}",
    "n_keep: {prompt} >= n_ctx: {window}",
    "trying to keep the first {prompt} tokens*context length of only {window}",
    "greater than the context length",
    "context size has been exceeded",
    "prompt too long; exceeded max context length",
    // OpenAI, Gemini, Grok, Copilot, Mistral, Poolside.
    "input tokens exceed the configured limit of {window} tokens*resulted in {prompt}",
    "input token count ({prompt}) exceeds the maximum number of tokens allowed ({window}",
    "input token count exceeds the maximum number of tokens allowed",
    "maximum prompt length is {window} but the request contains {prompt}",
    "prompt token count of {prompt} exceeds the limit of {window}",
    "prompt contains {prompt} tokens, too large for model with {window}",
    "input length {prompt} exceeds the maximum allowed input length of {window}",
    "reduce the length of the messages",
    // Kimi, Qwen, GLM, MiniMax.
    "exceeded model token limit: {window}",
    "exceeded model token limit",
    "range of input length should be [1, {window}]",
    "prompt exceeds max length",
    "context window exceeds limit",
    // Bedrock; LiteLLM; what several say.
    "input is too long",
    "contextwindowexceedederror",
    // Types and codes of errors.
    "exceed_context_size_error",
    "context_length_exceeded",
    "model_context_window_exceeded",
    "prompt is too long",
    "exceeds the context window",
    "exceeds the model's context window",
    "exceeds this model's context window",
];

/// About the schema in the field that asks for structured answers (Anthropic and its beta; OpenAI; vLLM; llama.cpp).
const SCHEMA: [&str; 7] = [
    "output_config.format.schema",
    "output_format.schema",
    "additionalproperties",
    "invalid schema for response_format",
    "invalid_json_schema",
    "json schema contains features not supported",
    "json schema conversion failed",
];

/// About the field itself, under the names that it has here and earlier, and in what gateways make of it.
const FORMAT: [&str; 9] = [
    // Anthropic, Bedrock, Vertex; their beta.
    "output_config",
    "output_format",
    "compiled grammar is too large",
    "outputconfig",
    // OpenAI; vLLM, llama.cpp; Gemini.
    "response_format",
    "json_schema",
    "structured output",
    "failed to parse grammar",
    "specified schema produces",
];

/// About a picture.
const PICTURE: [&str; 26] = [
    // Anthropic.
    "could not process image",
    "image exceeds",
    "image dimensions exceed",
    "image.source",
    "image media type",
    "too many images",
    "provided image",
    // MiniMax, xAI, Kimi, OpenAI.
    "media exceeds size limit",
    "invalid image",
    "unsupported image",
    "image format",
    "image data",
    "invalid png image",
    "invalid jpeg image",
    "failed to decode image",
    "represent a valid image",
    "unable to process image",
    // Models that take none: OpenRouter, llama.cpp, vLLM, DeepSeek, Ollama and others.
    "image input",
    "image_url",
    "images are not supported",
    "image is not supported",
    "not support image",
    "support vision",
    "not a multimodal model",
    "mmproj",
    "at most 0 image",
];

/// About the tools of a request. A server that lacks those for the web may say no more than which of the tools it is.
const TOOLS: [&str; 8] = [
    "web_search",
    "web_fetch",
    "web search",
    "tools.{}",
    "tools[{}]",
    "tools, {}",
    "tool type",
    "type of tool",
];

/// A window that the account does not have, with status 429 (Anthropic, for subscriptions).
const LONG_CONTEXT: &str = "required for long context requests";

/// Says that too much was sent in a while, which waiting cures, in words like those above.
const RATES: [&str; 4] = ["per minute", "per day", "rate limit", "quota"];

/// Returns which rejection of the table the error is; `body` is what the server sent, an object or a text.
pub fn of(status: u16, body: &Value) -> Option<Rejection> {
    // Wrong credentials, permissions and addresses say nothing about what was sent.
    if matches!(status, 401 | 403) {
        return None;
    }
    let error = if body["error"].is_object() { &body["error"] } else { body };
    let words = [&error["message"], &body["error"], &body["detail"], body];
    // Gateways nest the error that they got in their own.
    let words = words.into_iter().find_map(Value::as_str).map_or_else(|| body.to_string(), str::to_owned);
    let kinds = [&error["type"], &error["code"]].map(|kind| kind.as_str().unwrap_or_default());
    let words = format!("{}\n{}", first(&words, LONGEST_MESSAGE), kinds.join("\n"));
    let words = words.to_lowercase().replace('`', "").replace("\\u003e", ">");
    let is_about = |patterns: &[&str]| patterns.iter().any(|pattern| find(pattern, &words).is_some());
    // OpenRouter says so if no provider of the model takes pictures.
    if status == 404 {
        return is_about(&PICTURE).then_some(Rejection::Picture);
    }
    if is_about(&THINKING) {
        return Some(Rejection::Thinking);
    }
    if find(LONG_CONTEXT, &words).is_some() {
        return Some(Rejection::Window { prompt: None, window: None });
    }
    // 429 and 529: the same request may succeed later. With 413, it is larger than the rate itself.
    let is_rate = status != 413 && RATES.iter().any(|rate| words.contains(rate));
    if matches!(status, 429 | 529) || is_rate {
        return None;
    }
    if let Some(most) = MAX_TOKENS.iter().find_map(|pattern| find(pattern, &words)?.limit) {
        return Some(Rejection::MaxTokens { most });
    }
    if let Some(Found { prompt, limit: window }) = WINDOW.iter().find_map(|pattern| find(pattern, &words)) {
        let field = |name: &str| error[name].as_u64().and_then(|number| number.try_into().ok());
        let (prompt, window) = (field("n_prompt_tokens").or(prompt), field("n_ctx").or(window));
        return Some(Rejection::Window { prompt, window });
    }
    // Tools have schemas too, and `output_config` has another field.
    let others = if is_about(&["input_schema", "output_config.effort"]) { 2 } else { 0 };
    let table = [
        (&SCHEMA[..], Rejection::Schema),
        (&FORMAT, Rejection::Format),
        (&PICTURE, Rejection::Picture),
        (&TOOLS, Rejection::Tools),
        (&["request_too_large"], Rejection::TooLarge),
    ];
    let found = table.into_iter().skip(others).find(|(patterns, _)| is_about(patterns));
    found.map(|(_, rejection)| rejection).or((status == 413).then_some(Rejection::TooLarge))
}

/// The numbers that a pattern names.
#[derive(Default)]
struct Found {
    prompt: Option<u32>,
    limit: Option<u32>,
}

/// Looks for the pattern anywhere in the text.
fn find(pattern: &str, text: &str) -> Option<Found> {
    text.match_indices(literal(pattern)).find_map(|(at, _)| read(pattern, &text[at..]))
}

/// Reads the pattern at the beginning of the text.
fn read(mut pattern: &str, mut text: &str) -> Option<Found> {
    let mut found = Found::default();
    while !pattern.is_empty() {
        if let Some(rest) = pattern.strip_prefix('{') {
            let (name, rest) = rest.split_once('}')?;
            let (value, after) = number(text)?;
            match name {
                "prompt" => found.prompt = Some(found.prompt.unwrap_or(0).saturating_add(value)),
                "window" | "most" => found.limit = Some(value),
                _ => {}
            }
            (pattern, text) = (rest, after);
        } else if let Some(rest) = pattern.strip_prefix('*') {
            text = &text[text.find(literal(rest))?..];
            pattern = rest;
        } else {
            let literal = literal(pattern);
            text = text.strip_prefix(literal)?;
            pattern = &pattern[literal.len()..];
        }
    }
    Some(found)
}

/// The pattern up to its first place for a number or for any text.
fn literal(pattern: &str) -> &str {
    &pattern[..pattern.find(['{', '*']).unwrap_or(pattern.len())]
}

/// Reads a number like `131072` or `131,072`. Returns what follows it too.
fn number(text: &str) -> Option<(u32, &str)> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is_part =
        |at: &usize| is_digit(*at) || (*at > 0 && bytes.get(*at) == Some(&b',') && is_digit(at + 1));
    let length = (0..).take_while(is_part).count();
    let digits: String = text[..length].chars().filter(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, &text[length..]))
}
