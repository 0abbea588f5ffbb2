//! Refuses commands that are plainly destructive. This is no sandbox: it stops a model that errs, not one that hides.
//!
//! It looks at words, not at text: `echo "sudo"` and `rm -rf /tmp/x` pass, and `cd /; env X=1 "rm" -r -f /` does not.

use std::{fs, os::unix::fs::FileTypeExt};

use super::Answer;
use super::scripts::{all_commands, base_name, is_option_with, unwrapped};
use super::shell::SimpleCommand;

const REFUSED: [&str; 6] = ["sudo", "doas", "shutdown", "reboot", "halt", "poweroff"];

/// Commands that write to the files they name.
const WRITERS: [&str; 8] = ["dd", "tee", "cp", "mv", "shred", "wipefs", "blkdiscard", "truncate"];

/// Names of block devices, as the kernel's device list has them (Documentation/admin-guide/devices.txt).
const BLOCK_DEVICES: [&str; 14] =
    ["sd", "hd", "vd", "xvd", "nvme", "mmcblk", "dm-", "md", "loop", "sr", "nbd", "zram", "disk/", "mapper/"];

/// Fails with an answer for the model if a part of `command` is plainly destructive.
pub fn check(command: &str) -> Result<(), Answer> {
    if all_commands(command).iter().any(is_dangerous) {
        return Err(Answer::error("Dangerous command blocked"));
    }
    Ok(())
}

fn is_dangerous(command: &SimpleCommand) -> bool {
    if command.targets.iter().any(|target| is_block_device(target)) {
        return true;
    }
    let Some((name, arguments)) = unwrapped(command).split_first() else { return false };
    match base_name(name) {
        "rm" => removes_everything(arguments),
        name if WRITERS.contains(&name) || name.starts_with("mkfs") => {
            arguments.iter().any(|argument| is_block_device(argument.strip_prefix("of=").unwrap_or(argument)))
        }
        name => REFUSED.contains(&name),
    }
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
    let rest = from_home.unwrap_or(path);
    let only_dots = rest.split('/').all(|part| matches!(part, "" | "." | ".."));
    only_dots && (from_home.is_some() || path.starts_with('/'))
}

