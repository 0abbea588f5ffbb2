//! `-p`: runs one task, with its answer on stdout and everything else on stderr. The result record is written
//! however the run ends.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::attach;
use super::interrupt::Interrupts;
use super::question;
use super::record::Reporter;
use super::stdin::{Lines, SILENCE, read_task};
use super::structured;
use super::terminal::{Terminal, has_color};
use crate::agent::{Agent, Event};
use crate::api::message::Block;
use crate::api::schema::Schema;
use crate::cli::args::{Format, Loudness, OnEnd, RunOptions};
use crate::error::{Error, Result};
use crate::stop::Stop;

/// Runs one task to its end with the agent that `make_agent` builds. Fails with what ended the run early.
pub fn print(
    run: &RunOptions,
    schema: Option<&Schema>,
    make_agent: impl FnOnce(&Interrupts) -> Result<Agent>,
) -> Result<()> {
    let mut reporter = Reporter::new(run.format, schema.is_some());
    let task = || {
        let interrupts = Interrupts::listen(run.max_time)?;
        let mut agent = make_agent(&interrupts)?;
        if run.format == Format::StreamJson {
            agent.show_thinking();
        }
        if run.asks && question::is_possible() {
            agent.ask(question::on_stderr(Lines::read()?));
        }
        let outcome = do_task(run, schema, &mut agent, &interrupts, &mut reporter);
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
pub fn report_early_failure(err: Error, format: Format) -> Result<()> {
    let outcome = Err(err);
    let _ = Reporter::new(format, false).finish(&outcome);
    outcome.map(drop)
}

fn do_task(
    run: &RunOptions,
    schema: Option<&Schema>,
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
    // What is piped in beside a prompt or a file is data, and not the user's words.
    let words = usize::from(run.prompt.is_some()) + usize::from(run.file.is_some());
    let (content, notices) = attach::with_pictures(content, words.max(1));
    notices.iter().for_each(|notice| stderr.line(&format!("meanwhile: {notice}")));
    let mut unshown = String::new();
    let mut watch = |event: Event| {
        if reporter.event(&event).is_err() {
            let _ = interrupts.sender.try_send(Stop::OutputClosed);
        }
        match event {
            // Only a complete reply is shown.
            Event::Request | Event::Thinking(_) | Event::Text(_) | Event::Discarded => {}
            // A task is shown by its call and its result; what takes a message back ends the run with an error.
            Event::TaskStarted { .. } | Event::TaskEnded(_) | Event::TakenBack(_) => {}
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
            Event::Web(_) => stderr.show(event),
            // Text before this event is not the answer.
            event => {
                stderr.said(&std::mem::take(&mut unshown));
                stderr.show(event);
            }
        }
    };
    let said = run_to_end(agent, content, run.on_end, &mut watch)?;
    match schema {
        Some(schema) => structured_answer(agent, schema, said, run.on_end, &mut watch),
        None => Ok(said),
    }
}

/// Returns the JSON in what the model has said at the end. If it does not fit, asks for it once more.
fn structured_answer(
    agent: &mut Agent,
    schema: &Schema,
    said: String,
    on_end: OnEnd,
    watch: &mut dyn FnMut(Event),
) -> Result<String> {
    let problem = match structured::find(schema, &said) {
        Ok(json) => return Ok(json.to_owned()),
        Err(problem) => problem,
    };
    watch(Event::Notice(&format!("the answer does not fit the schema: {problem}; asking once more")));
    let said = run_to_end(agent, vec![structured::ask_again(schema, &problem)], on_end, watch)?;
    match structured::find(schema, &said) {
        Ok(json) => Ok(json.to_owned()),
        Err(problem) => Err(Error::Unfit { problem, said }),
    }
}

/// Runs a task, and does with its background tasks what `on_end` says when the model is done. Returns the last
/// answer that has a text.
pub fn run_to_end(
    agent: &mut Agent,
    mut content: Vec<Block>,
    on_end: OnEnd,
    watch: &mut dyn FnMut(Event),
) -> Result<String> {
    let mut answer = String::new();
    loop {
        let last = agent.turn(content, watch)?;
        if !last.is_empty() {
            answer = last;
        }
        match on_end {
            OnEnd::Wait => agent.wait_for_tasks(watch)?,
            OnEnd::Fail => fail_with_tasks(agent)?,
            OnEnd::Kill => {}
        }
        // The model must read every result, or it is lost.
        if !agent.has_results() {
            return Ok(answer);
        }
        content = Vec::new();
    }
}

/// Fails if a background task still runs or has not succeeded.
fn fail_with_tasks(agent: &mut Agent) -> Result<()> {
    // Takes note of the tasks that have ended.
    agent.has_results();
    let Some(task) = agent.tasks().list().find(|task| !task.has_succeeded()) else {
        return Ok(());
    };
    let state = task.end().map_or("is still running".into(), |end| format!("failed: {end}"));
    Err(Error::Tasks(format!("task {} {state}: {}", task.id, task.command)))
}
