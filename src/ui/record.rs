//! What scripts read: JSON lines, an event each, and one record at the end of every run.
//!
//! Field names are those of Claude Code's `stream-json`, where it has one, since scripts know them.

use std::{
    fmt,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
    time::Instant,
};

use rustix::event::{PollFd, PollFlags};
use serde_json::{Value, json};

use crate::{
    agent::{Agent, Event, Refused},
    api::{
        message::Block,
        reply::{ToolCall, Usage},
    },
    background::task::Task,
    cli::args::Format,
    command::exit::Exit,
    error::{Error, Result},
    stop::Stop,
    text::{visible, visible_json},
};

/// Writes the records of one run to stdout, as the format asks.
pub struct Reporter {
    format: Format,
    started: Instant,
    session_id: String,
    turns: u64,
    usage: Usage,
    refused: Vec<Value>,
    tasks: Vec<Value>,
}

impl Reporter {
    pub fn new(format: Format) -> Reporter {
        Reporter {
            format,
            started: Instant::now(),
            session_id: String::new(),
            turns: 0,
            usage: Usage::default(),
            refused: Vec::new(),
            tasks: Vec::new(),
        }
    }

    /// The first line: what runs here. Fails when nobody reads.
    pub fn begin(&mut self, agent: &Agent) -> Result<()> {
        self.session_id = agent.transcript().id.clone();
        let about = agent.about();
        self.line(json!({
            "type": "system", "subtype": "init", "session_id": self.session_id,
            "cwd": about.folder, "model": about.model, "tools": about.tools,
        }))
    }

    /// A line for what happens. Fails when nobody reads.
    pub fn event(&mut self, event: &Event) -> Result<()> {
        if self.format != Format::StreamJson {
            return Ok(());
        }
        let id = &self.session_id;
        let line = match event {
            Event::Reply { reply, .. } => json!({
                "type": "assistant", "session_id": id,
                "message": {"role": "assistant", "content": blocks(&reply.content()), "usage": reply.usage.to_value()},
            }),
            Event::ToolResult { call, answer, .. } => {
                let result = Block::tool_result(&call.id, &answer.text, answer.is_error);
                json!({
                    "type": "user", "session_id": id,
                    "message": {"role": "user", "content": blocks(&[result])},
                })
            }
            Event::BackgroundResults(text) => json!({
                "type": "user", "session_id": id,
                "message": {"role": "user", "content": blocks(&[Block::text(text)])},
            }),
            Event::TaskStarted { id: task, command } => json!({
                "type": "system", "subtype": "task_started", "session_id": id, "task_id": task, "command": command,
            }),
            Event::TaskEnded(task) => {
                let mut line = task_record(task);
                line["type"] = "system".into();
                line["subtype"] = "task_finished".into();
                line["session_id"] = id.as_str().into();
                line
            }
            Event::Retry { err, wait, failures, of } => json!({
                "type": "system", "subtype": "api_retry", "session_id": id, "attempt": failures, "max_retries": of,
                "retry_delay_ms": wait.as_millis() as u64, "error": err.to_string(),
            }),
            Event::Discarded => json!({"type": "system", "subtype": "discarded", "session_id": id}),
            Event::Notice(text) => {
                json!({"type": "system", "subtype": "notice", "session_id": id, "text": text})
            }
            Event::Request | Event::Text(_) | Event::ToolCall(_) => return Ok(()),
        };
        self.line(line)
    }

    /// Takes note of what the agent has done, for the final record.
    pub fn end(&mut self, agent: &Agent) {
        self.turns = agent.run().turns;
        self.usage = agent.run().usage;
        self.refused = agent.run().refused.iter().map(refusal_record).collect();
        self.tasks = agent.tasks().list().map(task_record).collect();
    }

    /// Writes the last thing: the answer, or the final record. Fails when nobody reads.
    pub fn finish(&self, outcome: &Result<String>) -> Result<()> {
        if self.format == Format::Text {
            return match outcome {
                Ok(answer) if answer.is_empty() => Ok(()),
                // A script gets it as it is; a terminal would obey what is in it.
                Ok(answer) if io::stdout().is_terminal() => write(format_args!("{}\n", visible(answer))),
                Ok(answer) => write(format_args!("{answer}\n")),
                Err(_) => Ok(()),
            };
        }
        let error = outcome.as_ref().err();
        let record = json!({
            "type": "result",
            "subtype": subtype(error),
            "is_error": error.is_some(),
            "result": outcome.as_deref().unwrap_or_default(),
            "error": error.map(Error::to_string),
            "exit_code": error.map_or(0, Error::exit_code),
            "limit": error.and_then(Error::limit),
            "session_id": self.session_id,
            "num_turns": self.turns,
            "duration_ms": self.started.elapsed().as_millis() as u64,
            "usage": self.usage.to_value(),
            "permission_denials": self.refused,
            "tasks": self.tasks,
        });
        write_json(&record)
    }

    fn line(&self, line: Value) -> Result<()> {
        match self.format {
            Format::StreamJson => write_json(&line),
            Format::Text | Format::Json => Ok(()),
        }
    }
}

fn subtype(error: Option<&Error>) -> &'static str {
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

fn refusal_record(refused: &Refused) -> Value {
    let ToolCall { id, name, input } = &refused.call;
    let input = input.clone().unwrap_or_default();
    json!({"tool_name": name, "tool_use_id": id, "tool_input": input, "reason": refused.why})
}

fn task_record(task: &Task) -> Value {
    let exit = task.end().map(|end| &end.exit);
    let (exit_code, signal) = match exit {
        Some(Exit::Code(code)) => (Some(*code), None),
        Some(Exit::Signal(signal)) => (None, Some(*signal)),
        _ => (None, None),
    };
    json!({
        "task_id": task.id, "command": task.command, "status": task.status().name(),
        "exit_code": exit_code, "signal": signal, "duration_ms": task.age().as_millis() as u64,
        "log": task.log().map(|log| log.display().to_string()),
    })
}

fn write_json(value: &Value) -> Result<()> {
    write(format_args!("{}\n", visible_json(&value.to_string())))
}

fn write(text: fmt::Arguments) -> Result<()> {
    let mut stdout = BufWriter::new(Patient(io::stdout().lock()));
    match stdout.write_fmt(text).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Err(Error::Stopped(Stop::OutputClosed)),
        Err(err) => Err(Error::System { doing: "write to standard output", err }),
    }
}

/// Writes also into a pipe that somebody has made not blocking.
struct Patient(StdoutLock<'static>);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|stdout| stdout.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.patiently(|stdout| stdout.flush())
    }
}

impl Patient {
    fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut StdoutLock) -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt(&mut self.0) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    let mut ready = [PollFd::new(&self.0, PollFlags::OUT)];
                    let _ = rustix::event::poll(&mut ready, None);
                }
                done => return done,
            }
        }
    }
}
