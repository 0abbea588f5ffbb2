//! One request: tried again where that may help, stopped at once, its reply complete or nothing.

use std::time::Instant;

use super::{Agent, Event, Watch};
use crate::{
    api::{fold::Shown, message::Encoded, receive::Progress, reply::Reply, retry},
    background::Arrival,
    error::{Error, Rejection, Result},
    session::compaction,
};

const THINKING_REFUSED: &str =
    "the server refused earlier thinking of the model: it was taken out of the conversation";

impl Agent {
    /// Sends a history and returns the reply. Tries again after errors that may pass, once after an impossible reply,
    /// and says that the text shown so far is discarded.
    pub(super) fn request(&mut self, messages: &[Encoded], watch: &mut Watch) -> Result<Reply> {
        let mut messages = messages.to_vec();
        let (mut failures, mut was_impossible) = (0, false);
        let mut max_tokens = self.longest_reply(self.transcript.tokens_of(&messages));
        loop {
            let mut is_shown = false;
            let reply = self.attempt(messages.clone(), max_tokens, &mut |event| {
                is_shown |= matches!(event, Event::Text(_));
                watch(event);
            });
            let err = match reply {
                Ok(reply) => {
                    self.transcript.add_usage(&reply.usage);
                    self.run.turns += 1;
                    self.run.usage.add(&reply.usage);
                    self.note_accepted();
                    return Ok(reply);
                }
                Err(err @ Error::Stopped(_)) => return Err(err),
                Err(err) => err,
            };
            if is_shown {
                watch(Event::Discarded);
            }
            let rejection = err.rejection();
            // The same request would be refused forever.
            if rejection == Some(Rejection::Thinking) && compaction::remove_thinking(&mut messages) {
                self.transcript.remove_thinking();
                watch(Event::Notice(THINKING_REFUSED));
                continue;
            }
            if let Some(shorter) =
                rejection.and_then(|rejection| self.shorter_reply(rejection, &messages, max_tokens))
            {
                max_tokens = shorter;
                continue;
            }
            if let Error::Api { status: 400 | 422, .. } = err
                && self.ask_for_less(rejection, max_tokens, watch)
            {
                continue;
            }
            if self.drop_refused_pictures(rejection, &mut messages, watch) {
                continue;
            }
            let is_first = matches!(err, Error::Protocol(_)) && !std::mem::replace(&mut was_impossible, true);
            let asked = if is_first { Some(None) } else { err.retry() };
            let Some(asked) = asked.filter(|_| failures < self.limits.max_retries) else {
                return Err(err);
            };
            failures += 1;
            let wait = retry::wait(failures, asked);
            let of = self.limits.max_retries;
            watch(Event::Retry { err: &err, wait, failures, of });
            self.context.tasks.pause(Instant::now() + wait).map_err(Error::Stopped)?;
        }
    }

    fn attempt(&mut self, messages: Vec<Encoded>, max_tokens: u32, watch: &mut Watch) -> Result<Reply> {
        self.ask_for_thinking(max_tokens, watch);
        let progress = self.client.send(self.transcript.prefix(), messages, max_tokens)?;
        loop {
            match self.context.tasks.wait(&progress, None) {
                Arrival::Message(Progress::More(shown)) => self.show(shown, watch),
                Arrival::Message(Progress::Ended(reply)) => return reply,
                Arrival::Closed => return Err(Error::Protocol("its thread failed".into())),
                Arrival::Stopped(stop) => {
                    self.client.abort();
                    for progress in progress.try_iter() {
                        if let Progress::More(shown) = progress {
                            self.show(shown, watch);
                        }
                    }
                    return Err(Error::Stopped(stop));
                }
                Arrival::Task | Arrival::TimedOut => {}
            }
        }
    }

    fn show(&mut self, shown: Shown, watch: &mut Watch) {
        if let Some(thought) = shown.thinking {
            self.see_thinking();
            watch(Event::Thinking(&thought));
        }
        shown.web.iter().for_each(|line| watch(Event::Web(line)));
        if !shown.text.is_empty() {
            watch(Event::Text(&shown.text));
        }
    }
}
