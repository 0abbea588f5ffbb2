//! What follows when the server says that a request does not fit: a shorter reply, a shorter history, or the newest
//! message leaves it. No request is sent twice, and there is an end to it.

use super::{Agent, Event, Watch};
use crate::api::message::{Block, Encoded, Message, Role};
use crate::api::reply::Reply;
use crate::error::{Error, Rejection, Result};
use crate::session::compaction::{self, HARD_RESULT, SHORT_RESULT, kept};
use crate::session::records::Mark;

/// The shortest reply for which there must be room, in tokens: a few calls, or a short answer.
const LEAST: u64 = 1024;

/// Where a rejection has no numbers, what was refused is an upper bound for the window, but no model in use has a smaller
/// one than this, in tokens.
const SMALLEST_WINDOW: u64 = 4096;

/// An estimate may be too low by this part: a twentieth.
const MARGIN: u64 = 20;

const TAKEN_BACK: &str = "the message was taken out of the conversation";

/// The newest message, while no reply has come since.
pub(super) struct Unanswered<'a> {
    /// The point before it.
    pub start: &'a mut Mark,
    /// The index of the block where the user's own words begin.
    pub prompt: usize,
}

/// A way to make the history smaller.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// Shorten the older results, or summarize what is older if that is not enough.
    Older,
    /// Summarize what is older.
    Summary,
    /// Shorten all results to so many characters.
    Results(usize),
    /// Summarize everything.
    All,
}

/// In the order in which they are tried, each once.
const STEPS: [Step; 5] =
    [Step::Older, Step::Summary, Step::Results(SHORT_RESULT), Step::Results(HARD_RESULT), Step::All];

impl Agent {
    /// Makes one request of a turn. If the history is too large for it, makes it smaller first. A message that is
    /// `unanswered` is not summarized; the point before it may move.
    pub(super) fn request_in_turn(
        &mut self,
        mut unanswered: Option<Unanswered>,
        watch: &mut Watch,
    ) -> Result<Reply> {
        self.check_limits()?;
        self.make_room(watch)?;
        let mut steps = STEPS.iter();
        loop {
            // A summary is a reply too.
            self.check_limits()?;
            let err = match self.request_a_word(&self.transcript.messages(), watch) {
                Err(err) if is_too_large(&err) => err,
                Err(err) if self.asks_otherwise(&err, watch) => continue,
                done => return done,
            };
            let history = self.transcript.messages();
            while self.transcript.messages() == history {
                let Some(step) = steps.next() else { return Err(err) };
                self.shrink(*step, unanswered.as_mut(), watch)?;
            }
        }
    }

    /// Returns the longest reply for which a request of so many tokens leaves room, in tokens.
    pub(super) fn longest_reply(&mut self, tokens: u64) -> u32 {
        let room = self.room();
        let left = room.window.saturating_sub(tokens.saturating_add(tokens / MARGIN)).max(LEAST);
        room.output.min(left.try_into().unwrap_or(u32::MAX))
    }

    /// Takes note of what a rejection says of the model and of `messages`. Returns how long their reply may be instead
    /// of `max_tokens`, if a shorter one is all that it takes.
    pub(super) fn shorter_reply(
        &mut self,
        rejection: Rejection,
        messages: &[Encoded],
        max_tokens: u32,
    ) -> Option<u32> {
        let shorter = match rejection {
            Rejection::MaxTokens { most } => {
                self.learned.output = Some(most);
                most
            }
            Rejection::Window { prompt, window } => {
                let estimate = self.transcript.tokens_of(messages);
                let left = SMALLEST_WINDOW.saturating_sub(estimate.saturating_add(estimate / MARGIN));
                if (prompt, window) == (None, None) && left >= LEAST {
                    // So small a request fits into any window: the reply is too long.
                    let most = self.learned.output.unwrap_or(u32::MAX).min(left as u32);
                    self.learned.output = Some(most);
                    return (most < max_tokens).then_some(most);
                }
                let known = self.learned.window.unwrap_or(u64::MAX);
                let window_or_estimate = window.map_or(estimate.max(SMALLEST_WINDOW), u64::from);
                self.learned.window = Some(window_or_estimate.min(known));
                let Some(tokens) = prompt.map(u64::from) else {
                    // Without a number, nothing says that the reply is the part that is too long. Where the estimate
                    // was used already, only the shortest reply is left to be tried.
                    window?;
                    let longest = self.longest_reply(estimate);
                    return [longest, LEAST as u32].into_iter().find(|shorter| *shorter < max_tokens);
                };
                self.transcript.counted(messages, tokens);
                let left = self.room().window.saturating_sub(tokens);
                left.try_into().ok().filter(|_| left >= LEAST)?
            }
            _ => return None,
        };
        (1..max_tokens).contains(&shorter).then_some(shorter)
    }

