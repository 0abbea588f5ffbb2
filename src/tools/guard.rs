//! Refuses commands that are plainly destructive. It is no sandbox: it catches a model that errs, not one that hides.
//!
//! It looks at shell words, not at text: `echo "sudo"` and `rm -rf /tmp/x` pass, and
//! `cd /; env X=1 "rm" -r -f /` does not.

use std::{fs, os::unix::fs::FileTypeExt};

use super::{
    Answer,
    shell_words::{SimpleCommand, parse},
};

/// Commands that run their arguments; the short options of each that take a value, and how many words stand
/// before the command.
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

const REFUSED: [&str; 6] = ["sudo", "doas", "shutdown", "reboot", "halt", "poweroff"];

/// Commands that write to the files they name.
const WRITERS: [&str; 8] = ["dd", "tee", "cp", "mv", "shred", "wipefs", "blkdiscard", "truncate"];

/// Names of block devices, as the kernel's device list has them (Documentation/admin-guide/devices.txt).
const BLOCK_DEVICES: [&str; 14] =
    ["sd", "hd", "vd", "xvd", "nvme", "mmcblk", "dm-", "md", "loop", "sr", "nbd", "zram", "disk/", "mapper/"];

/// An error for the model when a part of `command` is plainly destructive.
pub fn check(command: &str) -> Result<(), Answer> {
    match is_dangerous(command, 0) {
        true => Err(Answer::error("Dangerous command blocked")),
        false => Ok(()),
    }
}

fn is_dangerous(text: &str, depth: usize) -> bool {
    // Nothing sensible is nested deeper than this.
    depth > 8 || parse(text).iter().any(|command| command_is_dangerous(command, depth))
}

fn command_is_dangerous(command: &SimpleCommand, depth: usize) -> bool {
    if command.targets.iter().any(|target| is_block_device(target)) {
        return true;
    }
    let words = unwrap(&command.words);
    let Some((name, arguments)) = words.split_first() else {
        return false;
    };
    if let Some(script) = nested_script(words, &command.inputs) {
        return is_dangerous(&script, depth + 1);
    }
    match base_name(name) {
        "rm" => removes_everything(arguments),
        name if WRITERS.contains(&name) || name.starts_with("mkfs") => arguments
            .iter()
            .any(|a| is_block_device(a.strip_prefix("of=").unwrap_or(a)) && !a.starts_with("if=")),
        name => REFUSED.contains(&name),
    }
}

/// The script that `sh -c SCRIPT`, `eval SCRIPT`, `trap SCRIPT` or `find -exec COMMAND` runs, or that a shell
/// reads from `inputs`.
pub fn nested_script(words: &[String], inputs: &[String]) -> Option<String> {
    let (name, arguments) = words.split_first()?;
    let is_plain = |argument: &&String| !argument.starts_with(['-', '+']);
    match base_name(name) {
        "eval" => Some(arguments.join(" ")),
        "trap" => arguments.iter().find(is_plain).cloned(),
        "find" => {
            let mut script = String::new();
            let mut runs = false;
            for word in arguments {
                match word.as_str() {
                    ";" | "+" => runs = false,
                    word if word.starts_with("-exec") || word.starts_with("-ok") => {
                        runs = true;
                        script.push('\n');
                    }
                    word if runs => script += &quoted(word),
                    _ => {}
                }
            }
            Some(script)
        }
        name if SHELLS.contains(&name) || name == "flock" => {
            // A script in a file reads the input itself.
            let is_file = arguments.first().is_some_and(|first| is_plain(&first));
            let mut arguments = arguments.iter();
            match arguments.find(|argument| is_option_with(argument, 'c')) {
                Some(_) => arguments.find(is_plain).cloned(),
                None => Some(inputs.concat()).filter(|_| name != "flock" && !is_file),
            }
        }
        _ => None,
    }
}

/// A word as a shell reads it back, and the blank after it.
fn quoted(word: &str) -> String {
    format!("'{}' ", word.replace('\'', "'\\''"))
}

