//! A reply that reached its length limit before its first word (the model has only thought), or in the middle of JSON
//! that the server writes after a schema. It can't be continued, so the same request is made with twice the limit.

use super::{Agent, Event, Watch};
use crate::api::message::Encoded;
use crate::api::reply::{Reply, StopReason};
use crate::error::Result;

/// How often the limit is doubled for one reply: each time the model thinks anew, and that costs.
const MOST_DOUBLINGS: u32 = 3;

const TOO_SHORT: &str =
    "the reply reached its length limit before its first word; asking again with twice the limit";

const JSON_TOO_SHORT: &str = "the answer reached its length limit; asking again with twice the limit";

impl Agent {
    /// Sends a history and returns the reply, like `request`, but with a longer limit where that is needed.
    pub(super) fn request_a_word(&mut self, messages: &[Encoded], watch: &mut Watch) -> Result<Reply> {
        let mut doublings = 0;
        loop {
            let reply = self.request(messages, watch)?;
            let is_json = self.client.has_format() && reply.calls.is_empty();
            let says_nothing = reply.message.is_none();
            let is_too_short = reply.stop == StopReason::MaxTokens && (says_nothing || is_json);
            if !is_too_short || doublings == MOST_DOUBLINGS || !self.double_limit() {
                return Ok(reply);
            }
            doublings += 1;
            if !says_nothing {
                watch(Event::Discarded);
            }
            watch(Event::Notice(if says_nothing { TOO_SHORT } else { JSON_TOO_SHORT }));
            self.check_limits()?;
        }
    }

    /// Doubles the limit of replies, for the rest of the run and up to what the model can write. Returns whether the
    /// next reply may be longer now.
    fn double_limit(&mut self) -> bool {
        let tokens = self.transcript.tokens();
        let before = self.longest_reply(tokens);
        self.learned.raised = self.room().output.saturating_mul(2);
        self.longest_reply(tokens) > before
    }
}
