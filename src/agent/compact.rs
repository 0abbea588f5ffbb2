//! Keeps the history within the context window.

use super::fit::{Step, is_too_large};
use super::{Agent, Event, Watch};
use crate::api::message::{self, Block, Encoded, Message};
use crate::api::reply::{Reply, StopReason};
use crate::background::task::Status;
use crate::error::{Error, Result};
use crate::session::compaction::{self, INSTRUCTION, INTRODUCTION, SHORT_RESULT, kept};
use crate::session::{pictures, repair};

/// When the history takes more than this part of the context window, in percent, it is made smaller.
const FULL: u64 = 80;

/// If shortening old tool results brings the history down to this part, in percent, there is no summary.
const ROOMY: u64 = 60;

/// What a summary may take, in tokens, but not more than a quarter of the window.
const SUMMARY: u64 = 4096;
const SUMMARY_SHARE: u64 = 4;

/// How many smaller requests for one summary are made if the server finds the first too large.
const MOST_EXCERPTS: u32 = 4;

const TOO_LONG: &str = "the server finds even a part of the conversation too long; `/clear` starts over";

impl Agent {
    /// Makes the history smaller if it fills the window. Fails if that is stopped; other failures are notices.
    pub(super) fn make_room(&mut self, watch: &mut Watch) -> Result<()> {
        // The last step alone may have read more than there is room for.
        for (step, most) in [(Step::Older, FULL), (Step::Results(SHORT_RESULT), 100)] {
            if self.transcript.tokens() >= self.percent(most) {
                self.shrink(step, None, watch)?;
            }
        }
        Ok(())
    }

    /// Shortens the results in all but the last `keep` messages, or summarizes these messages if that is not enough.
    /// Fails like `make_room`.
    pub(super) fn make_smaller(&mut self, keep: usize, watch: &mut Watch) -> Result<()> {
        if self.transcript.shorten(keep, SHORT_RESULT) && self.transcript.tokens() <= self.percent(ROOMY) {
            watch(Event::Notice("old tool results were shortened to make room"));
            return Ok(());
        }
        self.try_to_summarize(keep, watch)
    }

    /// Summarizes all but the last `keep` messages. Fails like `make_room`.
    pub(super) fn try_to_summarize(&mut self, keep: usize, watch: &mut Watch) -> Result<()> {
        let done = self.summarize(keep, watch);
        unless_stopped(done, watch).map(drop)
    }

    /// Summarizes the conversation for the user. Fails if the model writes no summary.
    pub fn compact(&mut self, watch: &mut Watch) -> Result<()> {
        match kept(&self.transcript.messages(), false) {
            Some(keep) => self.summarize(keep, watch),
            None => {
                watch(Event::Notice("there is nothing to summarize"));
                Ok(())
            }
        }
    }

    /// Summarizes what came before the last step, if that is worth it. Fails if the model writes no summary.
    pub(super) fn summarize_older(&mut self, watch: &mut Watch) -> Result<()> {
        let keep = kept(&self.transcript.messages(), true);
        keep.map_or(Ok(()), |keep| self.summarize(keep, watch))
    }

    /// Replaces all but the last `keep` messages by a summary that the model writes. Fails if it writes none.
    fn summarize(&mut self, keep: usize, watch: &mut Watch) -> Result<()> {
        let mut older = self.transcript.messages();
        older.truncate(older.len().saturating_sub(keep));
        if older.is_empty() {
            return Ok(());
        }
        // The history stays as it is: there may be no summary. In the request for it, no paused turn goes on.
        if !repair::open_server_calls(&older).is_empty() {
            older = repair::repaired(&older);
            compaction::remove_thinking(&mut older);
        }
        // The request for the summary has to fit as well.
        let shortened = compaction::shortened(&older, SHORT_RESULT);
        pictures::replace(&mut older, &shortened);
        let summary = self.summary_of(&older, watch)?;
        self.transcript.compact(&summary, keep);
        self.tell_changes();
        Ok(())
    }

