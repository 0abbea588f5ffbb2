//! One request: tried again where that may help, interrupted at once, its reply whole or nothing.

use std::time::Instant;

use super::{Agent, Event};
use crate::{
    api::{
        message::{Block, Encoded, Message},
        receive::Progress,
        reply::Reply,
        retry,
    },
    background::Arrival,
    error::{Error, Result},
    stop::Stop,
};

impl Agent {
    /// Sends a history and returns the reply. What was shown of one that broke is marked as discarded.
    pub(super) fn request(&mut self, messages: &[Encoded], watch: &mut dyn FnMut(Event)) -> Result<Reply> {
        let mut failures = 0;
        loop {
            let mut is_shown = false;
            let reply = self.attempt(messages, &mut |event| {
                is_shown = true;
                watch(event);
            });
            let err = match reply {
                Ok(reply) => {
                    self.transcript.add_usage(&reply.usage);
                    self.run.turns += 1;
                    self.run.usage.add(&reply.usage);
                    return Ok(reply);
                }
                Err(err) => err,
            };
            if let Error::Stopped(_) = err {
                return Err(err);
            }
            self.partial.clear();
            if is_shown {
                watch(Event::Discarded);
            }
            let Some(asked) = err.retry().filter(|_| failures < self.settings.max_retries) else {
                return Err(err);
            };
            failures += 1;
            let wait = retry::wait(failures, asked);
            let of = self.settings.max_retries;
            watch(Event::Retry { err: &err, wait, failures, of });
            self.context.tasks.pause(Instant::now() + wait).map_err(Error::Stopped)?;
        }
    }

    fn attempt(&mut self, messages: &[Encoded], watch: &mut dyn FnMut(Event)) -> Result<Reply> {
        // It is freed when the reply is whole, which has the text too.
        let mut partial = String::new();
        let progress = self.client.send(messages.to_vec())?;
        loop {
            match self.context.tasks.wait(&progress, None) {
                Arrival::Message(Progress::Text(text)) => {
                    partial += &text;
                    watch(Event::Text(&text));
                }
                Arrival::Message(Progress::Ended(reply)) => return reply,
                Arrival::Closed => return Err(Error::Protocol("its thread failed".into())),
                Arrival::Stopped(stop) => {
                    self.client.abort();
                    for progress in progress.try_iter() {
                        if let Progress::Text(text) = progress {
                            partial += &text;
                        }
                    }
                    self.partial = partial;
                    return Err(Error::Stopped(stop));
                }
                Arrival::Task | Arrival::TimedOut => {}
            }
        }
    }

    /// Keeps the text of a reply that was interrupted in the history, and tells the model why it ends. An
    /// incomplete tool call is dropped.
    pub(super) fn keep_partial(&mut self, stop: Stop) {
        let partial = std::mem::take(&mut self.partial);
        if !partial.trim().is_empty() {
            let said = Message::assistant(vec![Block::text(partial.trim_end())]);
            self.transcript.push_reply(said.encode());
            self.transcript.push_user(vec![Block::text(&stop.reply_note())], None);
        }
    }
}
