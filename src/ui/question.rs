//! Asking for consent: what the model wants to do, and the answers the user can give.

use std::io::{self, IsTerminal, Write};
use std::rc::Rc;

use super::{diff::diff, screen::Screen, stdin::Lines};
use crate::text::{head_and_tail, visible};
use crate::tools::approval::{Act, Asker, What};
use crate::tools::change::Old;
use crate::tools::rules::Rule;

/// A longer question is shown by its head and tail, in characters.
const LONGEST: usize = 20_000;

/// Whether somebody can read a question on standard error and answer it.
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on standard error; the next line is the answer.
pub fn on_stderr(lines: Rc<Lines>) -> Asker {
    Box::new(move |act, always| {
        lines.set_aside();
        // Without a reader there will be no answer either.
        let _ = write!(io::stderr(), "{}\n? ", question(act, always));
        lines.received.clone()
    })
}

/// Asks above the prompt of a screen; the next line is the answer.
pub fn on_screen(screen: &Screen) -> Asker {
    let (mut writer, next_line) = (screen.writer(), screen.questions());
    Box::new(move |act, always| {
        let _ = writeln!(writer, "{}", question(act, always));
        next_line()
    })
}

/// The command, the path or the diff, then the possible answers.
fn question(act: &Act, always: &[Rule]) -> String {
    let what = match act.what {
        What::Command(text) | What::Read(text) => text.to_owned(),
        What::Change(change) => {
            let lines = diff(change.old.text(), &change.new);
            let lines = lines.iter().map(|line| format!("\n{line}"));
            let old = match change.old {
                Old::Nothing => " (new)".into(),
                Old::Text(_) => String::new(),
                Old::Other(bytes) => format!(" (replaces {bytes} bytes that are not text)"),
            };
            format!("{}{old}{}", change.path, lines.collect::<String>())
        }
    };
    let what = visible(&what);
    let what = head_and_tail(&what, LONGEST);
    let rules = always.iter().map(Rule::text).collect::<Vec<_>>().join(", ");
    let always = if rules.is_empty() { String::new() } else { format!(", a = always ({rules})") };
    format!("{}: {what}\ny = yes, n = no{always}, or a reason why not", act.tool)
}
