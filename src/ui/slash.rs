//! The commands of the prompt: one table for the help, the completion and the suggestions.

/// Name, argument, what it does.
pub const COMMANDS: [(&str, &str, &str); 12] = [
    ("/help", "", "this"),
    ("/tasks", "", "the background tasks"),
    ("/task", "ID", "what a task prints, live until a key is pressed"),
    ("/kill", "ID", "end a task"),
    ("/last", "", "the whole of the last tool result"),
    ("/model", "[ID]", "the model, or another one from now on"),
    ("/compact", "", "make the conversation smaller, by a summary"),
    ("/clear", "", "begin the conversation anew"),
    ("/resume", "[ID]", "list the sessions, or go on with one"),
    ("/usage", "", "the tokens that were used"),
    ("/save", "FILE", "write the conversation as Markdown"),
    ("/exit", "", "leave; Ctrl-D does too"),
];

const REST: &str = "  !COMMAND       run a command yourself; the model sees the result
  @PATH          in a message: put the file into it
A `\\` at the end of a line, or Alt-Enter, begins another. Ctrl-R searches what
was typed before. Ctrl-C ends what is going on, twice leaves.";

/// The command and its argument; None when the line is no command.
pub fn parse(line: &str) -> Option<(&str, &str)> {
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    // `/usr/bin/env is missing` is a sentence.
    let is_name = name
        .strip_prefix('/')
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase()));
    is_name.then_some((name, argument.trim()))
}

/// What `/help` prints.
pub fn help() -> String {
    let lines = COMMANDS.iter().map(|(name, argument, what)| {
        let usage = format!("{name} {argument}");
        format!("  {usage:<15}{what}\n")
    });
    lines.collect::<String>() + REST
}

/// What is said of a command that there is not.
pub fn unknown(name: &str) -> String {
    let distance = |command: &str| distance(name, command);
    let nearest = COMMANDS.iter().map(|(command, ..)| *command).min_by_key(|command| distance(command));
    match nearest.filter(|command| distance(command) <= 2) {
        Some(nearest) => {
            format!("There is no `{name}`. Did you mean `{nearest}`? `/help` lists the commands.")
        }
        None => format!("There is no `{name}`. `/help` lists the commands."),
    }
}

/// How many characters must be put in, left out or replaced (Levenshtein).
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
    fn a_line_is_a_command_or_a_sentence() {
        assert_eq!(parse("/kill  a1b2 "), Some(("/kill", "a1b2")));
        assert_eq!(parse("/tasks"), Some(("/tasks", "")));
        for line in ["", "/", "/usr/bin/env is missing", "kill", "/Kill"] {
            assert_eq!(parse(line), None, "{line}");
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