fn is_block_device(path: &str) -> bool {
    let Some(name) = path.strip_prefix("/dev/") else { return false };
    BLOCK_DEVICES.iter().any(|prefix| name.starts_with(prefix))
        || fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

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

    /// The words of destructive commands.
    const DESTRUCTIVE: [&[&str]; 10] = [
        &["rm", "-rf", "/"],
        &["rm", "-r", "-f", "//"],
        &["rm", "--recursive", "--", "/."],
        &["rm", "--no-preserve-root", "x"],
        &["sudo", "ls"],
        &["/usr/bin/doas", "ls"],
        &["reboot"],
        &["dd", "if=/dev/zero", "of=/dev/sda"],
        &["mkfs.ext4", "/dev/nvme0n1"],
        &["tee", "/dev/vda1"],
    ];

    /// Commands that hand on a quoted text and do nothing else with it; `@` is the text.
    const QUOTING: [&str; 6] = [
        "echo '@'",
        "git commit -m '@'",
        "grep -r -- '@' src",
        "printf %s x'@'y",
        "x='@' true",
        "cat <<'END' > x\n@\nEND\n",
    ];

    /// Harmless commands; some quote characters that would mean something without the quotes.
    const NEIGHBORS: [&str; 11] = [
        "true",
        "ls -l > /dev/null 2>&1",
        "echo 'a;b)'",
        "echo \"(it's)\"",
        "cd /tmp",
        "X=1",
        "rm -rf /tmp/x",
        "test -n \"$(ls)\"",
        "echo a\\)b",
        "echo ${X:-y} $((1+2))",
        "grep -c '\"' a",
    ];

    /// Texts around a command that let it run; `@` is the command, `'@'` the command in quotes, `%` a neighbor.
    const WRAPPINGS: [&str; 30] = [
        "%; @",
        "@; %",
        "% && @",
        "% || @ || %",
        "%\n@\n%",
        "% & @ &",
        "@ | %",
        "(@)",
        "( %; @ )",
        "{ @; }",
        "! @",
        "if @; then %; fi",
        "if %; then @; else %; fi",
        "while %; do @; done",
        "for i in 1 2; do @; done",
        "f() { @; }; f",
        "%; echo $(@)",
        "echo \"$(%; @)\"",
        "x=$(@)",
        "cat <(@)",
        "@ # comment\n",
        "# it's a comment\n@",
        "cat <<X\nit's text)\nX\n@",
        "case a in a) @;; esac",
        "\t%;@;\n",
        "echo `@`",
        "sh -c '@'",
        "bash -xc '@'",
        "eval '@'",
        "trap '@' EXIT",
    ];

    const PREFIXES: [&str; 10] = [
        "",
        "X=1 ",
        "X='a b' Y=$Z ",
        "env ",
        "env A=b ",
        "nohup ",
        "command ",
        "exec ",
        "2>/dev/null ",
        "timeout 5 ",
    ];

    const PIECES: [&str; 24] = [
        "rm -rf /", "sudo ls", "reboot", ";", "&&", "|", "\n", "(", ")", "$(", "${", "`", "\"", "\\", ">",
        "<<X\n", "/dev/sda", "#", "{", "}", " ", "é", "eval ", "sh -c ",
    ];

    type Wrappings = Vec<(&'static str, &'static str)>;

    fn wrappings(most: usize) -> impl Strategy<Value = Wrappings> {
        vec((select(&WRAPPINGS[..]), select(&NEIGHBORS[..])), 0..most)
    }

    /// The command in these wrappings, the first one innermost.
    fn wrapped(command: String, wrappings: Wrappings) -> String {
        wrappings.into_iter().fold(command, |command, (wrapping, neighbor)| {
            // For the guard a parenthesis of `case` ends a substitution, and backquotes can't be in backquotes.
            let in_substitution = ["$(", "<(", "`"].iter().any(|start| wrapping.contains(start));
            let is_beyond = in_substitution && command.contains("esac")
                || wrapping.contains('`') && command.contains(['`', '\\']);
            if is_beyond {
                return command;
            }
            let quoted = format!("'{}'", command.replace('\'', r"'\''"));
            let wrapping = wrapping.replace('%', neighbor);
            if wrapping.contains("'@'") {
                wrapping.replace("'@'", &quoted)
            } else {
                wrapping.replace('@', &command)
            }
        })
    }

    /// The word with quotes that a shell removes again.
    fn disguised(word: &str, quotes: &[u8]) -> String {
        let disguise = |(c, quote): (char, &u8)| match quote {
            0 => format!("\\{c}"),
            1 => format!("'{c}'"),
            2 => format!("\"{c}\""),
            3 => format!("\"\"{c}''"),
            4 => format!("\\\n{c}"),
            _ => format!("{c}"),
        };
        word.chars().zip(quotes).map(disguise).collect()
    }

    proptest! {
        #[test]
        fn a_destructive_command_is_refused_however_it_is_wrapped(
            words in select(&DESTRUCTIVE[..]),
            quotes in prop_oneof![Just(vec![9; 20]), vec(0..8u8, 20)],
            prefix in select(&PREFIXES[..]),
            wrappings in wrappings(4),
        ) {
            let words: Vec<String> = words.iter().map(|word| disguised(word, &quotes)).collect();
            let command = wrapped(format!("{prefix}{}", words.join(" ")), wrappings);
            assert!(check(&command).is_err(), "{command} must be refused");
        }

        #[test]
        fn quoted_text_is_never_refused(
            text in vec(select(&PIECES[..]), 0..8),
            quoting in select(&QUOTING[..]),
            wrappings in wrappings(3),
        ) {
            let command = wrapped(quoting.replace('@', &text.concat()), wrappings);
            assert!(check(&command).is_ok(), "{command} must pass");
        }

        #[test]
        fn what_is_read_grows_with_the_text(
            pieces in vec(prop_oneof![select(&PIECES[..]), select(&WRAPPINGS[..])], 0..16),
            times in 1..200usize,
        ) {
            let text = pieces.concat().repeat(times);
            let length = |command: &SimpleCommand| {
                command.words.iter().chain(&command.targets).chain(&command.inputs).map(String::len).sum::<usize>()
            };
            // Here-documents may stand in one another, and are then read by several commands.
            assert!(all_commands(&text).iter().map(length).sum::<usize>() <= 100 * text.len(), "{text}");
        }
    }
}
