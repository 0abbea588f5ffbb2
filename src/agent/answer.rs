//! The answer of a turn: what the model has said so far, and what follows when it says nothing.
//!
//! An empty reply is legal: after the results of its tools a model may end its turn without a word
//! (<https://docs.anthropic.com/en/api/handling-stop-reasons>, "empty responses with end_turn"). Nobody who waits for
//! an answer is helped by that, and gateways send one when they have lost the reply. So it is asked for once more.

use super::{Event, Watch};
use crate::api::message::{Block, Encoded};
use crate::api::reply::{Reply, StopReason};
use crate::error::{Error, Result};

/// The same request again would give the same reply after results, as the API's documentation says.
const NUDGE: &str = "(Your reply was empty. If everything is done, say so in a sentence; otherwise go on.)";

const EMPTY: &str = "the reply is empty; asking once more";

const EMPTY_AGAIN: &str = "the model ended its turn without a word; its last words are the answer";

const NO_CALL: &str = "the reply says that it ends with a call, but it holds none";

/// What the model has said in a turn.
pub(super) struct Answer {
    /// Since the last call: text before a call is not the answer.
    said: String,
    /// The last message with calls that has a text. It shares the history's, since it may be large.
    before: Option<Encoded>,
    /// Somebody waits for an answer. After results of background tasks alone, silence is one.
    is_awaited: bool,
    has_called: bool,
    /// How often an empty reply may still be asked for again, of how often after each call.
    chances: u32,
    most_chances: u32,
}

impl Answer {
    /// `is_awaited` says that the turn begins with a message of the user. No failed request is made again if
    /// `max_retries` is 0.
    pub fn new(is_awaited: bool, max_retries: u32) -> Answer {
        let chances = max_retries.min(1);
        let said = String::new();
        Answer { said, before: None, is_awaited, has_called: false, chances, most_chances: chances }
    }

    /// Adds what a reply says.
    pub fn add(&mut self, reply: &Reply, watch: &mut Watch) {
        if !reply.calls.is_empty() {
            if !reply.said.trim().is_empty() {
                self.before = reply.message.clone();
            }
            self.said.clear();
            self.has_called = true;
            self.chances = self.most_chances;
            return;
        }
        self.said += &reply.said;
        if reply.stop == StopReason::ToolUse && reply.message.is_some() {
            watch(Event::Notice(NO_CALL));
        }
    }

    /// What has been said since the last call.
    pub fn said(&self) -> &str {
        self.said.trim()
    }

    /// Asks once more for a reply without a word, with these words if the same request would not do; `is_empty` says
    /// that the reply holds nothing at all. None if that would be of no use.
    pub fn ask_again(&mut self, is_empty: bool, watch: &mut Watch) -> Option<Option<Block>> {
        if !self.is_awaited || !self.said().is_empty() || self.chances == 0 {
            return None;
        }
        self.chances -= 1;
        watch(Event::Notice(EMPTY));
        Some((self.has_called || !is_empty).then(|| Block::text(NUDGE)))
    }

    /// Returns the answer. If the model has said nothing since its last call, its words before it are the answer.
    /// Fails if somebody waits for one and there are none at all.
    pub fn finish(&self, watch: &mut Watch) -> Result<String> {
        if !self.said().is_empty() || !self.is_awaited {
            return Ok(self.said().to_owned());
        }
        let Some(before) = &self.before else {
            return Err(Error::Protocol("it is empty".into()));
        };
        watch(Event::Notice(EMPTY_AGAIN));
        let texts: Vec<String> = before.decode().content.into_iter().filter_map(Block::into_text).collect();
        Ok(texts.join("\n\n").trim().to_owned())
    }
}
