//! What the program says of itself, to people and to shells: help, version, completions, manual page.

use std::process::Command;

use serde_json::json;

use crate::support::Test;
use crate::support::reply::Reply;

/// A screen and a half of a high terminal window.
const MOST_LINES: usize = 75;
const MOST_COLUMNS: usize = 100;

#[track_caller]
fn says(args: &[&str]) -> String {
    let finished = Test::new()
        .env_remove("MODEL_ID")
        .env_remove("ANTHROPIC_API_KEY")
        .env_remove("HOME")
        .args(args)
        .run()
        .code(0);
    assert_eq!(finished.stderr, "", "{args:?}");
    finished.stdout
}

/// Every option that the help names, long names only.
fn options() -> Vec<String> {
    let help = says(&["--help"]);
    let section = help.split("Options:\n").nth(1).expect("a list of options");
    let lines = section.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter_map(|line| {
        let name = line.split_whitespace().find(|word| word.starts_with("--"))?;
        Some(name.trim_end_matches(',').to_owned())
    });
    names.collect()
}

/// Runs a program, if it is there; its exit code, stdout and stderr.
fn run(program: &str, args: &[&str], input: &str) -> Option<(Option<i32>, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("input"), input).unwrap();
    let output = Command::new(program)
        .args(args)
        .arg("input")
        .env("LC_ALL", "C.UTF-8")
        .current_dir(folder.path())
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: no {program} here");
        return None;
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn help_fits_a_screen_and_a_half() {
    for option in ["--help", "-h"] {
        let help = says(&[option]);
        let lines = help.lines().count();
        assert!(lines <= MOST_LINES, "{lines} lines");
        for line in help.lines() {
            assert!(line.chars().count() <= MOST_COLUMNS, "{line}");
            assert_eq!(line, line.trim_end(), "a space at the end");
        }
    }
}

#[test]
fn help_has_the_exit_codes_and_every_way_to_start() {
    let help = says(&["--help"]);
    let codes = help.split("Exit codes:\n").nth(1).expect("a table");
    for code in ["0", "1", "2", "3", "4", "5", "130"] {
        let found = codes.split_whitespace().any(|word| word == code);
        assert!(found, "{code} in {codes}");
    }
    assert!(codes.contains("143"), "{codes}");
    for word in ["demo", "sessions", "doctor", "completions", "man"] {
        assert!(help.contains(&format!("meanwhile {word}")), "{word}");
    }
}

#[test]
fn every_option_of_the_specification_is_there() {
    let options = options();
    for option in [
        "--print",
        "--file",
        "--output-format",
        "--on-end",
        "--max-turns",
        "--max-time",
        "--max-total-tokens",
        "--max-background",
        "--quiet",
        "--verbose",
        "--color",
        "--help",
        "--version",
    ] {
        assert!(options.iter().any(|name| name == option), "{option}");
    }
}

#[test]
fn colors_are_for_terminals_and_for_those_who_want_them() {
    let run = |test: Test| {
        let job = Reply::tool("bash", json!({"command": "true"}));
        test.print("go").reply(job).reply(Reply::text("done")).run().code(0).stdout("done\n").stderr
    };
    for plain in [
        Test::new(),
        Test::new().args(["--color", "auto"]),
        Test::new().arg("--color=never"),
        Test::new().env("NO_COLOR", "1").env("TERM", "xterm"),
    ] {
        assert!(!run(plain).contains('\u{1b}'));
    }
    assert!(run(Test::new().args(["--color", "always"])).contains("\u{1b}[1m> bash: true\u{1b}[0m"));
    let session = |test: Test| {
        let mut session = test
            .env("TERM", "xterm")
            .reply(Reply::tool("no_such", json!({})))
            .reply(Reply::text("done"))
            .spawn_pty();
        session.send_line("go");
        session.expect("done");
        session.send_line("exit");
        session.wait().stdout
    };
    assert!(session(Test::new()).contains("\u{1b}[31mError: Unknown tool `no_such`"));
    assert!(!session(Test::new().env("NO_COLOR", "1")).contains("\u{1b}[31m"));
    assert!(!session(Test::new().args(["--color", "never"])).contains("\u{1b}[31m"));
}

#[test]
fn a_color_that_is_none_is_a_usage_error() {
    Test::new().arg("--color=pink").run().code(2).stderr_contains("--color takes one of");
}

/// `meanwhile 1.2.3`, and the commit in parentheses where the build knew it.
#[test]
fn version_is_one_line() {
    for option in ["--version", "-V"] {
        let version = says(&[option]);
        let rest = version
            .strip_prefix(concat!("meanwhile ", env!("CARGO_PKG_VERSION")))
            .unwrap_or_else(|| panic!("{version}"));
        let commit = rest.strip_suffix('\n').expect("a whole line");
        let is_commit = commit
            .strip_prefix(" (")
            .and_then(|commit| commit.strip_suffix(')'))
            .is_some_and(|commit| commit.len() >= 7 && commit.chars().all(|c| c.is_ascii_hexdigit()));
        assert!(commit.is_empty() || is_commit, "{version}");
    }
}

