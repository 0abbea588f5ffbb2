//! What a command runs in the end: behind wrappers (`env`, `timeout`), and in scripts (`sh -c`, `find -exec`). Pure.

use super::shell::{SimpleCommand, simple_commands};

/// The scripts in a text are read up to this many times its length: a script may be part of several others.
const MOST_SCRIPTS: usize = 32;

/// Commands that run their arguments, the short options of each that take a value, and the number of words before
/// the command.
const WRAPPERS: [(&str, &str, usize); 14] = [
    ("env", "uC", 0),
    ("nohup", "", 0),
    ("exec", "a", 0),
    ("command", "", 0),
    ("builtin", "", 0),
    ("time", "fo", 0),
    ("nice", "n", 0),
    ("ionice", "cnpPu", 0),
    ("timeout", "ks", 1),
    ("setsid", "", 0),
    ("xargs", "IdEaLnPs", 0),
    ("stdbuf", "ioe", 0),
    ("flock", "wE", 1),
    ("busybox", "", 0),
];

/// The long options of these that take a value in the next word.
const LONG_WITH_VALUE: &str = "--unset --chdir --signal --kill-after --adjustment --class --classdata --input \
    --output --error --max-args --max-procs --max-chars --arg-file --delimiter --wait --timeout";

const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "zsh", "ksh"];

const KEYWORDS: [&str; 9] = ["if", "then", "elif", "else", "while", "until", "do", "!", "{"];

/// The simple commands in `text`, in its substitutions, and in the scripts that they run.
pub fn all_commands(text: &str) -> Vec<SimpleCommand> {
    let mut all = simple_commands(text);
    let mut room = text.len() * MOST_SCRIPTS;
    let mut at = 0;
    while at < all.len() {
        if let Some(script) = script(&all[at])
            && let Some(left) = room.checked_sub(script.len())
        {
            room = left;
            all.extend(simple_commands(&script));
        }
        at += 1;
    }
    all
}

/// The name of a program without its folder.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether `word` is a short option or several, `letter` among them: `-c`, `-xc`.
pub fn is_option_with(word: &str, letter: char) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains(letter)
}

/// The words of the command that is run in the end, without assignments, keywords and wrappers before it.
pub fn unwrapped(command: &SimpleCommand) -> &[String] {
    let mut words = &command.words[..];
    while let Some((first, rest)) = words.split_first() {
        let name = base_name(first);
        let is_assignment = first.split_once('=').is_some_and(|(name, _)| is_name(name));
        words = match WRAPPERS.iter().find(|(wrapper, ..)| *wrapper == name) {
            // These options tell what would be run.
            Some(("command", ..)) if rest.first().is_some_and(|o| o == "-v" || o == "-V") => {
                return words;
            }
            Some((_, with_value, before)) => wrapped(rest, with_value, *before),
            None if is_assignment || KEYWORDS.contains(&name) => rest,
            None => return words,
        };
    }
    words
}

/// The script that the command runs: an argument of it, or the standard input of a shell.
fn script(command: &SimpleCommand) -> Option<String> {
    let (name, arguments) = unwrapped(command).split_first()?;
    let is_plain = |argument: &&String| !argument.starts_with(['-', '+']);
    match base_name(name) {
        "eval" => Some(arguments.join(" ")),
        "trap" => arguments.iter().find(is_plain).cloned(),
        "find" => Some(find_script(arguments)),
        // The rest of `flock FILE -c SCRIPT`.
        "-c" => arguments.first().cloned(),
        name if SHELLS.contains(&name) => {
            let mut rest = arguments.iter();
            if rest.any(|argument| is_option_with(argument, 'c')) {
                return rest.find(is_plain).cloned();
            }
            // If the first argument is the file of a script, the input is for that script.
            let is_file = arguments.first().is_some_and(|first| is_plain(&first));
            (!is_file).then(|| command.inputs.concat())
        }
        _ => None,
    }
}

/// The command that a wrapper runs: the words after its options and `before` words more.
fn wrapped<'a>(mut words: &'a [String], with_value: &str, before: usize) -> &'a [String] {
    while let Some((option, rest)) = words.split_first()
        && option.starts_with('-')
    {
        let takes_next = if option.starts_with("--") {
            LONG_WITH_VALUE.split(' ').any(|long| long == option)
        } else {
            option.find(|c| with_value.contains(c)) == Some(option.len() - 1)
        };
        words = rest.get(usize::from(takes_next)..).unwrap_or_default();
        if option == "--" {
            break;
        }
    }
    words.get(before..).unwrap_or_default()
}

/// A script with the commands that `find` runs, one on each line.
fn find_script(arguments: &[String]) -> String {
    let mut script = String::new();
    let mut runs = false;
    for word in arguments {
        if word.starts_with("-exec") || word.starts_with("-ok") {
            runs = true;
            script.push('\n');
        } else if word == ";" || word == "+" {
            runs = false;
        } else if runs {
            script += &format!("'{}' ", word.replace('\'', "'\\''"));
        }
    }
    script
}

fn is_name(word: &str) -> bool {
    !word.starts_with(|c: char| c.is_ascii_digit())
        && !word.is_empty()
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&[&str]]) {
        let words: Vec<Vec<String>> = all_commands(text).into_iter().map(|command| command.words).collect();
        assert_eq!(words, expected);
    }

    #[test]
    fn scripts_are_read_too() {
        check("sh -c 'a; b'", &[&["sh", "-c", "a; b"], &["a"], &["b"]]);
        check("flock x -c a", &[&["flock", "x", "-c", "a"], &["a"]]);
        let commands = all_commands(&"sh -c '".repeat(1000));
        assert!(commands.len() < 2000, "{}", commands.len());
    }
}
