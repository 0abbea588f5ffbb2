//! The guard: a destructive command is refused in any wrapping, quoted text never, and no text takes long.

use std::time::{Duration, Instant};

use super::{
    check,
    inputs::{damage, joined, once_in, one},
    random::Random,
};
use crate::tools::{guard, shell_words};

/// Their words: what a shell makes of quotes around them changes nothing.
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

/// Commands that quote a text and do nothing with it but hand it on; `@` is the text.
const QUOTING: [&str; 5] =
    ["echo '@'", "git commit -m '@'", "grep -r -- '@' src", "printf %s x'@'y", "x='@' true"];

/// Harmless, whatever follows; some have quotes with what would mean something outside of them.
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

/// What stands around a command that runs all the same; `@` is the command, `%` a neighbor.
const WRAPPINGS: [&str; 25] = [
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
];

/// What may stand before the first word of a simple command.
const PREFIXES: [&str; 9] = [
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

fn wrap(random: &mut Random, command: &str) -> String {
    match random.below(8) {
        0 => format!("sh -c {}", quoted(command)),
        1 => format!("bash -xc {}", quoted(command)),
        2 => format!("eval {}", quoted(command)),
        3 if !command.contains(['`', '\\']) => format!("echo `{command}`"),
        _ => {
            // A comment or a here-document inside of parentheses is beyond the guard.
            let plain: Vec<&str> = WRAPPINGS.iter().copied().filter(|w| fits(w, command)).collect();
            let wrapping = one(random, &plain).replace('%', one(random, &NEIGHBORS));
            wrapping.replace('@', command)
        }
    }
}

/// The parentheses of a substitution are matched without a look at comments, `case` and here-documents.
fn fits(wrapping: &str, command: &str) -> bool {
    let substitutes = wrapping.contains("$(") || wrapping.contains("<(");
    !(substitutes && ["#", "<<", "esac"].iter().any(|hidden| command.contains(hidden)))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The word with quotes that a shell takes away again.
fn disguised(random: &mut Random, word: &str) -> String {
    let mut text = String::new();
    for c in word.chars() {
        match random.below(8) {
            0 => text += &format!("\\{c}"),
            1 => text += &format!("'{c}'"),
            2 => text += &format!("\"{c}\""),
            3 => text += &format!("\"\"{c}''"),
            4 => text += &format!("\\\n{c}"),
            _ => text.push(c),
        }
    }
    text
}

#[test]
fn a_destructive_command_is_refused_however_it_is_wrapped() {
    check("a_destructive_command_is_refused_however_it_is_wrapped", 800, |random| {
        let words = DESTRUCTIVE[random.below(DESTRUCTIVE.len() as u64) as usize];
        let is_plain = once_in(random, 2);
        let words = words.iter().map(|word| match is_plain {
            true => word.to_string(),
            false => disguised(random, word),
        });
        let mut command = words.collect::<Vec<_>>().join(" ");
        if once_in(random, 2) {
            command = one(random, &PREFIXES).to_owned() + &command;
        }
        for _ in 0..random.below(4) {
            command = wrap(random, &command);
        }
        assert!(guard::check(&command).is_err(), "{command} must be refused");
    });
}

const TEXTS: [&str; 24] = [
    "rm -rf /", "sudo ls", "reboot", ";", "&&", "|", "\n", "(", ")", "$(", "${", "`", "\"", "\\", ">",
    "<<X\n", "/dev/sda", "#", "{", "}", " ", "é", "eval ", "sh -c ",
];

#[test]
fn quoted_text_is_never_refused() {
    check("quoted_text_is_never_refused", 800, |random| {
        let text = joined(random, &TEXTS, 8);
        let mut command = one(random, &QUOTING).replace('@', &text);
        if once_in(random, 6) {
            command = format!("cat <<'END' > x\n{text}\nEND\n");
        }
        for _ in 0..random.below(3) {
            command = wrap(random, &command);
        }
        assert!(guard::check(&command).is_ok(), "{command} must pass");
    });
}

#[test]
fn no_text_takes_long_or_grows() {
    check("no_text_takes_long_or_grows", 120, |random| {
        let pieces: Vec<&str> = TEXTS.iter().chain(&WRAPPINGS).copied().collect();
        let mut text = joined(random, &pieces, 12).into_bytes();
        damage(random, &mut text, &TEXTS, 4);
        let mut text = String::from_utf8_lossy(&text).into_owned();
        if once_in(random, 3) {
            text = text.repeat(1 + random.below(200) as usize);
        }
        let commands = shell_words::parse(&text);
        let words = commands.iter().flat_map(|command| command.words.iter().chain(&command.targets));
        assert!(words.map(String::len).sum::<usize>() <= text.len(), "{text}");
        let start = Instant::now();
        let _ = guard::check(&text);
        // A hundred times what the slowest of them takes.
        assert!(start.elapsed() < Duration::from_secs(5), "{text} took {:?}", start.elapsed());
    });
}
