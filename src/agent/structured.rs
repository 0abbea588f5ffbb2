//! Structured answers on a server that does not have them, or not for every schema.

use super::{Agent, Event, Watch};
use crate::api::message::Block;
use crate::api::schema;
use crate::error::{Error, Rejection};

impl Agent {
    /// If `err` is about the format that answers must have, asks for it in another way from now on: with a schema that
    /// says less, or in words. Returns whether that was so: the request can be made again.
    pub(super) fn asks_otherwise(&mut self, err: &Error, watch: &mut Watch) -> bool {
        let Some(rejection @ (Rejection::Format | Rejection::Schema)) = err.rejection() else { return false };
        let Some(format) = self.client.set_format(None) else { return false };
        let plain = schema::plain(&format["schema"]);
        if rejection == Rejection::Schema && plain != format["schema"] {
            self.client.set_format(Some(schema::format(&plain)));
            return true;
        }
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
