//! How large the context window is and how long a reply may be: what the user says, or else what the server says of
//! the model, or else a guess; and never more than it has refused. Pure.

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

/// What the answers of the server say about the model, in tokens. They know better than the user and than the
/// description.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// The window is no larger.
    pub window: Option<u64>,
    /// A longer reply is refused.
    pub output: Option<u32>,
    /// The longest reply after one was too short; 0 before. The model may be able to write less.
    pub raised: u32,
}

impl Room {
    /// The limits for a model with this description, of which this was learned.
    pub fn new(limits: &Limits, learned: &Learned, description: Option<&Description>) -> Room {
        let window = limits.context_window.or(description.and_then(|model| model.max_input_tokens));
        let window = window.unwrap_or(WINDOW).min(learned.window.unwrap_or(u64::MAX));
        let guess = if window < SMALL_WINDOW { SMALL_OUTPUT } else { OUTPUT };
        let most = description.and_then(|model| model.max_tokens);
        let output = limits.max_output_tokens.or(most).unwrap_or(guess);
        let output = output.max(learned.raised.min(most.unwrap_or(LONGEST)));
        Room { window, output: output.min(learned.output.unwrap_or(u32::MAX)) }
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
            let room = Room::new(&limits, &Learned::default(), Some(&description));
            assert_eq!(room, Room { window, output }, "{limits:?} {description:?}");
        }
        let guess = Room { window: WINDOW, output: OUTPUT };
        assert_eq!(Room::new(&Limits::default(), &Learned::default(), None), guess);
    }

    #[test]
    fn what_was_refused_wins_over_all() {
        let limits = Limits { context_window: Some(50_000), max_output_tokens: None, ..Limits::default() };
        for ((window, output), expected) in [
            ((Some(40_000), None), (40_000, 8_192)),
            ((Some(90_000), Some(9_000)), (50_000, 8_192)),
            ((None, Some(4_096)), (50_000, 4_096)),
        ] {
            let room = Room::new(&limits, &Learned { window, output, raised: 0 }, None);
            assert_eq!(room, Room { window: expected.0, output: expected.1 });
        }
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
            let learned = Learned { raised, ..Learned::default() };
            let room = Room::new(&limits, &learned, Some(&description));
            assert_eq!(room.output, output, "{max_output_tokens:?} {max_tokens:?} {raised}");
        }
    }
}
