//! What a line typed at the prompt means, and the table of slash commands.
//!
//! Dispatch, `/help`, completion and suggestions all read this one table.

use crate::cli::args::Effort;

/// The meaning of a line.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    Empty,
    /// A slash command and its argument, which may be empty.
    Slash(Slash, &'a str),
    /// Looks like a slash command but is not in the table.
    Unknown(&'a str),
    /// `!COMMAND`: a shell command, which may be empty.
    Shell(&'a str),
    Message(&'a str),
}

/// A slash command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slash {
    Help,
    Tasks,
    Task,
    Kill,
    Last,
    Model,
    Effort,
    Compact,
    Clear,
    Resume,
    Usage,
    Save,
    Exit,
}

/// A row of the table: a slash command as it is typed, and what it does.
struct Row {
    slash: Slash,
    name: &'static str,
    argument: &'static str,
    help: &'static str,
    /// The words that the argument can be; empty if it can be anything.
    words: &'static [&'static str],
}

const TABLE: [Row; 13] = [
    row(Slash::Help, "/help", "", "show this list"),
    row(Slash::Tasks, "/tasks", "", "list the background tasks"),
    row(Slash::Task, "/task", "ID", "show a task's output, live until a key is pressed"),
    row(Slash::Kill, "/kill", "ID", "end a task"),
    row(Slash::Last, "/last", "[thinking]", "show the last tool result in full, or what the model thought")
        .takes(&["thinking"]),
    row(Slash::Model, "/model", "[ID]", "show the model, or switch to another"),
    row(Slash::Effort, "/effort", "[LEVEL]", "show how hard the model works, or change it").takes(&EFFORTS),
    row(Slash::Compact, "/compact", "", "summarize the conversation"),
    row(Slash::Clear, "/clear", "", "start over"),
    row(Slash::Resume, "/resume", "[ID]", "list the sessions, or continue one"),
    row(Slash::Usage, "/usage", "", "show the tokens used"),
    row(Slash::Save, "/save", "FILE", "write the conversation to FILE as Markdown"),
    row(Slash::Exit, "/exit", "", "exit; so do `exit`, `q` and Ctrl-D"),
];

/// The argument of `/effort` that takes back what was asked for.
pub const NO_EFFORT: &str = "default";
const EFFORTS: [&str; 6] = {
    let [low, medium, high, xhigh, max] = Effort::NAMES;
    [low, medium, high, xhigh, max, NO_EFFORT]
};

const OTHER_HELP: &str = "  !COMMAND         run a command yourself; the model sees the result
  @PATH            in a message: attach the file
End a line with `\\`, or press Alt-Enter, to add another line. Ctrl-R searches the
history. Ctrl-C interrupts; press it twice to exit. Messages typed while it works
are queued.";

const fn row(slash: Slash, name: &'static str, argument: &'static str, help: &'static str) -> Row {
    Row { slash, name, argument, help, words: &[] }
}

impl Row {
    const fn takes(self, words: &'static [&'static str]) -> Row {
        Row { words, ..self }
    }
}

/// What the line means.
pub fn parse(line: &str) -> Line<'_> {
    let line = line.trim();
    if let Some(command) = line.strip_prefix('!') {
        return Line::Shell(command.trim());
    }
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if let Some(row) = TABLE.iter().find(|row| row.name == name) {
        return Line::Slash(row.slash, argument.trim());
    }
    match line {
        "" => Line::Empty,
        "exit" | "q" => Line::Slash(Slash::Exit, ""),
        _ if is_command_name(name) => Line::Unknown(name),
        _ => Line::Message(line),
    }
}

/// False for the first word of `/usr/bin/env is missing`.
fn is_command_name(word: &str) -> bool {
    let letters = word.strip_prefix('/').unwrap_or_default();
    !letters.is_empty() && letters.chars().all(|c| c.is_ascii_lowercase())
}

/// The path in a word of a message like `@src/main.rs`.
pub fn attached_path(word: &str) -> Option<&str> {
    word.strip_prefix('@')
}

/// The names of the slash commands that begin with `start`.
pub fn names(start: &str) -> Vec<String> {
    let names = TABLE.iter().map(|row| row.name.to_owned());
    names.filter(|name| name.starts_with(start)).collect()
}

/// The arguments of this slash command that begin with `start`.
pub fn arguments(command: &str, start: &str) -> Vec<String> {
    let words = TABLE.iter().find(|row| row.name == command).map_or(&[][..], |row| row.words);
    words.iter().filter(|word| word.starts_with(start)).map(|word| word.to_string()).collect()
}

/// What `/help` prints.
pub fn help() -> String {
    let rows = TABLE.iter().map(|row| {
        let usage = format!("{} {}", row.name, row.argument);
        format!("  {usage:<17}{}\n", row.help)
    });
    rows.collect::<String>() + OTHER_HELP
}

/// What to say about an unknown command; suggests the nearest name within two typing errors.
pub fn unknown(name: &str) -> String {
    let near = TABLE.iter().map(|row| (distance(name, row.name), row.name)).min();
    let near = near.filter(|(errors, _)| *errors <= 2);
    let guess = near.map(|(_, nearest)| format!(" Did you mean `{nearest}`?")).unwrap_or_default();
    format!("Unknown command `{name}`.{guess} `/help` lists the commands.")
}

/// The Levenshtein distance: how many characters to insert, delete or replace.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_a_message() {
        assert_eq!(parse("/kill  a1b2 "), Line::Slash(Slash::Kill, "a1b2"));
        assert_eq!(parse(" /tasks\n"), Line::Slash(Slash::Tasks, ""));
        assert_eq!(parse("! ls -l "), Line::Shell("ls -l"));
        assert_eq!(parse("/taks now"), Line::Unknown("/taks"));
        assert_eq!(parse(" \n"), Line::Empty);
        for line in ["exit", "q", "/exit"] {
            assert_eq!(parse(line), Line::Slash(Slash::Exit, ""), "{line}");
        }
        for line in ["/", "/usr/bin/env is missing", "kill", "/Kill", "exit now", "see @path"] {
            assert_eq!(parse(line), Line::Message(line));
        }
    }

    #[test]
    fn the_nearest_command_is_suggested() {
        for (name, nearest) in [
            ("/taks", "`/tasks`"),
            ("/quit", "`/exit`"),
            ("/nonsense", ""),
            ("/exti", "`/exit`"),
            ("/modle", "`/model`"),
        ] {
            let said = unknown(name);
            assert_eq!(said.contains("Did you mean"), !nearest.is_empty(), "{said}");
            assert!(said.contains(nearest), "{said}");
        }
    }
}