    /// Returns what takes the place of the messages, if the model writes it. Fails like `make_room`.
    pub(super) fn try_summary_of(
        &mut self,
        messages: &[Encoded],
        watch: &mut Watch,
    ) -> Result<Option<String>> {
        let written = self.summary_of(messages, watch);
        unless_stopped(written, watch)
    }

    /// Returns what takes the place of the messages: a summary that the model writes. Fails if it writes none.
    fn summary_of(&mut self, messages: &[Encoded], watch: &mut Watch) -> Result<String> {
        watch(Event::Notice("summarizing the older part of the conversation"));
        // The format is for answers.
        let format = self.client.set_format(None);
        let reply = self.request_summary(messages, watch);
        self.client.set_format(format);
        let reply = reply?;
        let text = whole_summary(&reply)?;
        let running = self.context.tasks.list().filter(|task| task.status() == Status::Running);
        let tasks: Vec<String> = running.map(|task| format!("{}: {}", task.id, task.command)).collect();
        let tasks = if tasks.is_empty() { "none".into() } else { tasks.join("\n") };
        Ok(format!("{INTRODUCTION}\n\n{text}\n\nRunning background tasks: {tasks}"))
    }

    /// Asks for a summary of the messages, or of an excerpt of them if the window has no room for all.
    fn request_summary(&mut self, messages: &[Encoded], watch: &mut Watch) -> Result<Reply> {
        let (mut refused, mut most) = (Vec::new(), u64::MAX);
        for _ in 0..=MOST_EXCERPTS {
            let window = self.room().window;
            most = most.min(window - SUMMARY.min(window / SUMMARY_SHARE));
            let tokens = self.transcript.tokens_of(messages).max(1);
            let mut asked = messages.to_vec();
            if tokens > most {
                let size = u128::from(most) * compaction::size(messages) as u128 / u128::from(tokens);
                asked = compaction::excerpt(messages, size as usize);
            }
            if asked == refused {
                break;
            }
            let reply = self.request_a_word(&with_instruction(&asked), &mut |event| {
                if let Event::Retry { .. } | Event::Notice(_) = event {
                    watch(event);
                }
            });
            match reply {
                Err(err) if is_too_large(&err) => {}
                done => return done,
            }
            most = most.min(self.transcript.tokens_of(&asked)) / 2;
            refused = asked;
        }
        Err(Error::TooLong(TOO_LONG.into()))
    }

    fn percent(&mut self, percent: u64) -> u64 {
        self.room().window.saturating_mul(percent) / 100
    }
}

/// Says why there is no summary: the request may still fit. Fails if that was stopped.
fn unless_stopped<T>(done: Result<T>, watch: &mut Watch) -> Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(err @ Error::Stopped(_)) => Err(err),
        Err(err) => {
            watch(Event::Notice(&format!("the conversation could not be summarized: {err}")));
            Ok(None)
        }
    }
}

/// Returns the text of a summary. Fails if it is empty or not whole.
fn whole_summary(reply: &Reply) -> Result<&str> {
    let text = reply.said.trim();
    match reply.stop {
        StopReason::MaxTokens | StopReason::ContextWindowExceeded => {
            let text = "the summary of the conversation was cut off".into();
            Err(Error::Limit { option: "--max-output-tokens", text })
        }
        StopReason::Refusal => Err(Error::Refusal(format!("{}: it was to summarize", reply.refusal))),
        StopReason::EndTurn | StopReason::StopSequence if !text.is_empty() => Ok(text),
        _ => Err(Error::Protocol("it holds no complete summary of the conversation".into())),
    }
}

/// The messages to summarize, and the instruction to do it.
fn with_instruction(messages: &[Encoded]) -> Vec<Encoded> {
    let mut messages = messages.to_vec();
    message::push(&mut messages, Message::user(vec![Block::text(INSTRUCTION)]).encode());
    messages
}
