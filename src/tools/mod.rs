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
use approval::{Act, Approval, Change, Old, What};
use workspace::Workspace;

/// No result is longer, in characters.
const LONGEST_RESULT: usize = 50_000;

/// What a tool may use.
pub struct Context {
    pub workspace: Workspace,
    pub tasks: Tasks,
    pub approval: Approval,
    /// Texts that must not leave in a result: the credential.
    pub secrets: Secrets,
}

impl Context {
    /// Returns whether the user was asked and consented. Fails with the outcome of a call that may not be run.
    fn approve(&mut self, tool: &'static str, what: What) -> Result<bool, Outcome> {
        self.approval.check(&Act { tool, what }, &mut self.tasks)
    }

    /// What stands in a file now.
    fn old(&self, path: &str) -> Old {
        match self.workspace.read(path).map(String::from_utf8) {
            Ok(Ok(text)) => Old::Text(text),
            Ok(Err(err)) => Old::Other(err.as_bytes().len() as u64),
            Err(_) => self.workspace.size(path).map_or(Old::Nothing, Old::Other),
        }
    }

    /// Writes a file if that is allowed. Returns the change, unless the user was shown it before.
    fn write(
        &mut self,
        tool: &'static str,
        path: &str,
        old: Old,
        new: String,
    ) -> Result<Option<Box<Change>>, Outcome> {
        self.workspace.check_writable(path)?;
        let change = Change { path: self.workspace.name(path)?, old, new };
        let was_shown = self.approve(tool, What::Change(&change))?;
        // While the question was open, somebody may have written.
        if self.approval.asks && self.old(path) != change.old {
            let text = format!("{path} has changed since it was shown to the user: read it again");
            return Err(Answer::error(text).into());
        }
        self.workspace.write(path, change.new.as_bytes())?;
        Ok((!was_shown).then(|| Box::new(change.masked(&self.secrets))))
    }
}

/// What has come of a call.
pub struct Outcome {
    pub answer: Answer,
    /// What it has changed in a file, unless the user was shown it before.
    pub change: Option<Box<Change>>,
    /// Why it was not allowed.
    pub refused: Option<&'static str>,
    /// What stopped it, and stops the turn.
    pub stop: Option<Stop>,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Outcome {
        Outcome { answer, change: None, refused: None, stop: None }
    }
}

impl Outcome {
    /// The outcome of a call that is not run because the turn was stopped.
    pub fn not_run(stop: Stop) -> Outcome {
        Outcome { stop: Some(stop), ..Answer::error(stop.not_run()).into() }
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
    run: fn(&mut Context, &Input) -> Result<Outcome, Outcome>,
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
pub fn run(context: &mut Context, call: &ToolCall) -> Outcome {
    let outcome = run_tool(context, call).unwrap_or_else(|early| early);
    fit(outcome, context)
}

/// Runs a command that the user has typed, which needs no consent.
pub fn run_command(context: &mut Context, command: &str) -> Outcome {
    let outcome = bash::run_and_wait(context, command, bash::TIMEOUT);
    fit(outcome.unwrap_or_else(|early| early), context)
}

/// The outcome with an answer that may be sent: without secrets, and not too long.
fn fit(outcome: Outcome, context: &Context) -> Outcome {
    let Answer { text, is_error } = outcome.answer;
    let mut text = context.secrets.mask(text).into_owned();
    if text.chars().count() > LONGEST_RESULT {
        // Room for the line that says how much was left out.
        text = head_and_tail(&text, LONGEST_RESULT - 100).into_owned();
    }
    Outcome { answer: Answer { text, is_error }, ..outcome }
}

fn run_tool(context: &mut Context, call: &ToolCall) -> Result<Outcome, Outcome> {
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == call.name) else {
        let text = format!("Unknown tool `{}`; the tools are {}", call.name, names().join(", "));
        return Err(Answer::error(text).into());
    };
    let fields = call.input.as_ref().map_err(|text| {
        Answer::error(format!(
            "The input of this call is no JSON object or was cut off, so nothing was run: {:?}. \
             Send it again, in smaller pieces if it was long",
            text::first(text, 200)
        ))
    })?;
    (tool.run)(context, &Input(fields))
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
