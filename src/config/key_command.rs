//! `--key-command`: the user's own command that prints the key, as password managers and company logins have one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::api::credential::{Key, Printed};
use crate::command::capture::{Captured, capture};
use crate::command::exit::Exit;
use crate::command::sandbox::Sandbox;
use crate::command::{start, supervisor};
use crate::secrets::Secrets;

/// A command that waits for a password, or for a network that is down, must not hang the run.
const LIMIT: Duration = Duration::from_secs(30);
/// How much of what a failed command says is repeated, in characters.
const LONGEST_COMPLAINT: usize = 500;

/// The key that `command` prints in `folder`, with the whole environment: it is the user's. Each key that it prints is
/// added to `secrets`.
pub fn printed(command: &str, folder: &Path, secrets: &Secrets) -> Printed {
    let settings = start::Settings {
        folder: folder.to_owned(),
        hidden: Vec::new(),
        open_files: supervisor::open_files(),
        logs: None,
        children: Arc::default(),
        sandbox: Sandbox::default(),
        // What it prints is read as it is.
        secrets: Secrets::default(),
    };
    let (command, secrets) = (command.to_owned(), secrets.clone());
    Printed::new(move || run(&command, &settings, &secrets))
}

/// Runs the command. Fails with its own words if it fails, and if it prints anything but one key.
fn run(command: &str, settings: &start::Settings, secrets: &Secrets) -> Result<Key, String> {
    let captured = capture(command, LIMIT, settings);
    let Captured { exit, stdout, stderr } = captured.map_err(|err| format!("--key-command failed: {err}"))?;
    if exit == Exit::TimedOut(LIMIT) {
        return Err(format!("--key-command printed no key within {} s", LIMIT.as_secs()));
    }
    if exit != Exit::Code(0) {
        let words: Vec<&str> = stderr.split_whitespace().collect();
        let said = secrets.mask(words.join(" ")).chars().take(LONGEST_COMPLAINT).collect::<String>();
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        return Err(format!("--key-command failed ({exit}){said}"));
    }
    let key = printed_key(stdout.trim())
        .ok_or("--key-command has to print one key, or `Bearer` and a token, and nothing else")?;
    key.secret().into_iter().for_each(|key| secrets.add(key.to_owned()));
    Ok(key)
}

/// The key in what was printed: a key, or the word `Bearer` and a token.
fn printed_key(text: &str) -> Option<Key> {
    match text.split_once(' ') {
        Some(("Bearer", token)) => Key::parse(token, Key::Bearer),
        _ => Key::parse(text, Key::Plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_or_a_bearer_token_is_understood() {
        assert_eq!(printed_key("sk-1"), Some(Key::Plain("sk-1".into())));
        assert_eq!(printed_key("Bearer t-1"), Some(Key::Bearer("t-1".into())));
        for printed in ["", "two words", "Bearer ", "a\nb", "schl\u{fc}ssel"] {
            assert_eq!(printed_key(printed), None, "{printed}");
        }
    }
}
