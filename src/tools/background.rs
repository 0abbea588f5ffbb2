//! `background_run`, `check_background` and `kill_background`: start, show and end background tasks.

use std::time::Instant;

use super::{Answer, Context, Input, Outcome, Tool, approval::What, guard};
use crate::background::task::Task;
use crate::text;

pub const RUN: Tool = Tool {
    name: "background_run",
    description: "Start a shell command in the background and return its task id at once. Its result \
        comes by itself in a later message, inside <background-results>. The command is ended \
        after `timeout` seconds.",
    schema: r#"{"type":"object","properties":{
        "command":{"type":"string","description":"The command"},
        "timeout":{"type":"number","description":"Seconds after which the command is ended; $BACKGROUND_TIMEOUT by default"}},
        "required":["command"]}"#,
    run,
};

pub const CHECK: Tool = Tool {
    name: "check_background",
    description: "Look at a background task: for a running task, what it has printed since the last look; \
        for an ended task, its whole result. With `wait`, first wait up to that many seconds \
        for the task to end. With `full`, see everything that a running task has printed. \
        Without `task_id`, list all tasks.",
    schema: r#"{"type":"object","properties":{
        "task_id":{"type":"string","description":"The id that background_run returned"},
        "wait":{"type":"number","description":"Seconds to wait for the end of the task"},
        "full":{"type":"boolean","description":"Show everything it has printed, not only what is new"}}}"#,
    run: check,
};

pub const KILL: Tool = Tool {
    name: "kill_background",
    description: "End a background task and everything it started: SIGTERM, then SIGKILL after $GRACE \
        seconds. Returns what it printed.",
    schema: r#"{"type":"object","properties":{
        "task_id":{"type":"string","description":"The id that background_run returned"}},
        "required":["task_id"]}"#,
    run: kill,
};

fn run(context: &mut Context, input: &Input) -> Result<Outcome, Outcome> {
    let command = input.text("command")?;
    let limit = input.seconds("timeout")?;
    guard::check(command)?;
    context.approve(input, What::Command(command))?;
    let id = context.tasks.start_background(command, limit).map_err(Answer::error)?;
    let command = text::first(command, 80);
    Ok(Answer::ok(format!("Background task {id} started: {command}")).into())
}

fn check(context: &mut Context, input: &Input) -> Result<Outcome, Outcome> {
    let wait = input.seconds("wait")?;
    let full = input.flag("full")?;
    let Some(id) = input.optional_text("task_id")? else {
        return Ok(list(context, wait.map(|wait| Instant::now() + wait)));
    };
    find(context, id)?;
    let until = Instant::now() + wait.unwrap_or_default();
    let stop = context.tasks.wait_for(id, until).stop();
    context.tasks.mark_delivered(id);
    Ok(Outcome { stop, ..Answer::ok(describe(find(context, id)?, full)).into() })
}

/// Lists all tasks, one on each line; with `until`, first waits for one of them to end.
fn list(context: &mut Context, until: Option<Instant>) -> Outcome {
    let stop = until.and_then(|until| context.tasks.wait_for_any(Some(until)).stop());
    context.tasks.receive();
    let lines = context.tasks.list().map(|task| {
        let command = text::one_line(&task.command, 60);
        format!("{}: [{}] {command}", task.id, task.status().name())
    });
    let lines: Vec<String> = lines.collect();
    let text = if lines.is_empty() { "No background tasks.".into() } else { lines.join("\n") };
    Outcome { stop, ..Answer::ok(text).into() }
}

fn kill(context: &mut Context, input: &Input) -> Result<Outcome, Outcome> {
    let id = input.text("task_id")?;
    find(context, id)?;
    let stop = context.tasks.kill(id).stop();
    context.tasks.mark_delivered(id);
    Ok(Outcome { stop, ..Answer::ok(describe(find(context, id)?, true)).into() })
}

fn find<'a>(context: &'a Context, id: &str) -> Result<&'a Task, Answer> {
    let task = context.tasks.list().find(|task| task.id == id);
    task.ok_or_else(|| Answer::error(format!("Unknown task {id}")))
}

/// `[status] command`, then how the task ended and its whole output, or how long it has run and what is new.
fn describe(task: &Task, full: bool) -> String {
    let mut lines = vec![format!("[{}] {}", task.status().name(), text::one_line(&task.command, 60))];
    match task.end() {
        Some(end) => {
            lines.push(end.to_string());
            lines.extend(task.left_text());
            lines.extend(task.log().map(|log| format!("log: {}", log.display())));
            lines.push(task.output());
        }
        None => {
            let new = task.take_new();
            let (printed, since) =
                if full { (task.output(), "so far") } else { (new, "since the last look") };
            let age = text::duration(task.age());
            lines.push(format!("(running) for {age}; printed {since}:"));
            lines.push(if printed.is_empty() { "(nothing)".into() } else { printed });
        }
    }
    lines.join("\n")
}
