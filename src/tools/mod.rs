//! The tools that the model can call: one file for each, and the table of all.
//!
//! A tool that fails answers the model with an error; no call ends the program.

pub mod approval;
mod background;
mod bash;
pub mod change;
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

use crate::api::message::Block;
use crate::api::picture::Picture;
use crate::api::reply::ToolCall;
use crate::background::Tasks;
use crate::command::supervisor;
use crate::secrets::Secrets;
use crate::stop::Stop;
use crate::text::{self, head_and_tail};
use approval::{Act, Approval, What};
use change::{Change, Old};
use workspace::Workspace;

/// The length of the longest result, in characters.
const LONGEST_RESULT: usize = 50_000;

/// What the tools work with.
pub struct Context {
    pub workspace: Workspace,
    pub tasks: Tasks,
    pub approval: Approval,
    /// Whether the model takes pictures, as far as that is known.
    pub takes_pictures: bool,
    /// What results must not contain.
    pub secrets: Secrets,
}

impl Context {
    /// Returns whether the user was asked and consented. Fails with the outcome of a call that may not be run.
    fn approve(&mut self, input: &Input, what: What) -> Result<bool, Outcome> {
        self.approval.check(&Act { tool: input.tool, what }, &mut self.tasks)
    }

    fn old(&self, path: &str) -> Old {
        match self.workspace.read(path).map(String::from_utf8) {
            Ok(Ok(text)) => Old::Text(text),
            Ok(Err(err)) => Old::Other(err.as_bytes().len() as u64),
            Err(_) => self.workspace.size(path).map_or(Old::Nothing, Old::Other),
        }
    }

    /// Writes the file that the call names if that is allowed, and answers with `told`.
    fn write(&mut self, input: &Input, old: Old, new: String, told: String) -> Result<Outcome, Outcome> {
        let path = input.text("path")?;
        self.workspace.check_writable(path)?;
        let change = Change { path: self.workspace.name(path)?, old, new };
        let was_shown = self.approve(input, What::Change(&change))?;
        // Somebody may have changed the file while the question was open.
        if self.approval.asks && self.old(path) != change.old {
            let text = format!("{path} has changed since it was shown to the user: read it again");
            return Err(Answer::error(text).into());
        }
        self.workspace.write(path, change.new.as_bytes())?;
        let change = (!was_shown).then(|| Box::new(change.masked(&self.secrets)));
        Ok(Outcome { change, ..Answer::ok(told).into() })
    }
}

/// What came of a call.
pub struct Outcome {
    pub answer: Answer,
    /// The file that it has changed, unless the user was shown the change before.
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
    /// What the model sees beside the text.
    pub picture: Option<Picture>,
    pub is_error: bool,
}

impl Answer {
    fn ok(text: impl Into<String>) -> Answer {
        Answer { text: text.into(), picture: None, is_error: false }
    }

    /// A failure, which reads `Error: ` and `text`.
    fn error(text: impl std::fmt::Display) -> Answer {
        Answer { text: format!("Error: {text}"), picture: None, is_error: true }
    }

    /// The result of the call with this id.
    pub fn block(&self, id: &str) -> Block {
        let mut block = Block::tool_result(id, &self.text, self.is_error);
        if let Some(picture) = &self.picture {
            block.set("content", json!([{"type": "text", "text": self.text}, picture.to_value()]));
        }
        block
    }
}

struct Tool {
    name: &'static str,
    /// What the model reads; a limit is named as in `definitions`.
    description: &'static str,
    /// A JSON schema, with limits as in the description.
    schema: &'static str,
    run: fn(&mut Context, &Input) -> Result<Outcome, Outcome>,
}

/// One row for each tool. The README has a table with the same rows.
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
        let (name, description) = (json!(tool.name), json!(tool.description));
        format!(r#"{{"name":{name},"description":{description},"input_schema":{}}}"#, tool.schema)
    });
    let definitions = format!("[{}]", tools.collect::<Vec<_>>().join(","));
    limits.iter().fold(definitions, |text, (name, limit)| text.replace(name, limit))
}

/// The names of all tools.
pub fn names() -> Vec<&'static str> {
    TOOLS.iter().map(|tool| tool.name).collect()
}

/// Runs one call, and masks and shortens its answer.
pub fn run(context: &mut Context, call: &ToolCall) -> Outcome {
    fit(run_tool(context, call), &context.secrets)
}

/// Runs a command that the user has typed, which needs no consent.
pub fn run_command(context: &mut Context, command: &str) -> Outcome {
    fit(bash::run_and_wait(context, command, bash::TIMEOUT), &context.secrets)
}

/// The outcome with an answer that may be sent: without secrets, and not too long.
fn fit(outcome: Result<Outcome, Outcome>, secrets: &Secrets) -> Outcome {
    let (Ok(mut outcome) | Err(mut outcome)) = outcome;
    let text = &mut outcome.answer.text;
    *text = secrets.mask(&*text).into_owned();
    if text.chars().count() > LONGEST_RESULT {
        // Room for the line that says how much was left out.
        *text = head_and_tail(text, LONGEST_RESULT - 100).into_owned();
    }
    outcome
}

fn run_tool(context: &mut Context, call: &ToolCall) -> Result<Outcome, Outcome> {
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == call.name) else {
        let text = format!("Unknown tool `{}`; the tools are {}", call.name, names().join(", "));
        return Err(Answer::error(text).into());
    };
    let fields = call.input.as_ref().map_err(|text| {
        let text = text::first(text, 200);
        Answer::error(format!(
            "the input of this call is not a JSON object or was cut off, and nothing was run: {text:?}. \
             Send it again, in smaller pieces if it was long"
        ))
    })?;
    (tool.run)(context, &Input { tool: tool.name, fields })
}

/// The input of a call of `tool`. A field that is null counts as missing.
struct Input<'a> {
    tool: &'static str,
    fields: &'a Map<String, Value>,
}

impl<'a> Input<'a> {
    fn text(&self, name: &str) -> Result<&'a str, Answer> {
        self.optional_text(name)?
            .ok_or_else(|| Answer::error(format!("`{name}` is missing: it is a required string")))
    }

    fn optional_text(&self, name: &str) -> Result<Option<&'a str>, Answer> {
        self.get(name, "a string", Value::as_str)
    }

    fn flag(&self, name: &str) -> Result<bool, Answer> {
        Ok(self.get(name, "true or false", Value::as_bool)?.unwrap_or_default())
    }

    fn count(&self, name: &str) -> Result<Option<usize>, Answer> {
        let count = |value: &Value| value.as_u64().filter(|n| *n > 0).map(|n| n as usize);
        self.get(name, "a whole number, 1 or more", count)
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, Answer> {
        const WEEK: f64 = 7.0 * 24.0 * 3600.0;
        let time =
            |value: &Value| value.as_f64().filter(|n| *n > 0.0 && *n <= WEEK).map(Duration::from_secs_f64);
        self.get(name, "a number of seconds above 0, at most a week", time)
    }

    /// A field, converted. Fails with an answer for the model if it is not what is expected.
    fn get<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Answer> {
        let Some(value) = self.fields.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| {
            let value = value.to_string();
            Answer::error(format!("`{name}` must be {expected}, not {}", text::first(&value, 60)))
        })
    }
}
