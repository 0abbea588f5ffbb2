//! What the slash commands do.

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    chat::{Chat, Console},
    follow::Shown,
    line::{self, Slash},
    roster::Roster,
    screen::Typed,
    terminal::usage_line,
};
use crate::{
    background::{Arrival, task::NO_OUTPUT},
    error::{Error, Result},
    session::export,
    stop::Stop,
    text::first,
};

/// How often a followed task is checked for new output.
const LOOK: Duration = Duration::from_millis(200);

/// Runs a slash command. Fails with a stop that ends the program; other errors are shown.
pub fn run(chat: &mut Chat, slash: Slash, argument: &str) -> Result<()> {
    let answer = match slash {
        Slash::Help => Ok(line::help()),
        Slash::Tasks => Ok(from_roster(chat, |roster| roster.table())),
        Slash::Task => Ok(follow(chat, argument)?),
        Slash::Kill => Ok(from_roster(chat, |roster| roster.kill(argument))),
        Slash::Last if chat.last_result.is_empty() => Ok("No tool has run yet.".into()),
        Slash::Last => Ok(chat.last_result.clone()),
        Slash::Model => Ok(model(chat, argument)),
        Slash::Compact => return chat.compact(),
        Slash::Clear => {
            chat.agent.clear();
            Ok("Started over. Background tasks keep running.".into())
        }
        Slash::Resume => resume(chat, argument),
        Slash::Usage => {
            let usage = usage_line(&chat.agent.transcript().usage);
            Ok(format!("Replies in this run: {}\n{usage}", chat.agent.run().turns))
        }
        Slash::Save => save(chat, argument),
        // The prompt loop ends with it.
        Slash::Exit => Ok(String::new()),
    };
    match answer {
        Ok(text) => chat.terminal.line(&text),
        Err(err) => chat.terminal.error(&err),
    }
    Ok(())
}

/// On a screen, the thread that draws answers at once, even during a turn.
fn from_roster(chat: &Chat, answer: impl FnOnce(&Roster) -> String) -> String {
    match &chat.console {
        Console::Plain { roster, .. } => answer(&roster.borrow()),
        Console::Screen(_) => String::new(),
    }
}

fn model(chat: &mut Chat, id: &str) -> String {
    if id.is_empty() {
        return chat.agent.model().to_owned();
    }
    chat.agent.set_model(id);
    format!("Switched to {id}.")
}

fn resume(chat: &mut Chat, id: &str) -> Result<String> {
    if id.is_empty() {
        return Ok((chat.sessions.table)()?.trim_end().to_owned());
    }
    let transcript = (chat.sessions.open)(id)?;
    let answer = format!("Continuing session {}.", first(&transcript.id, 8));
    chat.agent.resume(transcript);
    Ok(answer)
}

/// Never overwrites a file.
fn save(chat: &Chat, path: &str) -> Result<String> {
    if path.is_empty() {
        return Ok("Usage: /save FILE".into());
    }
    let text = export::markdown(&chat.agent.transcript().messages());
    let written = File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|err| Error::File { doing: "write file", path: PathBuf::from(path), err })?;
    Ok(format!("Saved to {path}."))
}

/// Shows the output of a task: on a screen until it ends or a key is pressed, elsewhere what there is.
/// Returns what is left to say. Fails with a stop that ends the program.
fn follow(chat: &mut Chat, id: &str) -> Result<String> {
    let fits = |id_of: &str| !id.is_empty() && id_of.starts_with(id);
    let found = chat.agent.tasks().list().find(|task| fits(&task.id));
    let Some(id) = found.map(|task| task.id.clone()) else {
        return Ok(format!("No task `{id}`; `/tasks` lists them."));
    };
    let mut shown = Shown::default();
    let mut has_output = show_new(chat, &id, &mut shown);
    if let Console::Screen(screen) = &chat.console
        && !is_over(chat, &id)
    {
        screen.follow();
        chat.terminal.line("(press any key to stop)");
        while !is_over(chat, &id) && keep_looking(chat)? {
            has_output |= show_new(chat, &id, &mut shown);
        }
    }
    Ok(if has_output { String::new() } else { NO_OUTPUT.into() })
}

/// Waits for more output. Returns whether to go on. Fails with a stop that ends the program.
fn keep_looking(chat: &mut Chat) -> Result<bool> {
    let Console::Screen(screen) = &chat.console else {
        return Ok(false);
    };
    match chat.agent.wait(&screen.typed, Some(Instant::now() + LOOK)) {
        Arrival::Message(Typed::Typing(_)) | Arrival::Task | Arrival::TimedOut => Ok(true),
        Arrival::Message(_) | Arrival::Closed | Arrival::Stopped(Stop::Interrupted) => Ok(false),
        Arrival::Stopped(stop) => Err(Error::Stopped(stop)),
    }
}

fn is_over(chat: &Chat, id: &str) -> bool {
    chat.agent.tasks().find(id).is_none_or(|task| task.is_gone())
}

/// Shows what the task has printed since the last call. Returns whether there was something.
fn show_new(chat: &mut Chat, id: &str, shown: &mut Shown) -> bool {
    let Some(task) = chat.agent.tasks().find(id) else {
        return false;
    };
    let output = task.output();
    if output == NO_OUTPUT {
        return false;
    }
    let new = shown.take_new(&output, task.left_out());
    let new = new.trim_matches('\n');
    chat.terminal.line(new);
    !new.is_empty()
}
