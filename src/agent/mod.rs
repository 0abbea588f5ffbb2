//! The turn: requests and tool calls until the model is done.
//!
//! All user messages of a turn go through `push_user` (`tasks`): tool results come first, then the results of
//! background tasks. Every tool call in the history is answered, whatever interrupts the turn.

mod answer;
mod compact;
mod event;
mod fit;
mod longer;
mod pictures;
mod request;
mod room;
mod structured;
mod tasks;
mod thinking;
mod user;

use answer::Answer;
pub use event::{About, Event, Refused, Run, Watch};
use fit::{Unanswered, is_too_large};
use room::{Learned, Room};
use thinking::Wish;
pub use user::Switch;

use std::time::Instant;

use crate::api::client::Client;
use crate::api::message::{Block, Message};
use crate::api::reply::{Reply, StopReason, ToolCall};
use crate::api::request::Prefix;
use crate::cli::args::{Limits, ThinkingOptions};
use crate::error::{Error, Rejection, Result};
use crate::session::records::Mark;
use crate::session::transcript::Transcript;
use crate::tools::approval::Asker;
use crate::tools::{self, Context, Outcome};

/// How often a reply that reached its length limit is continued.
const MOST_CONTINUATIONS: u32 = 3;
const CONTINUE: &str = "(Your reply was cut off by its length limit. Continue exactly where it stopped.)";

const TAKEN_BACK: &str = "there was no reply yet, so the message was taken out of the conversation";

const CUT_OFF: &str = "the answer was cut off by its length limit; --max-output-tokens raises it";

const NO_WEB: &str = " (the server may not have the tools for the web: begin a session without --web)";

/// How often a turn that the API has paused is continued. It pauses after some calls of server tools.
const MOST_PAUSES: u32 = 50;

const PAUSED: &str = "the server has paused the turn too often: the answer may not be complete";

pub struct Agent {
    client: Client,
    transcript: Transcript,
    context: Context,
    limits: Limits,
    learned: Learned,
    wish: Wish,
    about: About,
    /// What a session that begins today sends before its messages.
    prefix: Prefix,
    /// What goes before the next message: the results of the user's own commands, and what has changed.
    pending: Vec<Block>,
    run: Run,
}

impl Agent {
    /// An agent that continues `transcript`, or begins it with `prefix`.
    pub fn new(
        client: Client,
        context: Context,
        limits: Limits,
        thinking: ThinkingOptions,
        about: About,
        mut transcript: Transcript,
        prefix: Prefix,
    ) -> Agent {
        transcript.begin(&prefix);
        let (pending, run) = (Vec::new(), Run::default());
        let wish = Wish::new(thinking);
        let learned = wish.learned(&limits);
        let mut agent =
            Agent { client, transcript, context, limits, learned, wish, about, prefix, pending, run };
        agent.tell_changes();
        agent
    }

    /// Runs one turn: sends the user's message, or only the results that wait, and runs what the model calls until it
    /// calls nothing more. Returns the answer. After an error the history can be sent again.
    pub fn turn(&mut self, mut content: Vec<Block>, watch: &mut Watch) -> Result<String> {
        self.transcript.settle();
        let mut start = self.transcript.mark();
        let pending = std::mem::take(&mut self.pending);
        self.without_useless_pictures(&mut content, watch);
        // The user's words come after their pictures.
        let mut prompt = content.iter().position(|block| block.kind() == "text").map(|at| pending.len() + at);
        let content = content.into_iter().map(|block| self.masked(block));
        let mut content: Vec<Block> = pending.iter().cloned().chain(content).collect();
        let mut answer = Answer::new(prompt.is_some(), self.limits.max_retries);
        let (mut unanswered, mut is_open, mut continuations, mut pauses) = (prompt, false, 0, 0);
        loop {
            let results = self.push_with_results(content, prompt.take(), is_open, watch);
            let newest = unanswered.map(|prompt| Unanswered { start: &mut start, prompt });
            let reply = match self.shown_request(newest, watch) {
                (Ok(reply), _) => reply,
                (Err(err), said) => {
                    let unanswered = unanswered.map(|_| (start, [pending, results].concat()));
                    return Err(self.leave_off(err, &said, unanswered, watch));
                }
            };
            unanswered = None;
            if reply.stop == StopReason::Refusal {
                return Err(self.refused(&reply, start, pending));
            }
            answer.add(&reply, watch);
            let said_nothing = reply.message.is_none();
            // An empty reply changes nothing about that.
            is_open = if said_nothing { is_open } else { reply.is_open && pauses < MOST_PAUSES };
            if let Some(message) = reply.message {
                self.transcript.push_reply(message);
            }
            content = match reply.stop {
                _ if !reply.calls.is_empty() => {
                    self.run_tools(&reply.calls, watch)?;
                    Vec::new()
                }
                StopReason::PauseTurn if pauses < MOST_PAUSES && !said_nothing => {
                    pauses += 1;
                    Vec::new()
                }
                StopReason::PauseTurn if !said_nothing => return left_paused(&answer, watch),
                StopReason::MaxTokens if continuations < MOST_CONTINUATIONS && !said_nothing => {
                    continuations += 1;
                    vec![Block::text(CONTINUE)]
                }
                StopReason::ContextWindowExceeded if continuations < MOST_CONTINUATIONS => {
                    continuations += 1;
                    self.summarize_older(watch)?;
                    vec![Block::text(CONTINUE)]
                }
                StopReason::MaxTokens | StopReason::ContextWindowExceeded => {
                    return cut_off(answer.said(), watch);
                }
                _ => match answer.ask_again(said_nothing, watch) {
                    Some(content) => content.filter(|_| !is_open).into_iter().collect(),
                    None => return answer.finish(watch),
                },
            };
        }
    }

