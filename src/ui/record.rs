//! What scripts read: the answer, or JSON lines with one result record at the end of every run.
//!
//! Field names are those of Claude Code's `stream-json` where it has one, since scripts know them.

use std::io::{self, IsTerminal};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::agent::{Agent, Event, Refused};
use crate::api::message::Block;
use crate::api::reply::{ToolCall, Usage};
use crate::background::task::Task;
use crate::cli::args::Format;
use crate::command::exit::Exit;
use crate::error::{Error, Result};
use crate::stop::Stop;
use crate::text::{visible, visible_json};

/// Writes the records of one run to standard output. Its functions fail with a stop when it was closed.
pub struct Reporter {
    format: Format,
    is_structured: bool,
    started: Instant,
    session_id: String,
    done: Done,
}

/// What the run has done, for the result record.
#[derive(Default)]
struct Done {
    turns: u64,
    usage: Usage,
    refused: Vec<Value>,
    tasks: Vec<Value>,
}

impl Reporter {
    /// `is_structured` says that the answer is to be JSON.
    pub fn new(format: Format, is_structured: bool) -> Reporter {
        Reporter {
            format,
            is_structured,
            started: Instant::now(),
            session_id: String::new(),
            done: Done::default(),
        }
    }

    /// Writes the first line, which describes the run.
    pub fn begin(&mut self, agent: &Agent) -> Result<()> {
        self.session_id = agent.transcript().id.clone();
        let about = agent.about();
        self.line(json!({
            "type": "system", "subtype": "init",
            "cwd": about.folder, "model": about.model, "tools": about.tools,
        }))
    }

    /// Writes a line about an event.
    pub fn event(&mut self, event: &Event) -> Result<()> {
        // A long reply costs memory as a record, so none is made that is not written.
        if self.format != Format::StreamJson {
            return Ok(());
        }
        self.line(match event {
            Event::Reply { reply, .. } => {
                let content = blocks(&[&reply.unsent[..], &reply.content()].concat());
                json!({
                    "type": "assistant",
                    "message": {"role": "assistant", "content": content, "usage": reply.usage.to_value()},
                })
            }
            Event::ToolResult { call, answer, .. } => user_message(answer.block(&call.id)),
            Event::BackgroundResults(text) => user_message(Block::text(text)),
            Event::TaskStarted { id, command } => json!({
                "type": "system", "subtype": "task_started", "task_id": id, "command": command,
            }),
            Event::TaskEnded(task) => {
                let mut line = task_record(task);
                line["type"] = "system".into();
                line["subtype"] = "task_finished".into();
                line
            }
            Event::Retry { err, wait, failures, of } => json!({
                "type": "system", "subtype": "api_retry", "attempt": failures, "max_retries": of,
                "retry_delay_ms": wait.as_millis() as u64, "error": err.to_string(),
            }),
            Event::Discarded => json!({"type": "system", "subtype": "discarded"}),
            Event::Notice(text) | Event::TakenBack(text) => {
                json!({"type": "system", "subtype": "notice", "text": text})
            }
            Event::Request | Event::Thinking(_) | Event::Web(_) | Event::Text(_) | Event::ToolCall(_) => {
                return Ok(());
            }
        })
    }

    /// Notes what the agent has done, for the result record.
    pub fn end(&mut self, agent: &Agent) {
        let run = agent.run();
        self.done = Done {
            turns: run.turns,
            usage: run.usage,
            refused: run.refused.iter().map(refusal_record).collect(),
            tasks: agent.tasks().list().map(task_record).collect(),
        };
    }

    /// Writes the answer or the result record, which ends the output.
    pub fn finish(&self, outcome: &Result<String>) -> Result<()> {
        let answer = match outcome {
            Ok(answer) | Err(Error::Unfit { said: answer, .. }) => answer,
            Err(_) => "",
        };
        if self.format == Format::Text {
            return match answer {
                "" => Ok(()),
                // A script gets the answer as it is; a terminal would obey control characters.
                _ if io::stdout().is_terminal() && self.is_structured => {
                    write(&(visible_json(answer) + "\n"))
                }
                _ if io::stdout().is_terminal() => write(&(visible(answer) + "\n")),
                _ => write(&format!("{answer}\n")),
            };
        }
        let error = outcome.as_ref().err();
        let mut record = json!({
            "type": "result",
            "subtype": subtype(error),
            "is_error": error.is_some(),
            "result": answer,
            "error": error.map(Error::to_string),
            "exit_code": error.map_or(0, Error::exit_code),
            "limit": error.and_then(Error::limit),
            "session_id": self.session_id,
            "num_turns": self.done.turns,
            "duration_ms": self.started.elapsed().as_millis() as u64,
            "usage": self.done.usage.to_value(),
            "permission_denials": self.done.refused,
            "tasks": self.done.tasks,
        });
        if self.is_structured {
            let value = outcome.as_ref().ok().and_then(|json| serde_json::from_str(json).ok());
            record["structured_output"] = value.unwrap_or_default();
        }
        write_json(&record)
    }

    fn line(&self, mut line: Value) -> Result<()> {
        if self.format != Format::StreamJson {
            return Ok(());
        }
        line["session_id"] = self.session_id.as_str().into();
        write_json(&line)
    }
}

fn subtype(error: Option<&Error>) -> &'static str {
    if let Some(Error::Unfit { .. }) = error {
        return "error_max_structured_output_retries";
    }
    match error.map(Error::limit) {
        None => "success",
        Some(Some("--max-turns")) => "error_max_turns",
        Some(Some("--max-time")) => "error_max_time",
        Some(Some("--max-total-tokens")) => "error_max_total_tokens",
        Some(_) => "error_during_execution",
    }
}

fn blocks(content: &[Block]) -> Value {
    content.iter().map(|block| Value::Object(block.fields().clone())).collect()
}

fn user_message(block: Block) -> Value {
    json!({"type": "user", "message": {"role": "user", "content": blocks(&[block])}})
}

fn refusal_record(refused: &Refused) -> Value {
    let ToolCall { id, name, input } = &refused.call;
    let input = input.clone().unwrap_or_default();
    json!({"tool_name": name, "tool_use_id": id, "tool_input": input, "reason": refused.why})
}

fn task_record(task: &Task) -> Value {
    let exit = task.end().map(|end| &end.exit);
    let exit_code = if let Some(Exit::Code(code)) = exit { Some(code) } else { None };
    let signal = if let Some(Exit::Signal(signal)) = exit { Some(signal) } else { None };
    json!({
        "task_id": task.id, "command": task.command, "status": task.status().name(),
        "exit_code": exit_code, "signal": signal, "duration_ms": task.age().as_millis() as u64,
        "log": task.log().map(|log| log.display().to_string()),
    })
}

fn write_json(value: &Value) -> Result<()> {
    write(&(visible_json(&value.to_string()) + "\n"))
}

/// Writes everything to standard output, even to a pipe that does not block. Fails with a stop when it was closed.
pub fn write(text: &str) -> Result<()> {
    let stdout = io::stdout();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(&stdout, rest) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut ready = [PollFd::new(&stdout, PollFlags::OUT)];
                let _ = rustix::event::poll(&mut ready, None);
            }
            Err(Errno::PIPE) => return Err(Error::Stopped(Stop::OutputClosed)),
            Err(err) => return Err(Error::System { doing: "write to standard output", err: err.into() }),
        }
    }
    Ok(())
}
