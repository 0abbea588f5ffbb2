//! The one table of refusals that a smaller or other request cures: a full context, a limit on replies that is too
//! high, thinking that is bound to another conversation. Pure.
//!
//! Most servers say these in words only. This is the one place where words decide, and they decide only how to
//! recover. The words are facts from documentation, sources of servers and public bug reports.

use serde_json::Value;

use crate::error::Refusal;
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

/// Returns which refusal of the table the error is; `body` is what the server sent, an object or a text.
pub fn of(status: u16, body: &Value) -> Option<Refusal> {
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
        return is_about(&PICTURE).then_some(Refusal::Picture);
    }
    if is_about(&THINKING) {
        return Some(Refusal::Thinking);
    }
    if find(LONG_CONTEXT, &words).is_some() {
        return Some(Refusal::Window { prompt: None, window: None });
    }
    // 429 and 529: the same request may succeed later. With 413, it is larger than the rate itself.
    let is_rate = status != 413 && RATES.iter().any(|rate| words.contains(rate));
    if matches!(status, 429 | 529) || is_rate {
        return None;
    }
    if let Some(most) = MAX_TOKENS.iter().find_map(|pattern| find(pattern, &words)?.limit) {
        return Some(Refusal::MaxTokens { most });
    }
    if let Some(Found { prompt, limit: window }) = WINDOW.iter().find_map(|pattern| find(pattern, &words)) {
        let field = |name: &str| error[name].as_u64().and_then(|number| number.try_into().ok());
        let (prompt, window) = (field("n_prompt_tokens").or(prompt), field("n_ctx").or(window));
        return Some(Refusal::Window { prompt, window });
    }
    // Tools have schemas too, and `output_config` has another field.
    let others = if is_about(&["input_schema", "output_config.effort"]) { 2 } else { 0 };
    let table = [
        (&SCHEMA[..], Refusal::Schema),
        (&FORMAT, Refusal::Format),
        (&PICTURE, Refusal::Picture),
        (&TOOLS, Refusal::Tools),
        (&["request_too_large"], Refusal::TooLarge),
    ];
    let found = table.into_iter().skip(others).find(|(patterns, _)| is_about(patterns));
    found.map(|(_, refusal)| refusal).or((status == 413).then_some(Refusal::TooLarge))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn window(prompt: u32, window: u32) -> Option<Refusal> {
        let some = |number: u32| (number > 0).then_some(number);
        Some(Refusal::Window { prompt: some(prompt), window: some(window) })
    }

    fn most(most: u32) -> Option<Refusal> {
        Some(Refusal::MaxTokens { most })
    }

    #[track_caller]
    fn check(status: u16, body: Value, expected: Option<Refusal>) {
        assert_eq!(of(status, &body), expected, "{status} {body}");
    }

    /// As the API words an error.
    #[track_caller]
    fn says(status: u16, message: &str, expected: Option<Refusal>) {
        let error = json!({"type": "invalid_request_error", "message": message});
        check(status, json!({"type": "error", "error": error}), expected);
        // Gateways put the text elsewhere, or have only a text, or the error of another server in theirs.
        check(status, json!({"error": message}), expected);
        check(status, json!({"detail": message}), expected);
        check(status, json!({"object": "error", "message": message, "code": status}), expected);
        check(status, Value::String(message.into()), expected);
        let wrapped = json!({"error": {"message": message}}).to_string().replace('>', "\\u003e");
        check(status, json!({"error": {"message": format!("upstream error: {wrapped}")}}), expected);
    }

    #[test]
    fn a_full_window_is_known_by_its_words() {
        for (message, expected) in [
            ("prompt is too long: 208310 tokens > 200000 maximum", window(208_310, 200_000)),
            (
                "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length or `max_tokens` and try again",
                window(178_959, 200_000),
            ),
            (
                "This endpoint's maximum context length is 65536 tokens. However, you requested about 65810 tokens (1430 of text input, 380 of tool input, 64000 in the output). Please reduce the length of either one.",
                window(1810, 65_536),
            ),
            (
                "This endpoint's maximum context length is 32768 tokens. However, you requested about 37623 tokens (21239 of text input, 16384 in the output).",
                window(21_239, 32_768),
            ),
            (
                "This model's maximum context length is 1048576 tokens. However, you requested 1048809 tokens (917737 in the messages, 131072 in the completion)",
                window(917_737, 1_048_576),
            ),
            (
                "This model's maximum context length is 8192 tokens, however you requested 8977 tokens (8977 in your prompt; 0 for the completion).",
                window(8977, 8192),
            ),
            (
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 8227 tokens.",
                window(8227, 8192),
            ),
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 16384 tokens and your request has 5213 input tokens (32000 > 16384 - 5213).",
                window(5213, 16_384),
            ),
            (
                "This model's maximum context length is 131072 tokens. However, you requested 128000 output tokens and your prompt contains at least 3073 input tokens, for a total of at least 131073 tokens.",
                window(0, 131_072),
            ),
            (
                "This model's maximum context length is 16384 tokens. However, you requested 17000 tokens.",
                window(0, 16_384),
            ),
            (
                "Requested token count exceeds the model's maximum context length of 64000 tokens. You requested a total of 71897 tokens: 7897 tokens from the input messages and 64000 tokens for the completion.",
                window(7897, 64_000),
            ),
            (
                "Input length (265330) exceeds model's maximum context length (262144).",
                window(265_330, 262_144),
            ),
            (
                "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).",
                window(160_062, 59_862),
            ),
            (
                "The input (131123 tokens) is longer than the model's context length (131072 tokens).",
                window(131_123, 131_072),
            ),
            (
                "request (12345 tokens) exceeds the available context size (8192 tokens), try increasing it",
                window(12_345, 8192),
            ),
            ("the request exceeds the available context size, try increasing it", window(0, 0)),
            ("Requested tokens (4348) exceed context window of 4096", window(4348, 4096)),
            (
                "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 14026 >= n_ctx: 4096).",
                window(14_026, 4096),
            ),
            (
                "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with context length of only 32768 tokens, which is not enough.",
                window(111_490, 32_768),
            ),
            ("Context size has been exceeded.", window(0, 0)),
            ("prompt too long; exceeded max context length by 1200 tokens", window(0, 0)),
            (
                "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 477469 tokens.",
                window(477_469, 272_000),
            ),
            (
                "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
                window(1_196_265, 1_048_575),
            ),
            (
                "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
                window(537_812, 131_072),
            ),
            ("prompt token count of 202345 exceeds the limit of 128000", window(202_345, 128_000)),
            (
                "Prompt contains 140,000 tokens, too large for model with 131,072 maximum context length",
                window(140_000, 131_072),
            ),
            (
                "Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",
                window(131_393, 131_040),
            ),
            ("Please reduce the length of the messages or completion.", window(0, 0)),
            (
                "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)",
                window(0, 262_144),
            ),
            (
                "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]",
                window(0, 204_800),
            ),
            ("Prompt exceeds max length", window(0, 0)),
            ("invalid params, context window exceeds limit (2013)", window(0, 0)),
            ("Input is too long for requested model.", window(0, 0)),
            ("litellm.ContextWindowExceededError: AnthropicException", window(0, 0)),
            ("Your input exceeds the context window of this model.", window(0, 0)),
            ("Your input exceeds the model's context window.", window(0, 0)),
        ] {
            for status in [200, 400, 500] {
                says(status, message, expected);
            }
        }
    }

    #[test]
    fn a_full_window_is_known_by_its_type_and_fields() {
        for code in [400, 500] {
            let error = json!({"code": code, "message": "", "type": "exceed_context_size_error", "n_prompt_tokens": 1407, "n_ctx": 256});
            check(code, json!({"error": error}), window(1407, 256));
            check(200, json!({"error": error}), window(1407, 256));
        }
        let error = json!({"code": "context_length_exceeded", "message": "no"});
        check(400, json!({"error": error}), window(0, 0));
    }

    #[test]
    fn a_reply_that_may_not_be_so_long_names_the_most() {
        for (message, expected) in [
            (
                "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens for claude-3-5-haiku",
                8192,
            ),
            (
                "The maximum tokens you requested exceeds the model limit of 10000. Try again with a maximum tokens value that is lower than 10000.",
                10_000,
            ),
            (
                "max_tokens is too large: 32000. This model supports at most 16384 completion tokens, whereas you provided 32000.",
                16_384,
            ),
            ("`max_tokens` must be less than or equal to `8192`, the maximum value", 8192),
            ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
            ("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 65536]", 65_536),
            (
                "The parameter max_tokens specified in the request is not valid: integer above maximum value, expected a value <= 32768, but got 64000 instead.",
                32_768,
            ),
            (
                "This request requires more credits, or fewer max_tokens. You requested up to 32000 tokens, but can only afford 12138.",
                12_138,
            ),
        ] {
            says(400, message, most(expected));
            says(402, message, most(expected));
        }
    }

    #[test]
    fn thinking_is_known_even_in_a_rate_limit() {
        for message in [
            "messages.3.content.0: Invalid `signature` in `thinking` block",
            "messages.3.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. The system prompt has changed.",
            "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response.",
            "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
            "messages.1.content.0.thinking.signature.str: Input should be a valid string",
            "Unable to submit request because Thought signature is not valid.",
            "Corrupted thought signature.",
            "messages.1.content.0: each thinking block must contain signature",
            "Invalid thinking signature",
            "messages.1.content.0: Input tag 'thinking' found using 'type' does not match any of the expected tags: 'text', 'tool_use'",
        ] {
            for status in [200, 400, 429] {
                says(status, message, Some(Refusal::Thinking));
            }
        }
    }

    #[test]
    fn a_window_that_the_account_does_not_have_is_no_rate_limit() {
        for message in [
            "Extra usage is required for long context requests.",
            "Usage credits are required for long context requests.",
        ] {
            says(429, message, window(0, 0));
        }
    }

    #[test]
    fn what_is_too_large_in_bytes_goes_by_its_status_or_type() {
        check(
            413,
            Value::String("<html>413 Request Entity Too Large</html>".into()),
            Some(Refusal::TooLarge),
        );
        let error = json!({"type": "request_too_large", "message": "Request exceeds the maximum size"});
        check(413, json!({"type": "error", "error": error}), Some(Refusal::TooLarge));
        check(200, json!({"type": "error", "error": error}), Some(Refusal::TooLarge));
        says(413, "Prompt is too long", window(0, 0));
        says(
            413,
            "Request too large for model on tokens per minute (TPM): Limit 6000, Requested 9863",
            Some(Refusal::TooLarge),
        );
    }

    #[test]
    fn structured_answers_are_known_by_the_names_of_their_field() {
        for (message, expected) in [
            ("output_config: Extra inputs are not permitted", Some(Refusal::Format)),
            ("output_config.format: Extra inputs are not permitted", Some(Refusal::Format)),
            (
                "output_config.format.schema: For 'integer' type, property 'minimum' is not supported",
                Some(Refusal::Schema),
            ),
            ("output_format: structured outputs are not supported on this model", Some(Refusal::Format)),
            (
                "Schema is too complex: The compiled grammar is too large, which would cause performance issues.",
                Some(Refusal::Format),
            ),
            ("Invalid schema for response_format 'answer': 'required' is missing", Some(Refusal::Schema)),
            ("The provided JSON schema contains features not supported by xgrammar.", Some(Refusal::Schema)),
            ("JSON schema conversion failed:\nUnrecognized schema: {\"not\":{}}", Some(Refusal::Schema)),
            (
                "In context=(), 'additionalProperties' is required to be supplied and to be false.",
                Some(Refusal::Schema),
            ),
            ("Failed to initialize samplers: failed to parse grammar", Some(Refusal::Format)),
            (
                "The specified schema produces a constraint that has too many states for serving.",
                Some(Refusal::Format),
            ),
            ("output_config.effort: Extra inputs are not permitted", None),
            ("tools.0.custom.input_schema: additionalProperties must be a boolean", Some(Refusal::Tools)),
        ] {
            for status in [200, 400, 422, 500] {
                says(status, message, expected);
            }
            let inner = json!({"error": {"message": message}});
            check(500, json!({"error": {"type": "request_fail", "upstream_error": inner}}), expected);
        }
    }

    #[test]
    fn a_picture_that_is_refused_is_known_by_its_words() {
        for message in [
            "Could not process image",
            "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 5316852 bytes > 5242880 bytes",
            "messages.4.content.0.tool_result.content.1.image.source.base64.data: At least one of the image dimensions exceed max allowed size for many-image requests: 2000 pixels",
            "The image was specified using the image/jpeg media type, but the image appears to be a image/png image: messages.83.content.0.image.source",
            "Invalid PNG image.",
            "media exceeds size limit: max 10485760 bytes (2013)",
            "invalid image data at input[34].output[1]: the `image/png` payload could not be decoded",
            "Invalid request: unsupported image format: application/octet-stream",
            "Base64 string of provided image cannot be decoded.",
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            "gpt-oss is not a multimodal model",
            "unknown variant `image_url`, expected `text`",
            "At most 0 image(s) may be provided in one prompt.",
        ] {
            says(400, message, Some(Refusal::Picture));
            says(500, message, Some(Refusal::Picture));
        }
        says(404, "No endpoints found that support image input", Some(Refusal::Picture));
        says(404, "No endpoints found for this model", None);
        says(502, "<html><img src=\"image.png\"> provisioned throughput</html>", None);
    }

    #[test]
    fn a_tool_that_is_refused_is_known_by_its_name_or_its_place() {
        for message in [
            "tools.7: Input tag 'web_search_20260318' found using 'type' does not match any of the expected tags",
            "tools.7.input_schema: Field required",
            "('body', 'tools', 7, 'function'): Field required: 'web_search_20260318'",
            "Unsupported tool type: web_search_20260318",
            "Web search is not enabled for this organization",
        ] {
            says(400, message, Some(Refusal::Tools));
        }
    }

    #[test]
    fn nothing_else_is_in_the_table() {
        for (status, message) in [
            (400, "Your credit balance is too low to access the Anthropic API."),
            (400, "`max_tokens` must be greater than `thinking.budget_tokens`."),
            (400, "messages: text content blocks must be non-empty"),
            (400, "thinking: Extra inputs are not permitted"),
            (400, "Too many tokens per day, please wait before trying again."),
            (401, "prompt is too long: 208310 tokens > 200000 maximum"),
            (429, "Number of input tokens has exceeded your rate limit: reduce the length of the messages"),
            (429, "This request exceeds the limit of 30000 tokens per minute"),
            (500, "Internal server error"),
            (529, "Overloaded"),
        ] {
            says(status, message, None);
        }
        // A message that repeats what was sent is not read to its end.
        let echo = format!("Extra inputs are not permitted: {}prompt is too long", "x".repeat(5000));
        says(400, &echo, None);
        for body in [json!(null), json!([]), json!({}), json!({"error": null}), json!({"error": []})] {
            check(400, body, None);
        }
    }

    #[test]
    fn numbers_that_no_one_can_count_do_no_harm() {
        says(400, "prompt is too long: 99999999999999999999999 tokens > 5 maximum", window(0, 0));
        says(400, "maximum context length is tokens", None);
        says(400, "maximum context length is 131,072, not more", window(0, 131_072));
    }
}