    /// Takes a turn that the model has refused out of the history. The results of tasks in it wait for the next
    /// message, and so does what was `pending` before the turn. Returns the refusal.
    fn refused(&mut self, reply: &Reply, start: Mark, pending: Vec<Block>) -> Error {
        let delivered = self.transcript.delivered_since(&start);
        self.transcript.roll_back(start);
        delivered.iter().for_each(|id| self.context.tasks.take_back(id));
        self.pending = pending;
        // A summary in this turn may have taken what was told.
        self.tell_changes();
        Error::Refusal(format!("{}; the turn was taken out of the conversation", reply.refusal))
    }

    /// Leaves a history in which the model reads what was interrupted: the text of a reply stays, an incomplete tool
    /// call does not. A message that is `unanswered` leaves the history too, so that the model does not act
    /// on it later; what else was sent with it stays. So does one that is too long. Returns what ended the turn.
    fn leave_off(
        &mut self,
        err: Error,
        said: &str,
        unanswered: Option<(Mark, Vec<Block>)>,
        watch: &mut Watch,
    ) -> Error {
        let Error::Stopped(stop) = err else {
            let is_about_web =
                err.rejection() == Some(Rejection::Tools) && self.transcript.prefix().has_web();
            return match unanswered {
                Some((start, rest)) if is_too_large(&err) => self.take_back(err, start, rest, watch),
                _ if is_about_web => err.with_advice(NO_WEB),
                _ => err,
            };
        };
        if !said.trim().is_empty() {
            let reply = Message::assistant(vec![Block::text(said.trim_end())]);
            self.transcript.push_reply(reply.encode());
            self.transcript.push_user(vec![Block::text(&stop.reply_note())], None);
        } else if let Some((start, rest)) = unanswered {
            self.leave_out(start, rest);
            watch(Event::TakenBack(TAKEN_BACK));
        }
        err
    }

    /// Takes what came since `start` out of the history, but for the results in it.
    fn leave_out(&mut self, start: Mark, results: Vec<Block>) {
        let delivered = self.transcript.delivered_since(&start);
        self.transcript.roll_back(start);
        self.transcript.push_user(results, None);
        delivered.iter().for_each(|id| self.transcript.task_delivered(id));
    }

    /// Makes one request of a turn, and shows that it was made; see `request_in_turn`. Returns the reply, and the text
    /// that was shown of it.
    fn shown_request(
        &mut self,
        unanswered: Option<Unanswered>,
        watch: &mut Watch,
    ) -> (Result<Reply>, String) {
        self.limit_pictures(watch);
        let (sent, mut said) = (Instant::now(), String::new());
        watch(Event::Request);
        let reply = self.request_in_turn(unanswered, &mut |event| {
            match event {
                Event::Text(text) => said += text,
                Event::Discarded => said.clear(),
                _ => {}
            }
            watch(event);
        });
        if let Ok(reply) = &reply {
            // The reply has it.
            said = String::new();
            watch(Event::Reply { reply, time: sent.elapsed() });
        }
        (reply, said)
    }

    /// The limits of the next request.
    fn room(&mut self) -> Room {
        Room::new(&self.limits, &self.learned, self.client.description())
    }

    fn check_limits(&self) -> Result<()> {
        let Run { turns, usage, .. } = &self.run;
        if let Some(max) = self.limits.max_turns.filter(|max| turns >= max) {
            let text = format!("the model has replied {max} times and is not done");
            return Err(Error::Limit { option: "--max-turns", text });
        }
        if let Some(max) = self.limits.max_total_tokens.filter(|max| usage.context() >= *max) {
            let text =
                format!("{} tokens were used, {max} are allowed, and the model is not done", usage.context());
            return Err(Error::Limit { option: "--max-total-tokens", text });
        }
        Ok(())
    }

    /// Asks `asker` from now on where consent is needed.
    pub fn ask(&mut self, asker: Asker) {
        self.context.approval.asker = Some(asker);
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    /// What this run has done so far.
    pub fn run(&self) -> &Run {
        &self.run
    }

    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Runs the calls in order and adds each result to the history at once. Fails with what stopped one of them; the
    /// calls after it are answered, but not run.
    fn run_tools(&mut self, calls: &[ToolCall], watch: &mut Watch) -> Result<()> {
        let mut stop = None;
        self.context.takes_pictures = self.takes_pictures();
        for call in calls {
            watch(Event::ToolCall(call));
            let outcome = match stop {
                None => tools::run(&mut self.context, call),
                Some(stop) => Outcome::not_run(stop),
            };
            stop = outcome.stop;
            if let Some(why) = outcome.refused {
                let call = call.clone();
                self.run.refused.push(Refused { call, why });
            }
            let answer = &outcome.answer;
            watch(Event::ToolResult { call, answer, change: outcome.change.as_deref() });
            self.push_user(vec![answer.block(&call.id)], None, watch);
        }
        stop.map_or(Ok(()), |stop| Err(Error::Stopped(stop)))
    }
}

/// Returns the answer of a turn that the server pauses again and again.
fn left_paused(answer: &Answer, watch: &mut Watch) -> Result<String> {
    watch(Event::Notice(PAUSED));
    answer.finish(watch)
}

/// Returns an incomplete answer, which is better than none. Fails if it is empty.
fn cut_off(said: &str, watch: &mut Watch) -> Result<String> {
    if said.is_empty() {
        let text = "the reply was cut off before its first word".into();
        return Err(Error::Limit { option: "--max-output-tokens", text });
    }
    watch(Event::Notice(CUT_OFF));
    Ok(said.to_owned())
}
