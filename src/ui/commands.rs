//! What the slash commands do.

use std::{fs::File, io::Write, path::PathBuf};

use super::chat::{Chat, Console};
use super::follow::follow;
use super::line::{self, NO_EFFORT, Slash};
use super::roster::Roster;
use super::terminal::usage_line;
use crate::agent::Switch;
use crate::cli::args::Effort;
use crate::error::{Error, Result};
use crate::session::export;
use crate::text::first;

/// Runs a slash command. Fails with a stop that ends the program; other errors are shown.
pub fn run(chat: &mut Chat, slash: Slash, argument: &str) -> Result<()> {
    let answer = match slash {
        Slash::Help => Ok(line::help()),
        Slash::Tasks => Ok(from_roster(chat, |roster| roster.table())),
        Slash::Task => Ok(follow(chat, argument)?),
        Slash::Kill => Ok(from_roster(chat, |roster| roster.kill(argument))),
        Slash::Last => Ok(last(chat, argument)),
        Slash::Model => Ok(model(chat, argument)?),
        Slash::Effort => Ok(effort(chat, argument)),
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
        Console::Plain { roster, .. } => answer(roster),
        Console::Screen(_) => String::new(),
    }
}

fn last(chat: &Chat, what: &str) -> String {
    match what {
        "" if chat.last_result.is_empty() => "No tool has run yet.".into(),
        "" => chat.last_result.clone(),
        "thinking" if chat.last_thinking.trim().is_empty() => "The model has not told what it thinks.".into(),
        "thinking" => chat.last_thinking.trim().to_owned(),
        _ => "Usage: /last [thinking]".into(),
    }
}

/// Fails with a stop that ends the program.
fn model(chat: &mut Chat, id: &str) -> Result<String> {
    if id.is_empty() {
        return Ok(chat.agent.model().to_owned());
    }
    let switch = chat.switch_model(id)?;
    let current = chat.agent.model();
    Ok(match switch {
        Switch::Done => format!("Switched to {id}."),
        Switch::NoSuchModel => format!("The server has no model {id}: {current} stays."),
        Switch::Interrupted => format!("Interrupted: {current} stays."),
    })
}

fn effort(chat: &mut Chat, name: &str) -> String {
    let effort = match name {
        "" => return chat.agent.effort().map_or("the model's own effort", Effort::name).to_owned(),
        NO_EFFORT => None,
        _ => match Effort::from_name(name) {
            Some(effort) => Some(effort),
            None => return format!("Usage: /effort {}|{NO_EFFORT}", Effort::NAMES.join("|")),
        },
    };
    match (chat.agent.set_effort(effort), effort) {
        (Err(why), _) => format!("meanwhile: {why}"),
        (Ok(()), Some(effort)) => format!("The next request asks for effort `{}`.", effort.name()),
        (Ok(()), None) => "The next request asks for no effort.".into(),
    }
}

fn resume(chat: &mut Chat, id: &str) -> Result<String> {
    if id.is_empty() {
        return Ok((chat.sessions.table)()?.trim_end().to_owned());
    }
    // Its file is locked, by this process.
    if chat.agent.transcript().kept_id().is_some_and(|current| current.starts_with(id)) {
        return Ok("This is that session.".into());
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
