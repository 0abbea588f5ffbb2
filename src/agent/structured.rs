//! Structured answers on a server that does not have them.

use super::{Agent, Event, Watch};
use crate::api::message::Block;
use crate::error::{Error, Refusal};

impl Agent {
    /// If `err` is about the format that answers must have, asks for it in words from now on. Returns whether that was
    /// so: the request can be made again.
    pub(super) fn asks_in_words(&mut self, err: &Error, watch: &mut Watch) -> bool {
        if err.refusal() != Some(Refusal::Format) {
            return false;
        }
        let Some(format) = self.client.set_format(None) else { return false };
        watch(Event::Notice(&format!("asking for JSON in words, since {err}")));
        let words = format!(
            "(Your answer at the end must be nothing but JSON that fits this schema, without a code fence.)\n{}",
            format["schema"]
        );
        let words = self.masked(Block::text(&words));
        self.transcript.push_user(vec![words], None);
        true
    }
}
