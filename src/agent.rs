//! The turn: requests and tool calls until the model is done.
//!
//! The one place that builds user messages: tool results first, then the results of background tasks.
//! Whatever interrupts a turn, every tool call in the history is answered.

use crossbeam_channel::{Receiver, select};

use crate::{
    api::{
        client::{Client, Progress},
        message::Block,
        reply::{Reply, ToolCall},
    },
    background::Waited,
    error::{Error, Result},
    session::transcript::Transcript,
    tools::{self, Answer, Context},
};

/// What happens in a turn, for those who watch it.
pub enum Event<'a> {
    /// More of the model's text, as it arrives.
    Text(&'a str),
    /// The reply is whole; the texts before were its.
    Reply,
    /// The results of background tasks, as the model is about to read them.
    BackgroundResults(&'a str),
    /// A tool has been run.
    ToolResult { name: &'a str, answer: &'a Answer },
}

pub struct Agent {
    client: Client,
    transcript: Transcript,
    context: Context,
}

impl Agent {
    pub fn new(client: Client, context: Context) -> Agent {
        Agent {
            client,
            transcript: Transcript::default(),
            context,
        }
    }

    /// Takes what the user said (or nothing, when there are results to tell) through requests and tool calls
    /// to the model's last word, and returns that. After an error the history can be sent again.
    pub fn turn(&mut self, content: Vec<Block>, watch: &mut dyn FnMut(Event)) -> Result<String> {
        let mut content = content;
        loop {
            if let Some(results) = self.context.tasks.drain() {
                watch(Event::BackgroundResults(&results));
                content.push(Block::text(&results));
            }
            self.transcript.push_user(content);
            let reply = self.request(watch)?;
            watch(Event::Reply);
            self.transcript.push_assistant(reply.content.clone());
            if reply.calls.is_empty() {
                return Ok(reply.text());
            }
            content = self.run_tools(&reply.calls, watch);
            if let Some(signal) = self.context.interrupted.take() {
                self.transcript.push_user(content);
                return Err(Error::Interrupted(signal));
            }
        }
    }

    /// Waits for the background tasks that are running. False when no result is left to tell.
    pub fn wait_for_tasks(&mut self) -> Result<bool> {
        match self.context.tasks.wait_for_all(&self.context.signals) {
            Waited::Interrupted(signal) => Err(Error::Interrupted(signal)),
            Waited::Ended | Waited::TimedOut => Ok(self.context.tasks.has_results()),
        }
    }

    /// The signals that end a turn or the program.
    pub fn signals(&self) -> &Receiver<i32> {
        &self.context.signals
    }

    fn request(&mut self, watch: &mut dyn FnMut(Event)) -> Result<Box<Reply>> {
        let progress = self.client.send(self.transcript.messages())?;
        loop {
            select! {
                recv(progress) -> progress => match progress {
                    Ok(Progress::Text(text)) => watch(Event::Text(&text)),
                    Ok(Progress::Ended(reply)) => return reply,
                    Err(_) => return Err(Error::Protocol("its thread failed".into())),
                },
                recv(self.context.signals) -> signal => if let Ok(signal) = signal {
                    return Err(Error::Interrupted(signal));
                },
            }
        }
    }

    /// Runs the calls in order and returns their results. After an interruption the rest is not run, but answered.
    fn run_tools(&mut self, calls: &[ToolCall], watch: &mut dyn FnMut(Event)) -> Vec<Block> {
        let mut results = Vec::new();
        for call in calls {
            let answer = match self.context.interrupted {
                None => tools::run(&mut self.context, call),
                Some(_) => Answer::error("not run: the user interrupted the turn"),
            };
            watch(Event::ToolResult {
                name: &call.name,
                answer: &answer,
            });
            results.push(Block::tool_result(&call.id, &answer.text, answer.is_error));
        }
        results
    }
}