/// The command that is run in the end: without assignments, keywords and wrappers before it.
pub fn unwrap(mut words: &[String]) -> &[String] {
    const KEYWORDS: [&str; 9] = ["if", "then", "elif", "else", "while", "until", "do", "!", "{"];
    while let Some((first, rest)) = words.split_first() {
        let name = base_name(first);
        let is_assignment = first.split_once('=').is_some_and(|(name, _)| is_name(name));
        words = match WRAPPERS.iter().find(|(wrapper, ..)| *wrapper == name) {
            // It is a script that it runs.
            Some(("flock", ..)) if nested_script(words, &[]).is_some() => return words,
            // It only tells what would be run.
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

/// What stands behind the options of a wrapper, and behind so many words more.
fn wrapped<'a>(mut words: &'a [String], with_value: &str, before: usize) -> &'a [String] {
    while let Some((option, rest)) = words.split_first()
        && option.starts_with('-')
    {
        let takes_next = match option.starts_with("--") {
            true => LONG_WITH_VALUE.split(' ').any(|long| long == option),
            false => option.find(|c| with_value.contains(c)) == Some(option.len() - 1),
        };
        words = rest.get(usize::from(takes_next)..).unwrap_or_default();
        if option == "--" {
            break;
        }
    }
    words.get(before..).unwrap_or_default()
}

fn removes_everything(arguments: &[String]) -> bool {
    let mut recursive = false;
    let mut everything = false;
    let mut only_operands = false;
    for argument in arguments {
        match argument.as_str() {
            "--" => only_operands = true,
            "--no-preserve-root" => return true,
            "--recursive" => recursive = true,
            option if option.starts_with('-') && !only_operands => {
                recursive |= is_option_with(option, 'r') || is_option_with(option, 'R');
            }
            operand => everything |= is_root_or_home(operand),
        }
    }
    recursive && everything
}

/// `/`, `//`, `/.`, `/*` and the like, and the home folder as a whole.
fn is_root_or_home(path: &str) -> bool {
    let home = std::env::var("HOME").unwrap_or_default();
    let path = path.trim_end_matches('*');
    let from_home = ["~", "$HOME", "${HOME}", home.as_str()]
        .iter()
        .find_map(|home| (!home.is_empty() && *home != "/").then(|| path.strip_prefix(home))?);
    let (rest, needs_slash) = match from_home {
        Some(rest) => (rest, false),
        None => (path, true),
    };
    let only_dots = rest.split('/').all(|part| matches!(part, "" | "." | ".."));
    only_dots && (!needs_slash || rest.starts_with('/'))
}

fn is_block_device(path: &str) -> bool {
    let Some(name) = path.strip_prefix("/dev/") else {
        return false;
    };
    BLOCK_DEVICES.iter().any(|prefix| name.starts_with(prefix))
        || fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `-c`, or `-xc`: a short option among others.
fn is_option_with(word: &str, letter: char) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.contains(letter)
}

fn is_name(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with(|c: char| c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destructive_commands_are_refused() {
        let refused = [
            "rm -rf /",
            "rm -rf / --help",
            "rm -r -f //",
            "rm --recursive /*",
            "\"rm\" -fr '/'",
            "cd /tmp && rm -Rf /.",
            "rm -rf ~",
            "rm -rf \"$HOME\"/",
            "rm --no-preserve-root x",
            "sudo ls",
            "X=1 sudo ls",
            "true; /usr/bin/sudo ls",
            "echo a | sudo tee b",
            "env A=b sudo ls",
            "nohup nice -n 5 sudo ls &",
            "timeout 5 reboot",
            "if true; then shutdown now; fi",
            "(reboot)",
            "echo $(sudo id)",
            "echo \"`sudo id`\"",
            "echo $(echo ')'; sudo id)",
            "echo \"$(printf \"(it's\"; sudo id)\"",
            "sh -c 'rm -rf /'",
            "bash -xc \"sudo ls\"",
            "eval 'rm -rf' /",
            "find . | xargs rm -rf /",
            "xargs -I {} sudo ls {}",
            "env -u X -i A=1 sudo ls",
            "timeout -s KILL 5 sudo ls",
            "stdbuf -o L sudo ls",
            "stdbuf -oL nice -n 5 sudo ls",
            "flock -w 5 lock sudo ls",
            "timeout --signal KILL 5 sudo ls",
            "env --unset X --ignore-environment sudo ls",
            "xargs -0I {} sudo ls {}",
            "sh -c +e 'sudo ls'",
            "find . -exec true \\; -exec sudo ls \\;",
            "cat <<EOF\n\"$(sudo ls)\"\nEOF",
            "sh <<EOF\nsudo ls\nEOF",
            "bash -e <<'EOF' | cat\nsudo ls\nEOF",
            "sh <<< 'sudo ls'",
            "git commit -m \"$(cat <<'EOF'\nDon't crash (3\" disks\nEOF\n)\" && sudo ls",
            "echo $(cat <<-A <<B; ls\nit's\n\tA\n\"\nB\n)\nsudo ls",
            "echo $(cat <<EOF\n$(sudo ls)\nEOF\n)",
            "echo \"$(cat <<<'EOF')\"\nsudo ls",
            "echo $((1<<2))\nsudo ls",
            "flock lock -c 'sudo ls'",
            "sh -c -e 'sudo ls'",
            "sh -c -- 'sudo ls'",
            "trap 'sudo ls' EXIT",
            "find . -name x -exec sudo rm {} \\;",
            "find / -exec rm -rf / +",
            "dd if=/dev/zero of=/dev/sda",
            "echo x > /dev/sda1",
            "cat a >>/dev/nvme0n1",
            "mkfs.ext4 /dev/vdb",
            "su\\do ls",
        ];
        for command in refused {
            assert!(check(command).is_err(), "{command} must be refused");
        }
    }

    #[test]
    fn ordinary_commands_pass() {
        let passed = [
            "",
            "ls > /dev/null 2>&1",
            "rm -rf /tmp/x",
            "rm -rf ./x /tmp/y/*",
            "rm -rf ~/project/target",
            "rm /",
            "echo \"sudo\"",
            "echo sudo reboot",
            "grep -r sudo .",
            "git commit -m 'rm -rf /'",
            "# sudo ls",
            "cat <<EOF\nsudo ls\nEOF",
            "dd if=/dev/sda of=disk.img",
            "cp a b; mv c d",
            "which sudo",
            "command -v sudo",
            "cat <<'EOF'\n$(sudo ls)\nEOF",
            "cat <<EOF\n\\$(sudo ls)\nEOF",
            "sh -c 'cat >x' <<EOF\nsudo ls\nEOF",
            "cat > notes <<EOF\n\tEOF\nsudo is needed\nEOF",
            "bash deploy.sh <<EOF\nreboot\nEOF",
            "xargs --null grep sudo",
            "echo 'a;sudo b'",
            "find / -name sudo",
            "find . -name sudo -exec grep -l 'sudo' {} +",
            "timeout 5 grep sudo x",
            "xargs -n 1 grep sudo",
            "trap - EXIT",
            "./shutdown.sh",
            "unfinished 'quote",
            "echo $(echo '); sudo id')",
            "echo $((1+2)) ${x:-y}",
        ];
        for command in passed {
            assert!(check(command).is_ok(), "{command} must pass");
        }
    }
}
