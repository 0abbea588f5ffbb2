//! `bash`: runs a command and waits for it up to a time limit. What still runs then moves to the background.

use std::time::{Duration, Instant};

use super::{Answer, Context, Input, Outcome, Tool, approval::What, guard};
use crate::{background::Waited, text::seconds};

pub const TOOL: Tool = Tool {
    name: "bash",
    description: "Run a shell command with /bin/sh in the working directory and wait for it. Returns what \
        it prints on stdout and stderr, in order, at most $LONGEST_RESULT characters (head and \
        tail). After `timeout` seconds the command moves to the background and continues. For \
        commands that take long, use background_run.",
    schema: r#"{"type":"object","properties":{
        "command":{"type":"string","description":"The command"},
        "timeout":{"type":"number","description":"Seconds to wait; $BASH_TIMEOUT by default"}},
        "required":["command"]}"#,
    run,
};

pub const TIMEOUT: Duration = Duration::from_secs(120);

fn run(context: &mut Context, input: &Input) -> Result<Outcome, Outcome> {
    let command = input.text("command")?;
    let limit = input.seconds("timeout")?.unwrap_or(TIMEOUT);
    guard::check(command)?;
    context.approve(input, What::Command(command))?;
    run_and_wait(context, command, limit)
}

/// Runs a command that is allowed.
pub fn run_and_wait(context: &mut Context, command: &str, limit: Duration) -> Result<Outcome, Outcome> {
    let tasks = &mut context.tasks;
    let id = tasks.start_foreground(command, limit).map_err(Answer::error)?;
    let waited = tasks.wait_for(&id, Instant::now() + limit);
    let task = tasks.find(&id).expect("a task is kept until it is forgotten");
    let answer = match waited {
        Waited::Ended if task.is_gone() => {
            let mut text = task.result();
            if let Some(log) = task.log().filter(|_| task.printed().1 > 0) {
                text += &format!("\n(the whole output is in {})", log.display());
            }
            Answer { text, picture: None, is_error: task.could_not_run() }
        }
        Waited::Ended => {
            let (result, left) = (task.result(), task.left_text().unwrap_or_default());
            let text = format!("{result}\n({left}. Its output goes to background task {id}.)");
            // The model has seen this much: the next look starts here.
            task.take_new();
            tasks.move_to_background(&id);
            return Ok(Answer::ok(text).into());
        }
        Waited::TimedOut => {
            let text = format!(
                "Timeout ({}s)\n{}\nmoved to the background as task {id}; its result arrives in a later message",
                seconds(limit),
                task.take_new()
            );
            tasks.move_to_background(&id);
            return Err(Answer::error(text).into());
        }
        Waited::Stopped(stop) => Answer::error(stop.command_result(&task.output())),
    };
    tasks.forget(&id);
    Ok(Outcome { stop: waited.stop(), ..answer.into() })
}
