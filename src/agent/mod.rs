//! The turn: requests and tool calls until the model is done.
//!
//! The one place that builds user messages: tool results first, then the results of background tasks.
//! Whatever interrupts a turn, every tool call in the history is answered.

mod compact;
mod event;
mod request;
mod tasks;
mod user;

pub use event::{About, Event, Refused, Run};
use request::Unfinished;

use std::time::Instant;

use crate::{
    api::{
        client::Client,
        message::{Block, Message},
        reply::{Reply, StopReason, ToolCall},
    },
    cli::args::Limits,
    error::{Error, Result},
    session::{records::Mark, transcript::Transcript},
    stop::Stop,
    tools::{self, Context, Outcome, approval::Asker},
};

/// How often a reply that was cut off by its length is continued.
const MOST_CONTINUATIONS: u32 = 3;
const CONTINUE: &str = "(Your reply was cut off by its length limit. Continue exactly where it stopped.)";

const TAKEN_BACK: &str = "there was no reply yet, so the message was taken out of the conversation";

const CUT_OFF: &str = "the answer was cut off by its length limit, which --max-output-tokens raises";

/// How often a turn that the API has paused is gone on with; each pause is the end of some server tools' work.
const MOST_PAUSES: u32 = 50;

pub struct Agent {
    client: Client,
    transcript: Transcript,
    context: Context,
    limits: Limits,
    about: About,
    /// What goes before the next thing that the user says.
    pending: Vec<Block>,
    run: Run,
}

impl Agent {
    /// Goes on with `transcript`.
    pub fn new(
        client: Client,
        context: Context,
        limits: Limits,
        about: About,
        transcript: Transcript,
    ) -> Agent {
        Agent { client, transcript, context, limits, about, pending: Vec::new(), run: Run::default() }
    }

    /// Takes what the user said (or nothing, when there are results to tell) through requests and tool calls
    /// to the model's last word, and returns that. After an error the history can be sent again.
    pub fn turn(&mut self, content: Vec<Block>, watch: &mut dyn FnMut(Event)) -> Result<String> {
        let start = self.transcript.mark();
        let pending = std::mem::take(&mut self.pending);
        let mut prompt = (!content.is_empty()).then_some(pending.len());
        let content = content.into_iter().map(|block| self.masked(block));
        let mut content: Vec<Block> = pending.iter().cloned().chain(content).collect();
        let mut is_unanswered = prompt.is_some();
        let (mut said, mut continuations, mut pauses) = (String::new(), 0, 0);
        loop {
            self.push_with_results(content, prompt.take(), watch);
            let sent = Instant::now();
            watch(Event::Request);
            let reply = match self.request_in_turn(watch) {
                Ok(reply) => reply,
                Err(Unfinished { err: Error::Stopped(stop), said }) => {
                    self.keep_reply(&said, stop);
                    if is_unanswered && said.trim().is_empty() {
                        self.take_back(start, pending, watch);
                    }
                    return Err(Error::Stopped(stop));
                }
                Err(unfinished) => return Err(unfinished.err),
            };
            is_unanswered = false;
            watch(Event::Reply { reply: &reply, time: sent.elapsed() });
            if reply.stop == StopReason::Refusal {
                self.pending = pending;
                self.take_out(start);
                return Err(Error::Refusal("; the turn was taken out of the conversation".into()));
            }
            // The text before a call is not the answer.
            if reply.calls.is_empty() {
                said += &reply.said;
            } else {
                said.clear();
            }
            let said_nothing = reply.message.is_none();
            if let Some(message) = reply.message {
                self.transcript.push_reply(message);
            }
            content = match reply.stop {
                _ if !reply.calls.is_empty() => {
                    if let Some(stop) = self.run_tools(&reply.calls, watch) {
                        return Err(Error::Stopped(stop));
                    }
                    Vec::new()
                }
                StopReason::PauseTurn if pauses < MOST_PAUSES && !said_nothing => {
                    pauses += 1;
                    Vec::new()
                }
                StopReason::MaxTokens if continuations < MOST_CONTINUATIONS && !said_nothing => {
                    continuations += 1;
                    vec![Block::text(CONTINUE)]
                }
                StopReason::ContextWindowExceeded if continuations < MOST_CONTINUATIONS => {
                    continuations += 1;
                    self.summarize(true, watch)?;
                    vec![Block::text(CONTINUE)]
                }
                StopReason::MaxTokens | StopReason::ContextWindowExceeded => {
                    return cut_off(said.trim(), watch);
                }
                _ => return Ok(said.trim().to_owned()),
            };
        }
    }

    /// Takes a turn out of the history. The results of tasks in it wait for the next message.
    fn take_out(&mut self, start: Mark) {
        self.transcript.roll_back(start);
        for task in self.transcript.undelivered() {
            self.context.tasks.take_back(&task.id);
        }
    }

    /// Takes the user's message out of the history: the model must not take it for an order that still holds. What
    /// else was said with it stays.
    fn take_back(&mut self, start: Mark, rest: Vec<Block>, watch: &mut dyn FnMut(Event)) {
        self.take_out(start);
        self.push_with_results(rest, None, watch);
        watch(Event::TakenBack(TAKEN_BACK));
    }

    /// Keeps the text of a reply that was interrupted in the history, and tells the model why it ends. An
    /// incomplete tool call is dropped.
    fn keep_reply(&mut self, said: &str, stop: Stop) {
        if !said.trim().is_empty() {
            let said = Message::assistant(vec![Block::text(said.trim_end())]);
            self.transcript.push_reply(said.encode());
            self.transcript.push_user(vec![Block::text(&stop.reply_note())], None);
        }
    }

    /// Makes one request of a turn. If the history is too large for it, makes it smaller first.
    fn request_in_turn(&mut self, watch: &mut dyn FnMut(Event)) -> Result<Reply, Unfinished> {
        self.check_limits()?;
        self.make_room(watch)?;
        // A summary is a reply too.
        self.check_limits()?;
        let mut reply = self.request(&self.transcript.messages(), watch);
        // 413: the request itself is larger than the API takes.
        if let Err(Unfinished { err: Error::Api { status: 413, .. }, .. }) = reply {
            self.summarize(true, watch)?;
            self.check_limits()?;
            reply = self.request(&self.transcript.messages(), watch);
        }
        reply
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

    /// From now on this one is asked where consent is needed.
    pub fn ask(&mut self, asker: Asker) {
        self.context.approval.asker = Some(asker);
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    /// What this run of the program has done so far.
    pub fn run(&self) -> &Run {
        &self.run
    }

    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Runs the calls in order, and adds each result to the history at once. Returns what stopped one of them; those
    /// after it are answered, but not run.
    fn run_tools(&mut self, calls: &[ToolCall], watch: &mut dyn FnMut(Event)) -> Option<Stop> {
        let mut stop = None;
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
            let result = Block::tool_result(&call.id, &answer.text, answer.is_error);
            self.push_user(vec![result], None, watch);
        }
        stop
    }
}

/// An answer that its length limit has ended, which is better than none.
fn cut_off(said: &str, watch: &mut dyn FnMut(Event)) -> Result<String> {
    if said.is_empty() {
        return Err(Error::Limit {
            option: "--max-output-tokens",
            text: "the reply was cut off before it said anything".into(),
        });
    }
    watch(Event::Notice(CUT_OFF));
    Ok(said.to_owned())
}
