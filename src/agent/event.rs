//! What happens in a turn, and what a run is made of and has done.

use std::time::Duration;

use crate::{
    api::reply::{Reply, ToolCall, Usage},
    background::task::Task,
    error::Error,
    tools::{Answer, change::Change},
};

/// What happens in a turn, for those who watch it.
pub enum Event<'a> {
    /// A request is about to be sent.
    Request,
    /// More of the model's text, as it arrives.
    Text(&'a str),
    /// The text since the last reply is void: the reply broke off.
    Discarded,
    /// The reply is whole; the texts before were its.
    Reply {
        reply: &'a Reply,
        time: Duration,
    },
    /// A request has failed and is tried again after a wait.
    Retry {
        err: &'a Error,
        wait: Duration,
        failures: u32,
        of: u32,
    },
    /// The results of background tasks, as the model is about to read them.
    BackgroundResults(&'a str),
    /// A tool is about to be run.
    ToolCall(&'a ToolCall),
    /// A tool has been run; what it made of a file.
    ToolResult {
        call: &'a ToolCall,
        answer: &'a Answer,
        change: Option<&'a Change>,
    },
    TaskStarted {
        id: &'a str,
        command: &'a str,
    },
    TaskEnded(&'a Task),
    /// The user's message has left the history, since it was interrupted before any reply; with a sentence that says so.
    TakenBack(&'a str),
    /// Something that the user should know.
    Notice(&'a str),
}

/// What a run works with, for those who want to know.
pub struct About {
    pub folder: String,
    pub model: String,
    pub tools: Vec<&'static str>,
}

/// What a run of the program has done.
#[derive(Default)]
pub struct Run {
    /// The replies of the model.
    pub turns: u64,
    pub usage: Usage,
    /// What the model wanted to do and was not allowed to.
    pub refused: Vec<Refused>,
}

/// A call that was not allowed.
pub struct Refused {
    pub call: ToolCall,
    pub why: &'static str,
}
