//! How large the context window is and how long a reply may be: what the user says, or else what the server says of
//! the model, or else a guess. Pure.

use crate::api::models::Description;
use crate::cli::args::Limits;

/// The window of a model of which nothing is known, in tokens: the smallest of all current models
/// (<https://docs.anthropic.com/en/docs/about-claude/models>).
const WINDOW: u64 = 200_000;

/// The longest reply of a model of which nothing is known, in tokens: room to think, and no more than any current
/// model takes (same page).
const OUTPUT: u32 = 32_000;

/// No model is known to write a longer reply, in tokens (same page).
const LONGEST: u32 = 128_000;

/// A smaller window, in tokens, is that of a small model on a server of one's own.
const SMALL_WINDOW: u64 = 64_000;
const SMALL_OUTPUT: u32 = 8_192;

/// The limits of a request, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    /// The size of the context window.
    pub window: u64,
    /// The longest reply.
    pub output: u32,
}

impl Room {
    /// The limits for a model with this description. A reply may be `raised` tokens long, if the model can write them.
    pub fn new(limits: &Limits, description: Option<&Description>, raised: u32) -> Room {
        let window = limits.context_window.or(description.and_then(|model| model.max_input_tokens));
        let window = window.unwrap_or(WINDOW);
        let guess = if window < SMALL_WINDOW { SMALL_OUTPUT } else { OUTPUT };
        let most = description.and_then(|model| model.max_tokens);
        let output = limits.max_output_tokens.or(most).unwrap_or(guess);
        Room { window, output: output.max(raised.min(most.unwrap_or(LONGEST))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_wins_over_the_server_and_the_server_over_a_guess() {
        let cases = [
            ((None, None), (None, None), (200_000, 32_000)),
            ((None, None), (Some(1_000_000), Some(128_000)), (1_000_000, 128_000)),
            ((None, None), (Some(1_000_000), None), (1_000_000, 32_000)),
            ((None, None), (None, Some(4_096)), (200_000, 4_096)),
            ((None, None), (Some(32_768), None), (32_768, 8_192)),
            ((Some(50_000), None), (None, None), (50_000, 8_192)),
            ((Some(64_000), None), (None, None), (64_000, 32_000)),
            ((Some(50_000), None), (Some(1_000_000), Some(128_000)), (50_000, 128_000)),
            ((None, Some(500)), (Some(1_000_000), Some(128_000)), (1_000_000, 500)),
            ((Some(20_000), Some(9_000)), (Some(1_000), Some(1_000)), (20_000, 9_000)),
        ];
        for ((context_window, max_output_tokens), (max_input_tokens, max_tokens), (window, output)) in cases {
            let limits = Limits { context_window, max_output_tokens, ..Limits::default() };
            let description = Description { max_input_tokens, max_tokens, ..Description::default() };
            let room = Room::new(&limits, Some(&description), 0);
            assert_eq!(room, Room { window, output }, "{limits:?} {description:?}");
        }
        let guess = Room { window: WINDOW, output: OUTPUT };
        assert_eq!(Room::new(&Limits::default(), None, 0), guess);
    }

    #[test]
    fn a_limit_is_raised_up_to_what_the_model_can_write() {
        let cases = [
            (None, None, 64_000, 64_000),
            (None, None, 256_000, LONGEST),
            (None, Some(48_000), 64_000, 48_000),
            (None, Some(128_000), 64_000, 128_000),
            (Some(500), None, 1_000, 1_000),
            (Some(500), Some(700), 1_000, 700),
            (Some(500), Some(300), 1_000, 500),
            (Some(200_000), None, 400_000, 200_000),
        ];
        for (max_output_tokens, max_tokens, raised, output) in cases {
            let limits = Limits { max_output_tokens, ..Limits::default() };
            let description = Description { max_tokens, ..Description::default() };
            let room = Room::new(&limits, Some(&description), raised);
            assert_eq!(room.output, output, "{max_output_tokens:?} {max_tokens:?} {raised}");
        }
    }
}