/// They do not need what a task needs, and do not wait for anything.
#[test]
fn none_of_this_needs_a_home_a_key_or_a_model() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["man"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
        // Whatever stands beside it.
        &["-p", "go", "--help"],
    ] {
        assert!(!says(args).is_empty(), "{args:?}");
    }
}

#[test]
fn a_shell_that_is_not_known_is_a_usage_error() {
    for args in [&["completions"][..], &["completions", "tcsh"]] {
        Test::new().args(args).run().code(2).stdout("").stderr_contains("bash, zsh, fish");
    }
}

#[test]
fn the_completions_are_accepted_by_their_shells() {
    for (shell, args) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        let script = says(&["completions", shell]);
        if let Some(found) = run(shell, args, &script) {
            assert_eq!(found, (Some(0), String::new(), String::new()), "{shell}");
        }
    }
}

/// What bash offers for these words, the last of which is being typed.
fn bash_offers(words: &[&str]) -> Option<Vec<String>> {
    let script = says(&["completions", "bash"]);
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let question = format!(
        "{script}\n: > file.txt; COMP_WORDS=({}) COMP_CWORD={}\n\
         function=$(complete -p meanwhile | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         $function meanwhile \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        quoted.join(" "),
        words.len() - 1
    );
    let (code, stdout, stderr) = run("bash", &["--norc"], &question)?;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}");
    Some(stdout.lines().map(str::to_owned).collect())
}

#[track_caller]
fn check_offer(words: &[&str], expected: &[&str]) {
    if let Some(offers) = bash_offers(words) {
        assert_eq!(offers, expected, "{words:?}");
    }
}

#[test]
fn bash_completes_options_values_and_commands() {
    check_offer(&["meanwhile", "--on-end", "k"], &["kill"]);
    check_offer(&["meanwhile", "--on-end", ""], &["wait", "kill", "fail"]);
    check_offer(&["meanwhile", "-p", "--output-format", "s"], &["stream-json"]);
    check_offer(&["meanwhile", "--max-t"], &["--max-turns", "--max-time", "--max-total-tokens"]);
    check_offer(&["meanwhile", "doc"], &["doctor"]);
    check_offer(&["meanwhile", "completions", ""], &["bash", "zsh", "fish"]);
    check_offer(&["meanwhile", "-f", "fi"], &["file.txt"]);
    check_offer(&["meanwhile", "--replay", "fi"], &["file.txt"]);
    let Some(mut offers) = bash_offers(&["meanwhile", "--"]) else {
        return;
    };
    let mut all = options();
    offers.sort();
    all.sort();
    assert_eq!(offers, all, "what bash offers and what the help names");
}

/// Every option of the help is one that each of the scripts and the manual page knows.
#[test]
fn nothing_of_the_help_is_missing_elsewhere() {
    let page = says(&["man"]);
    for option in options() {
        let name = option.trim_start_matches("--");
        for shell in ["bash", "zsh", "fish"] {
            let script = says(&["completions", shell]);
            assert!(script.contains(name), "{option} for {shell}");
        }
        assert!(page.contains(&option.replace('-', "\\-")), "{option}");
    }
}

#[test]
fn the_manual_page_is_rendered_without_a_warning() {
    let page = says(&["man"]);
    assert!(page.starts_with(".TH MEANWHILE 1"), "{page}");
    for args in [
        // The last one: plain text, without overstriking.
        &["-man", "-ww", "-Tutf8", "-P-cbou"][..],
        &["-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=60n"],
    ] {
        let Some((code, text, warnings)) = run("groff", args, &page) else {
            return;
        };
        assert_eq!((code, warnings.as_str()), (Some(0), ""), "{args:?}");
        for heading in ["NAME", "USAGE", "OPTIONS", "EXIT CODES"] {
            assert!(text.contains(heading), "{heading} in {text}");
        }
    }
    if let Some((code, _, warnings)) = run("man", &["--warnings", "-l"], &page) {
        assert_eq!((code, warnings.as_str()), (Some(0), ""));
    }
}

/// `apropos` and `whatis` read this line: a name, a dash, and words.
#[test]
fn the_manual_page_has_a_line_for_apropos() {
    let page = says(&["man"]);
    let name = page.split(".SH NAME\n").nth(1).unwrap_or_default();
    let line = name.lines().next().unwrap_or_default();
    assert!(line.starts_with("meanwhile \\- "), "{line}");
}
