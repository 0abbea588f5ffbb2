//! Asking for consent: what is to be done, and what the user says to it.

use std::io::{self, IsTerminal};

use super::diff::diff;
use crate::{
    text::{head_and_tail, visible},
    tools::{
        approval::{Act, Old, What},
        rules::Rule,
    },
};

/// What is longer is shown by its head and tail: nobody reads more before an answer.
const LONGEST: usize = 20_000;

/// What the user is asked: the act, line by line, and what may be answered.
pub fn question(act: &Act, always: &[Rule]) -> String {
    let what = match act.what {
        What::Command(command) => command.to_owned(),
        What::Change(change) => {
            let lines = diff(change.old.text(), &change.new);
            let lines = lines.iter().map(|line| format!("\n{line}"));
            let old = match change.old {
                Old::Nothing => " (new)".into(),
                Old::Text(_) => String::new(),
                Old::Other(bytes) => format!(" (replaces {bytes} bytes that are no text)"),
            };
            format!("{}{old}{}", change.path, lines.collect::<String>())
        }
        What::Read(path) => path.to_owned(),
    };
    let what = visible(&what).into_owned();
    let always: Vec<String> = always.iter().map(Rule::text).collect();
    let always = match always.is_empty() {
        true => String::new(),
        false => format!(", a = always ({})", always.join(", ")),
    };
    format!("{}: {}\ny = yes, n = no{always}, or a reason why not", act.tool, head_and_tail(&what, LONGEST))
}

/// Whether somebody can read a question and answer it.
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
