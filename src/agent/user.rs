//! What the user does apart from talking to the model.

use std::time::{Duration, Instant};

use super::Agent;
use crate::api::message::Block;
use crate::api::models::Lookup;
use crate::background::Arrival;
use crate::error::{Error, Result};
use crate::session::changes;
use crate::session::transcript::Transcript;
use crate::tools::{self, Outcome};

/// How long a switch to another model waits for the server, which may not know that model.
const MODEL_WAIT: Duration = Duration::from_secs(2);

/// How a switch to another model ended.
pub enum Switch {
    Done,
    /// The server has no such model.
    NoSuchModel,
    Interrupted,
}

impl Agent {
    /// Runs a command for the user and returns its result, which the model reads with the next message. Fails with
    /// a stop that ends the program.
    pub fn run_command(&mut self, command: &str) -> Result<String> {
        let Outcome { answer, stop, .. } = tools::run_command(&mut self.context, command);
        if let Some(stop) = stop.filter(|stop| stop.ends_program()) {
            return Err(Error::Stopped(stop));
        }
        let text = format!("(The user has run this command: {command}\nIts result:)\n{}", answer.text);
        self.pending.push(self.masked(Block::text(&text)));
        Ok(answer.text)
    }

    /// Connects to the API ahead of the next request.
    pub fn warm_up(&mut self) {
        self.client.warm_up();
    }

    pub fn model(&self) -> &str {
        self.client.model()
    }

    /// Switches to the model, unless the server says within a moment that it has no such model. Fails with a stop that
    /// ends the program.
    pub fn switch_model(&mut self, model: &str) -> Result<Switch> {
        let answers = self.client.find(model);
        let until = Instant::now() + MODEL_WAIT;
        let lookup = loop {
            match self.context.tasks.wait(&answers, Some(until)) {
                Arrival::Message(Err(Error::Api { status: 404, .. })) => return Ok(Switch::NoSuchModel),
                Arrival::Message(answer) => {
                    break Lookup::Answered(answer.ok().flatten().unwrap_or_default());
                }
                Arrival::Closed | Arrival::TimedOut => break Lookup::Asked(answers),
                Arrival::Stopped(stop) if stop.ends_program() => return Err(Error::Stopped(stop)),
                Arrival::Stopped(_) => return Ok(Switch::Interrupted),
                Arrival::Task => {}
            }
        };
        self.client.set_model(model, lookup);
        self.meet_model();
        Ok(Switch::Done)
    }

    /// Starts the conversation over. Background tasks keep running.
    pub fn clear(&mut self) {
        self.transcript.clear();
        self.pending.clear();
        self.tell_changes();
    }

    /// Switches to another session. Background tasks keep running.
    pub fn resume(&mut self, transcript: Transcript) {
        self.transcript = transcript;
        self.transcript.begin(&self.prefix);
        self.pending.clear();
        self.tell_changes();
    }

    /// Says before the next message what the session was not told yet. What it has sent first stays as it was.
    pub(super) fn tell_changes(&mut self) {
        self.pending.retain(|block| !changes::is_news(block));
        let messages = self.transcript.messages();
        self.pending.extend(changes::news(self.transcript.prefix(), &self.prefix, &messages));
    }

    /// The block as it is sent and saved: a text with its secrets masked.
    pub(super) fn masked(&self, block: Block) -> Block {
        let text = block.str("text").map(|text| self.context.secrets.mask(text));
        text.map(|text| Block::text(&text)).unwrap_or(block)
    }
}
