//! What happens in a turn, and what a run has done.

use std::time::Duration;

use crate::api::reply::{Reply, ToolCall, Usage};
use crate::background::task::Task;
use crate::error::Error;
use crate::tools::Answer;
use crate::tools::change::Change;

/// What happens in a turn, as it is shown and recorded.
pub enum Event<'a> {
    /// A request is about to be sent.
    Request,
    /// More of what the model thinks, as it arrives. Empty if the API does not tell what.
    Thinking(&'a str),
    /// The result of a tool that the server has run, in one line.
    Web(&'a str),
    /// More of the model's text, as it arrives.
    Text(&'a str),
    /// The connection was lost: the text since the last reply is discarded.
    Discarded,
    /// The reply is complete. The texts since the last one are part of it.
    Reply { reply: &'a Reply, time: Duration },
    /// A request has failed for the `failures`th time of at most `of`, and is tried again after `wait`.
    Retry { err: &'a Error, wait: Duration, failures: u32, of: u32 },
    /// The results of background tasks, as the model is about to read them.
    BackgroundResults(&'a str),
    /// A tool is about to be run.
    ToolCall(&'a ToolCall),
    /// A tool has run; with the change it made to a file, unless the user was shown it before.
    ToolResult { call: &'a ToolCall, answer: &'a Answer, change: Option<&'a Change> },
    /// A background task was started.
    TaskStarted { id: &'a str, command: &'a str },
    /// A background task, or its shell, has ended.
    TaskEnded(&'a Task),
    /// The user's message was interrupted before any reply and has left the history; with a sentence that says so.
    TakenBack(&'a str),
    /// Something the user should know.
    Notice(&'a str),
}

/// Sees what happens in a turn.
pub type Watch<'a> = dyn FnMut(Event) + 'a;

/// What a run works with; the first record says it.
pub struct About {
    pub folder: String,
    pub model: String,
    pub tools: Vec<&'static str>,
}

/// What a run of the program has done.
#[derive(Default)]
pub struct Run {
    /// How many replies the model has sent.
    pub turns: u64,
    pub usage: Usage,
    /// The calls that were not allowed.
    pub refused: Vec<Refused>,
}

/// A call that was not allowed.
pub struct Refused {
    pub call: ToolCall,
    pub why: &'static str,
}
