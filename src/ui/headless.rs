//! `-p`: runs one task, with its answer on stdout and everything else on stderr. The result record is written
//! however the run ends.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::interrupt::Interrupts;
use super::question;
use super::record::Reporter;
use super::stdin::{Lines, SILENCE, read_task};
use super::terminal::{Terminal, has_color};
use crate::agent::{Agent, Event};
use crate::background::task::Status;
use crate::cli::args::{Format, Loudness, OnEnd, RunOptions};
use crate::error::{Error, Result};
use crate::stop::Stop;

/// Runs one task to its end with the agent that `make_agent` builds. Fails with what ended the run early.
pub fn print(run: &RunOptions, make_agent: impl FnOnce(&Interrupts) -> Result<Agent>) -> Result<()> {
    let mut reporter = Reporter::new(run.format);
    let task = || {
        let interrupts = Interrupts::listen(run.max_time)?;
        let mut agent = make_agent(&interrupts)?;
        if run.asks && question::is_possible() {
            agent.ask(question::on_stderr(Lines::read()?));
        }
        let outcome = do_task(run, &mut agent, &interrupts, &mut reporter);
        // Nothing of the task may still run when its record says how it ended.
        agent.end_tasks(&mut |event| drop(reporter.event(&event)));
        reporter.end(&agent);
        outcome
    };
    let outcome = catch_unwind(AssertUnwindSafe(task)).unwrap_or(Err(Error::Panic));
    match (reporter.finish(&outcome), outcome) {
        // If the reader has seen enough, that is not an error.
        (Err(Error::Stopped(Stop::OutputClosed)), Ok(_)) => Ok(()),
        (Err(err), Ok(_)) => Err(err),
        (_, outcome) => outcome.map(drop),
    }
}

/// Writes the result record of a run that fails before it begins. Fails with `err`.
pub fn refuse(err: Error, format: Format) -> Result<()> {
    let outcome = Err(err);
    let _ = Reporter::new(format).finish(&outcome);
    outcome.map(drop)
}

fn do_task(
    run: &RunOptions,
    agent: &mut Agent,
    interrupts: &Interrupts,
    reporter: &mut Reporter,
) -> Result<String> {
    let mut stderr = Terminal::new(io::stderr(), has_color(run.color, &io::stderr()));
    reporter.begin(agent)?;
    let (content, gave_up) = read_task(run.prompt.as_deref(), run.file.as_deref(), agent)?;
    if gave_up && run.loudness != Loudness::Quiet {
        let seconds = SILENCE.as_secs();
        stderr.line(&format!(
            "meanwhile: no input for {seconds} s: continuing without it (</dev/null avoids the wait)"
        ));
    }
    let mut unshown = String::new();
    let mut watch = |event: Event| {
        if reporter.event(&event).is_err() {
            let _ = interrupts.sender().try_send(Stop::OutputClosed);
        }
        match event {
            Event::Request
            | Event::Text(_)
            | Event::Discarded
            | Event::TaskStarted { .. }
            | Event::TaskEnded(_)
            | Event::TakenBack(_) => {}
            _ if run.loudness == Loudness::Quiet => {}
            Event::Reply { reply, time } => {
                if run.loudness == Loudness::Verbose {
                    stderr.request(reply, time);
                }
                unshown += &reply.said;
                // Text before calls is shown before they run.
                if !reply.calls.is_empty() {
                    stderr.said(&std::mem::take(&mut unshown));
                }
            }
            // Text before this event is not the answer.
            event => {
                stderr.said(&std::mem::take(&mut unshown));
                stderr.show(event);
            }
        }
    };
    let answer = agent.turn(content, &mut watch)?;
    finish_tasks(agent, run.on_end, answer, &mut watch)
}

/// Does with the background tasks what `on_end` says when the model is done. Returns the last answer.
fn finish_tasks(
    agent: &mut Agent,
    on_end: OnEnd,
    mut answer: String,
    watch: &mut dyn FnMut(Event),
) -> Result<String> {
    loop {
        if on_end == OnEnd::Fail {
            fail_with_tasks(agent)?;
        }
        if on_end == OnEnd::Wait {
            agent.wait_for_tasks(watch)?;
        }
        // The model must read every result, or it is lost.
        if !agent.has_results() {
            return Ok(answer);
        }
        let last = agent.turn(Vec::new(), watch)?;
        if !last.is_empty() {
            answer = last;
        }
    }
}

/// Runs a task and all of its background tasks to the end, for the demo, which has no options.
pub fn run_to_end(
    agent: &mut Agent,
    task: Vec<crate::api::message::Block>,
    watch: &mut dyn FnMut(Event),
) -> Result<String> {
    let answer = agent.turn(task, watch)?;
    finish_tasks(agent, OnEnd::Wait, answer, watch)
}

fn fail_with_tasks(agent: &mut Agent) -> Result<()> {
    agent.has_results();
    for task in agent.tasks().list() {
        let id = &task.id;
        match task.status() {
            Status::Running => {
                return Err(Error::Tasks(format!("task {id} is still running: {}", task.command)));
            }
            _ if !task.has_succeeded() => {
                let status = task.status().name();
                return Err(Error::Tasks(format!("task {id} failed ({status}): {}", task.command)));
            }
            _ => {}
        }
    }
    Ok(())
}