    /// Makes the history smaller in this way, if that helps. Fails if that is stopped.
    pub(super) fn shrink(
        &mut self,
        step: Step,
        unanswered: Option<&mut Unanswered>,
        watch: &mut Watch,
    ) -> Result<()> {
        let messages = self.transcript.messages();
        let newest = &messages[messages.len().saturating_sub(1)..];
        // If the newest message alone does not fit, smaller ones before it do not help.
        let fits = self.fits(newest);
        let keep = kept(&messages, true).filter(|_| fits);
        match (step, keep, unanswered) {
            (Step::Older, Some(keep), _) => self.make_smaller(keep, watch),
            (Step::Summary, Some(keep), _) => self.try_to_summarize(keep, watch),
            // A message without results is not helped by shorter ones.
            (Step::Results(limit), ..) if fits || newest.iter().any(has_results) => {
                if self.transcript.shorten(0, limit) {
                    watch(Event::Notice("tool results were shortened to make room"));
                }
                Ok(())
            }
            (Step::All, _, Some(unanswered)) => self.summarize_before(unanswered, watch),
            (Step::All, _, None) => self.try_to_summarize(0, watch),
            _ => Ok(()),
        }
    }

    /// Summarizes all that came before the newest message, if this fits alone. Fails if that is stopped. Until there is
    /// a summary, the history stays as it is: the program may be killed.
    fn summarize_before(&mut self, newest: &mut Unanswered, watch: &mut Watch) -> Result<()> {
        let mut older = self.transcript.messages();
        let mut content = older.pop().map(|last| last.decode().content).unwrap_or_default();
        // What it was added to is older.
        let before = newest.start.last.as_ref().filter(|last| last.role() == Role::User);
        let before = before.map(|last| last.decode().content).unwrap_or_default();
        if !before.is_empty() && content.starts_with(&before) {
            content.drain(..before.len());
            older.push(Message::user(before).encode());
        }
        if older.is_empty() || content.is_empty() {
            return Ok(());
        }
        let alone = Message::user(content.clone()).encode();
        if has_results(&alone) || !self.fits(&[alone]) {
            return Ok(());
        }
        let Some(summary) = self.try_summary_of(&older, watch)? else { return Ok(()) };
        // The results in it are delivered after the new start: if the model refuses it, they wait for the next message.
        let delivered = self.transcript.delivered_since(newest.start);
        self.transcript.roll_back(newest.start.clone());
        self.transcript.compact(&summary, 0);
        *newest.start = self.transcript.mark();
        self.transcript.push_user(content, Some(newest.prompt));
        delivered.iter().for_each(|id| self.transcript.task_delivered(id));
        self.tell_changes();
        Ok(())
    }

    /// Whether a request with only these messages fits into the window, as far as is known.
    fn fits(&mut self, messages: &[Encoded]) -> bool {
        self.transcript.tokens_of(messages).saturating_add(LEAST) <= self.room().window
    }

    /// Takes a message that does not fit out of the history, so that the next one can be sent; what else was sent
    /// with it stays. Returns the error that says so.
    pub(super) fn take_back(
        &mut self,
        err: Error,
        start: Mark,
        rest: Vec<Block>,
        watch: &mut Watch,
    ) -> Error {
        let mut needed = format!("about {} tokens", self.transcript.tokens());
        let mut most = "fewer fit".to_owned();
        if let Some(Rejection::Window { prompt, window }) = err.rejection() {
            needed = prompt.map_or(needed, |prompt| format!("{prompt} tokens"));
            most = window.map_or(most, |window| format!("{window} fit, with the reply"));
        }
        let mut text = format!("the message is too long: with it, the request has {needed}, and {most}");
        let alone = self.transcript.tokens_of(&[]);
        if alone >= self.room().window {
            text = format!("{text}; what is sent before every message takes {alone} of them");
        }
        let fits = self.fits(&[Message::user(rest.clone()).encode()]);
        let rest = if fits { rest } else { compaction::shortened_texts(rest) };
        self.leave_out(start, rest);
        watch(Event::TakenBack(TAKEN_BACK));
        Error::TooLong(format!("{text}; {}", err.without_advice()))
    }
}

/// Whether the server says that the history, or a message in it, is too large.
pub(super) fn is_too_large(err: &Error) -> bool {
    matches!(err.rejection(), Some(Rejection::Window { .. } | Rejection::TooLarge))
}

fn has_results(message: &Encoded) -> bool {
    message.decode().content.iter().any(|block| block.kind() == "tool_result")
}
