//! What the user does beside talking to the model.

use super::Agent;
use crate::{api::message::Block, session::transcript::Transcript, tools};

impl Agent {
    /// Runs a command for the user and returns what came of it. The model is told with the next thing that is said.
    pub fn run_command(&mut self, command: &str) -> String {
        let answer = tools::run_command(&mut self.context, command);
        // An interrupt has ended the command: there is no turn that it could end.
        self.context.interrupted = None;
        let text = format!("(The user has run this command: {command}\nIts result:)\n{}", answer.text);
        self.pending.push(Block::text(&text));
        answer.text
    }

    /// The user types: a request will follow.
    pub fn warm_up(&mut self) {
        self.client.warm_up();
    }

    pub fn model(&self) -> &str {
        self.client.model()
    }

    pub fn set_model(&mut self, model: &str) {
        self.client.set_model(model);
    }

    /// Begins the conversation anew. Background tasks go on.
    pub fn clear(&mut self) {
        self.transcript.clear();
        self.pending.clear();
    }

    /// Goes on with another session instead. Background tasks go on.
    pub fn resume(&mut self, transcript: Transcript) {
        self.transcript = transcript;
        self.pending.clear();
    }

    /// A text with every secret masked, as it is sent and kept.
    pub(super) fn masked(&self, block: Block) -> Block {
        let text = block.str("text").unwrap_or_default();
        Block::text(&self.context.secrets.mask(text))
    }
}
