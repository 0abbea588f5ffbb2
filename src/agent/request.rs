//! One request: tried again where that may help, interrupted at once, its reply whole or nothing.

use std::time::Duration;

use crossbeam_channel::{after, select};

use super::{Agent, Event};
use crate::{
    api::{
        message::{Block, Encoded},
        receive::Progress,
        reply::Reply,
        retry,
    },
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
            self.pause(wait)?;
        }
    }

    fn attempt(&mut self, messages: &[Encoded], watch: &mut dyn FnMut(Event)) -> Result<Reply> {
        self.partial.clear();
        let progress = self.client.send(messages.to_vec())?;
        loop {
            select! {
                recv(progress) -> progress => match progress {
                    Ok(Progress::Text(text)) => {
                        self.partial += &text;
                        watch(Event::Text(&text));
                    }
                    Ok(Progress::Ended(reply)) => return reply,
                    Err(_) => return Err(Error::Protocol("its thread failed".into())),
                },
                recv(self.context.stops) -> stop => if let Ok(stop) = stop {
                    self.client.abort();
                    for progress in progress.try_iter() {
                        if let Progress::Text(text) = progress {
                            self.partial += &text;
                        }
                    }
                    return Err(Error::Stopped(stop));
                },
                recv(self.context.tasks.events()) -> event => {
                    event.into_iter().for_each(|event| self.context.tasks.attend(event));
                }
            }
        }
    }

    /// Waits before another attempt. Fails at once with a stop.
    fn pause(&mut self, wait: Duration) -> Result<()> {
        let over = after(wait);
        loop {
            select! {
                recv(over) -> _ => return Ok(()),
                recv(self.context.stops) -> stop => if let Ok(stop) = stop {
                    return Err(Error::Stopped(stop));
                },
                recv(self.context.tasks.events()) -> event => {
                    event.into_iter().for_each(|event| self.context.tasks.attend(event));
                }
            }
        }
    }

    /// Keeps the text of a reply that was interrupted in the history, and tells the model why it ends. An
    /// incomplete tool call is dropped.
    pub(super) fn keep_partial(&mut self, stop: Stop) {
        let partial = std::mem::take(&mut self.partial);
        if !partial.trim().is_empty() {
            self.transcript.push_assistant(vec![Block::text(partial.trim_end())]);
            self.transcript.push_user(vec![Block::text(&stop.reply_note())]);
        }
    }
}
