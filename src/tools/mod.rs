//! What the model can call: one file a tool, and this table.
//!
//! Whatever a tool meets is an answer to the model; nothing here ends the program.

pub mod approval;
mod background;
mod bash;
mod edit_file;
mod guard;
mod read_file;
pub mod rules;
mod scripts;
mod shell;
pub mod workspace;
mod write_file;

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    api::reply::ToolCall,
    background::Tasks,
    command::supervisor,
    secrets::Secrets,
    stop::Stop,
    text::{self, head_and_tail},
};
use approval::{Act, Approval, Change, Old, Refused, What};
use workspace::Workspace;

/// No result is longer, in characters.
const LONGEST_RESULT: usize = 50_000;

/// What a tool may use.
pub struct Context {
    pub workspace: Workspace,
    pub tasks: Tasks,
    pub approval: Approval,
    /// What the last call has made of a file, where the user has not been shown it.
    pub change: Option<Change>,
    /// Texts that must not leave in a result: the credential.
    pub secrets: Secrets,
    /// What stopped a tool.
    pub interrupted: Option<Stop>,
}

impl Context {
    /// Whether the user was shown it and consented; an answer for the model when it may not be done.
    fn approve(&mut self, tool: &'static str, what: What) -> Result<bool, Answer> {
        let act = Act { tool, what };
        let refused = self.approval.check(&act, &mut self.tasks);
        refused.map_err(|refused| match refused {
            Refused::Answered(answer) => answer,
            Refused::Stopped(stop) => {
                self.interrupted = Some(stop);
                Answer::error(stop.not_run())
            }
        })
    }

    /// What stands in a file now.
    fn old(&self, path: &str) -> Old {
        match self.workspace.read(path).map(String::from_utf8) {
            Ok(Ok(text)) => Old::Text(text),
            Ok(Err(err)) => Old::Other(err.as_bytes().len() as u64),
            Err(_) => self.workspace.size(path).map_or(Old::Nothing, Old::Other),
        }
    }

    /// Writes a file, when that may be done.
    fn write(&mut self, tool: &'static str, path: &str, old: Old, new: String) -> Result<(), Answer> {
        self.workspace.check_writable(path)?;
        let change = Change { path: self.workspace.name(path)?, old, new };
        let was_shown = self.approve(tool, What::Change(&change))?;
        // While the question was open, somebody may have written.
        if self.approval.asks && self.old(path) != change.old {
            let text = format!("{path} has changed since it was shown to the user: read it again");
            return Err(Answer::error(text));
        }
        self.workspace.write(path, change.new.as_bytes())?;
        if !was_shown {
            self.change = Some(change.masked(&self.secrets));
        }
        Ok(())
    }
}

/// What the model gets back.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    pub is_error: bool,
}

struct Tool {
    name: &'static str,
    /// What the model reads; a limit is named as in `definitions`.
    description: &'static str,
    /// A JSON schema, with limits as in the description.
    schema: &'static str,
    run: fn(&mut Context, &Input) -> Result<Answer, Answer>,
}

/// One row a tool. The README has a table with the same rows.
const TOOLS: &[Tool] = &[
    bash::TOOL,
    read_file::TOOL,
    write_file::TOOL,
    edit_file::TOOL,
    background::RUN,
    background::CHECK,
    background::KILL,
];

/// The tools as the API wants them described: a JSON array. It names the limits that are in force, with
/// `background_timeout` for a background task that sets none.
pub fn definitions(background_timeout: Duration) -> String {
    let limits = [
        ("$BASH_TIMEOUT", text::seconds(bash::TIMEOUT)),
        ("$BACKGROUND_TIMEOUT", text::seconds(background_timeout)),
        ("$GRACE", text::seconds(supervisor::GRACE)),
        ("$LONGEST_RESULT", LONGEST_RESULT.to_string()),
    ];
    let tools = TOOLS.iter().map(|tool| {
        let fields = json!({"name": tool.name, "description": tool.description}).to_string();
        let fields = &fields[..fields.len() - 1];
        format!("{fields},\"input_schema\":{}}}", tool.schema)
    });
    let definitions = format!("[{}]", tools.collect::<Vec<_>>().join(","));
    limits.iter().fold(definitions, |text, (name, limit)| text.replace(name, limit))
}

pub fn names() -> Vec<&'static str> {
    TOOLS.iter().map(|tool| tool.name).collect()
}

/// Runs one call.
pub fn run(context: &mut Context, call: &ToolCall) -> Answer {
    let answer = run_tool(context, call);
    fit(answer, context)
}

/// Runs a command for the user himself: nothing needs consent.
pub fn run_command(context: &mut Context, command: &str) -> Answer {
    let answer = bash::run_and_wait(context, command, bash::TIMEOUT);
    let answer = answer.unwrap_or_else(|error| error);
    fit(answer, context)
}

/// The answer as it may be sent: without secrets, and not too long.
fn fit(answer: Answer, context: &Context) -> Answer {
    let mut text = context.secrets.mask(answer.text).into_owned();
    if text.chars().count() > LONGEST_RESULT {
        // Room for the line that says how much was left out.
        text = head_and_tail(&text, LONGEST_RESULT - 100).into_owned();
    }
    Answer { text, ..answer }
}

fn run_tool(context: &mut Context, call: &ToolCall) -> Answer {
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == call.name) else {
        return Answer::error(format!("Unknown tool `{}`; the tools are {}", call.name, names().join(", ")));
    };
    match &call.input {
        Ok(fields) => (tool.run)(context, &Input(fields)).unwrap_or_else(|error| error),
        Err(text) => Answer::error(format!(
            "The input of this call is no JSON object or was cut off, so nothing was run: {:?}. \
             Send it again, in smaller pieces if it was long",
            text::first(text, 200)
        )),
    }
}

impl Answer {
    pub fn ok(text: impl Into<String>) -> Answer {
        Answer { text: text.into(), is_error: false }
    }

    /// A failure; it reads `Error: ` and `text`.
    pub fn error(text: impl std::fmt::Display) -> Answer {
        Answer { text: format!("Error: {text}"), is_error: true }
    }
}

/// The input of a call.
struct Input<'a>(&'a Map<String, Value>);

impl Input<'_> {
    fn text(&self, name: &str) -> Result<&str, Answer> {
        self.optional_text(name)?
            .ok_or_else(|| Answer::error(format!("`{name}` is missing: it is a required string")))
    }

    fn optional_text(&self, name: &str) -> Result<Option<&str>, Answer> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a string", other)),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Answer> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong(name, "true or false", other)),
        }
    }

    /// A whole number from 1 on.
    fn count(&self, name: &str) -> Result<Option<usize>, Answer> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n @ 1..) => Ok(Some(n as usize)),
                _ => Err(wrong(name, "a whole number from 1 on", value)),
            },
        }
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, Answer> {
        const LONGEST: f64 = 7.0 * 24.0 * 3600.0;
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(n) if n > 0.0 && n <= LONGEST => Ok(Some(Duration::from_secs_f64(n))),
                _ => Err(wrong(name, "a number of seconds above 0, at most a week", value)),
            },
        }
    }
}

fn wrong(name: &str, expected: &str, value: &Value) -> Answer {
    let value = value.to_string();
    let shown = text::first(&value, 60);
    Answer::error(format!("`{name}` must be {expected}, not {shown}"))
}
