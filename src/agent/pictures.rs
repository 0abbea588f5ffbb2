//! Leaves out the pictures that the server would refuse: it would refuse every later request with them too.

use super::{Agent, Event, Watch};
use crate::api::message::{Block, Encoded};
use crate::error::Rejection;
use crate::session::pictures;

const TOO_MANY: &str = "older pictures were taken out of the conversation: a request can hold only so many";

const REFUSED: &str = "the server refused a picture: all pictures were taken out of the conversation";

const NO_PICTURES: &str = "the model takes no pictures: what was attached is left out";

impl Agent {
    /// Takes out the oldest pictures if there are more than a request may hold.
    pub(super) fn limit_pictures(&mut self, watch: &mut Watch) {
        if let Some(keep) = pictures::kept(&self.transcript.messages()) {
            self.transcript.remove_pictures(keep);
            watch(Event::Notice(TOO_MANY));
        }
    }

    /// Takes pictures out of `messages` and the history: all of them if the server has refused one, the older half if
    /// the request is too large. Returns whether there were any: then another request may succeed.
    pub(super) fn drop_refused_pictures(
        &mut self,
        rejection: Option<Rejection>,
        messages: &mut [Encoded],
        watch: &mut Watch,
    ) -> bool {
        let (keep, notice) = match rejection {
            Some(Rejection::Picture) => (0, REFUSED),
            Some(Rejection::TooLarge) => (pictures::count(messages) / 2, TOO_MANY),
            _ => return false,
        };
        let changed = pictures::removed(messages, keep);
        if changed.is_empty() {
            return false;
        }
        pictures::replace(messages, &changed);
        self.transcript.remove_pictures(keep);
        watch(Event::Notice(notice));
        true
    }

    /// Takes the pictures out of a message for a model that takes none.
    pub(super) fn without_useless_pictures(&mut self, content: &mut Vec<Block>, watch: &mut Watch) {
        let is_picture = |block: &Block| block.kind() == "image";
        if content.iter().any(is_picture) && !self.takes_pictures() {
            content.retain(|block| !is_picture(block));
            watch(Event::Notice(NO_PICTURES));
        }
    }

    /// False if the server says that the model takes none.
    pub(super) fn takes_pictures(&mut self) -> bool {
        self.client.description().and_then(|model| model.supports(&["image_input"])).unwrap_or(true)
    }
}
