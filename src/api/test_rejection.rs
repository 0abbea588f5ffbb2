//! What servers say when they reject a request, and what cures it.

use serde_json::{Value, json};

use super::rejection::of;
use crate::error::Rejection;

fn window(prompt: u32, window: u32) -> Option<Rejection> {
    let some = |number: u32| (number > 0).then_some(number);
    Some(Rejection::Window { prompt: some(prompt), window: some(window) })
}

fn most(most: u32) -> Option<Rejection> {
    Some(Rejection::MaxTokens { most })
}

#[track_caller]
fn check(status: u16, body: Value, expected: Option<Rejection>) {
    assert_eq!(of(status, &body), expected, "{status} {body}");
}

/// As the API words an error.
#[track_caller]
fn says(status: u16, message: &str, expected: Option<Rejection>) {
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

/// What servers say of a full window, with the tokens of the request and of the window; 0: it is not said.
const FULL_WINDOWS: &[(&str, (u32, u32))] = &[
    ("prompt is too long: 208310 tokens > 200000 maximum", (208_310, 200_000)),
    (
        "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length or `max_tokens` and try again",
        (178_959, 200_000),
    ),
    (
        "This endpoint's maximum context length is 65536 tokens. However, you requested about 65810 tokens (1430 of text input, 380 of tool input, 64000 in the output). Please reduce the length of either one.",
        (1810, 65_536),
    ),
    (
        "This endpoint's maximum context length is 32768 tokens. However, you requested about 37623 tokens (21239 of text input, 16384 in the output).",
        (21_239, 32_768),
    ),
    (
        "This model's maximum context length is 1048576 tokens. However, you requested 1048809 tokens (917737 in the messages, 131072 in the completion)",
        (917_737, 1_048_576),
    ),
    (
        "This model's maximum context length is 8192 tokens, however you requested 8977 tokens (8977 in your prompt; 0 for the completion).",
        (8977, 8192),
    ),
    (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 8227 tokens.",
        (8227, 8192),
    ),
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 16384 tokens and your request has 5213 input tokens (32000 > 16384 - 5213).",
        (5213, 16_384),
    ),
    (
        "This model's maximum context length is 131072 tokens. However, you requested 128000 output tokens and your prompt contains at least 3073 input tokens, for a total of at least 131073 tokens.",
        (0, 131_072),
    ),
    (
        "This model's maximum context length is 16384 tokens. However, you requested 17000 tokens.",
        (0, 16_384),
    ),
    (
        "Requested token count exceeds the model's maximum context length of 64000 tokens. You requested a total of 71897 tokens: 7897 tokens from the input messages and 64000 tokens for the completion.",
        (7897, 64_000),
    ),
    ("Input length (265330) exceeds model's maximum context length (262144).", (265_330, 262_144)),
    ("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).", (160_062, 59_862)),
    (
        "The input (131123 tokens) is longer than the model's context length (131072 tokens).",
        (131_123, 131_072),
    ),
    (
        "request (12345 tokens) exceeds the available context size (8192 tokens), try increasing it",
        (12_345, 8192),
    ),
    ("the request exceeds the available context size, try increasing it", (0, 0)),
    ("Requested tokens (4348) exceed context window of 4096", (4348, 4096)),
    (
        "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 14026 >= n_ctx: 4096).",
        (14_026, 4096),
    ),
    (
        "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with context length of only 32768 tokens, which is not enough.",
        (111_490, 32_768),
    ),
    ("Context size has been exceeded.", (0, 0)),
    ("prompt too long; exceeded max context length by 1200 tokens", (0, 0)),
    (
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 477469 tokens.",
        (477_469, 272_000),
    ),
    (
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        (1_196_265, 1_048_575),
    ),
    (
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        (537_812, 131_072),
    ),
    ("prompt token count of 202345 exceeds the limit of 128000", (202_345, 128_000)),
    (
        "Prompt contains 140,000 tokens, too large for model with 131,072 maximum context length",
        (140_000, 131_072),
    ),
    ("Input length 131393 exceeds the maximum allowed input length of 131040 tokens.", (131_393, 131_040)),
    ("Please reduce the length of the messages or completion.", (0, 0)),
    ("Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)", (0, 262_144)),
    ("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]", (0, 204_800)),
    ("Prompt exceeds max length", (0, 0)),
    ("invalid params, context window exceeds limit (2013)", (0, 0)),
    ("Input is too long for requested model.", (0, 0)),
    ("litellm.ContextWindowExceededError: AnthropicException", (0, 0)),
    ("Your input exceeds the context window of this model.", (0, 0)),
    ("Your input exceeds the model's context window.", (0, 0)),
];

#[test]
fn a_full_window_is_known_by_its_words() {
    for (message, (prompt, most)) in FULL_WINDOWS {
        for status in [200, 400, 500] {
            says(status, message, window(*prompt, *most));
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
            says(status, message, Some(Rejection::Thinking));
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
    check(413, Value::String("<html>413 Request Entity Too Large</html>".into()), Some(Rejection::TooLarge));
    let error = json!({"type": "request_too_large", "message": "Request exceeds the maximum size"});
    check(413, json!({"type": "error", "error": error}), Some(Rejection::TooLarge));
    check(200, json!({"type": "error", "error": error}), Some(Rejection::TooLarge));
    says(413, "Prompt is too long", window(0, 0));
    says(
        413,
        "Request too large for model on tokens per minute (TPM): Limit 6000, Requested 9863",
        Some(Rejection::TooLarge),
    );
}

#[test]
fn structured_answers_are_known_by_the_names_of_their_field() {
    for (message, expected) in [
        ("output_config: Extra inputs are not permitted", Some(Rejection::Format)),
        ("output_config.format: Extra inputs are not permitted", Some(Rejection::Format)),
        (
            "output_config.format.schema: For 'integer' type, property 'minimum' is not supported",
            Some(Rejection::Schema),
        ),
        ("output_format: structured outputs are not supported on this model", Some(Rejection::Format)),
        (
            "Schema is too complex: The compiled grammar is too large, which would cause performance issues.",
            Some(Rejection::Format),
        ),
        ("Invalid schema for response_format 'answer': 'required' is missing", Some(Rejection::Schema)),
        ("The provided JSON schema contains features not supported by xgrammar.", Some(Rejection::Schema)),
        ("JSON schema conversion failed:\nUnrecognized schema: {\"not\":{}}", Some(Rejection::Schema)),
        (
            "In context=(), 'additionalProperties' is required to be supplied and to be false.",
            Some(Rejection::Schema),
        ),
        ("Failed to initialize samplers: failed to parse grammar", Some(Rejection::Format)),
        (
            "The specified schema produces a constraint that has too many states for serving.",
            Some(Rejection::Format),
        ),
        ("output_config.effort: Extra inputs are not permitted", None),
        ("tools.0.custom.input_schema: additionalProperties must be a boolean", Some(Rejection::Tools)),
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
        says(400, message, Some(Rejection::Picture));
        says(500, message, Some(Rejection::Picture));
    }
    says(404, "No endpoints found that support image input", Some(Rejection::Picture));
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
        says(400, message, Some(Rejection::Tools));
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
