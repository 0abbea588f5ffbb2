//! The help text, the manual page and the completions, from the one table of options.

use std::fmt::Write;

use super::options::{COMMANDS, Command, OPTIONS, Opt};

const ABOUT: &str = "A coding agent that keeps working while your commands run.";

const VARIABLES: &str = "\
Variables, from the environment or from .env in the working directory:
  MODEL_ID              the model, required
  ANTHROPIC_API_KEY     the key; or ANTHROPIC_AUTH_TOKEN, a bearer token
  ANTHROPIC_BASE_URL    another server that speaks the Messages API
  SSL_CERT_FILE         certificates (PEM) to trust instead of the built-in ones; this one,
                        HTTPS_PROXY, NO_PROXY, XDG_STATE_HOME from the environment only
";

const EXIT_CODES: &str = "\
Exit codes:
    0  done                     3  the API refused or could not be reached
    1  error                    4  a limit was reached (one of the --max options)
    2  usage or configuration   5  --on-end fail, and a task had not ended or had failed
  130  ended by SIGINT, 143 by SIGTERM, 129 by SIGHUP
";

/// What `--help` prints.
pub fn help() -> String {
    let mut text = format!("{ABOUT}\n\n");
    text.push_str("Usage: meanwhile [OPTIONS] [PROMPT]     talk to the agent in the terminal\n");
    text.push_str("       meanwhile [OPTIONS] -p [PROMPT]  do one task and print the answer\n");
    for command in COMMANDS {
        let _ = writeln!(text, "       meanwhile {:<22} {}", synopsis(&command), command.help);
    }
    text.push_str("\nOptions:\n");
    for opt in OPTIONS {
        let short = opt.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let long = format!("--{}{}", opt.long, opt.value.map_or(String::new(), |value| format!(" {value}")));
        let _ = writeln!(text, "  {short}{long:<24} {}", opt.help);
    }
    text + "\n" + VARIABLES + "\n" + EXIT_CODES
}

/// What `man` prints: a page for man(1), in its macros (man(7)).
pub fn man() -> String {
    let mut page = String::from(".TH MEANWHILE 1\n.SH NAME\nmeanwhile \\- a coding agent\n.SH SYNOPSIS\n");
    page.push_str(".B meanwhile\n[\\fIOPTIONS\\fR] [\\fB\\-p\\fR] [\\fIPROMPT\\fR]\n");
    for command in COMMANDS {
        let _ = writeln!(page, ".br\n.B meanwhile {}", roff(&synopsis(&command)));
    }
    let _ = writeln!(page, ".SH DESCRIPTION\n{}", roff(ABOUT));
    page.push_str(".SH COMMANDS\n");
    for command in COMMANDS {
        let _ = writeln!(page, ".TP\n.B {}\n{}", roff(&synopsis(&command)), roff(command.help));
    }
    page.push_str(".SH OPTIONS\n");
    for opt in OPTIONS {
        let short = opt.short.map_or(String::new(), |short| format!("\\-{short}, "));
        let value = opt.value.map_or(String::new(), |value| format!(" \\fI{value}\\fR"));
        let _ = writeln!(page, ".TP\n\\fB{short}\\-\\-{}\\fR{value}\n{}", roff(opt.long), roff(opt.help));
    }
    for (title, text) in [("ENVIRONMENT", VARIABLES), ("EXIT STATUS", EXIT_CODES)] {
        let _ = writeln!(page, ".SH {title}\n.nf\n{}.fi", roff(text));
    }
    page
}

/// What `completions SHELL` prints; `shell` is one of `SHELLS`.
pub fn completions(shell: &str) -> String {
    match shell {
        "bash" => bash(),
        "zsh" => zsh(),
        _ => fish(),
    }
}

fn bash() -> String {
    let mut cases = String::new();
    for opt in OPTIONS.iter().filter(|opt| opt.value.is_some()) {
        let names = match opt.short {
            Some(short) => format!("-{short}|--{}", opt.long),
            None => format!("--{}", opt.long),
        };
        let reply = match (opt.value, opt.words) {
            (Some("FILE"), _) => "compgen -f -- \"$cur\"".to_owned(),
            (_, words) => format!("compgen -W '{}' -- \"$cur\"", words.join(" ")),
        };
        let _ = writeln!(cases, "    {names}) COMPREPLY=($({reply})); return ;;");
    }
    for command in COMMANDS {
        if let Some((_, words)) = command.argument {
            let words = words.join(" ");
            let name = command.name;
            let _ = writeln!(cases, "    {name}) COMPREPLY=($(compgen -W '{words}' -- \"$cur\")); return ;;");
        }
    }
    let options: Vec<String> = OPTIONS.iter().map(|opt| format!("--{}", opt.long)).collect();
    let commands: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    format!(
        "_meanwhile() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}\n  case $prev in\n{cases}  esac\n  \
         COMPREPLY=($(compgen -W '{} {}' -- \"$cur\"))\n}}\ncomplete -o default -F _meanwhile meanwhile\n",
        options.join(" "),
        commands.join(" ")
    )
}

fn zsh() -> String {
    let mut arguments = String::new();
    for opt in OPTIONS {
        let help = opt.help.replace('[', "(").replace(']', ")").replace('\'', "");
        let value = match (opt.value, opt.words) {
            (None, _) => String::new(),
            (Some("FILE"), _) => ":file:_files".to_owned(),
            (Some(name), []) => format!(":{name}:"),
            (Some(name), words) => format!(":{name}:({})", words.join(" ")),
        };
        let _ = writeln!(arguments, "    '--{}[{help}]{value}' \\", opt.long);
        if let Some(short) = opt.short {
            let _ = writeln!(arguments, "    '-{short}[{help}]{value}' \\");
        }
    }
    let commands: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    let names = commands.join(" ");
    format!(
        "#compdef meanwhile\n_meanwhile() {{\n  _arguments \\\n{arguments}    '1:command or prompt:({names})'\n}}\n_meanwhile \"$@\"\n"
    )
}

fn fish() -> String {
    let mut text = String::from("complete -c meanwhile -f\n");
    for Opt { short, long, value, words, help } in OPTIONS {
        let short = short.map_or(String::new(), |short| format!(" -s {short}"));
        let value = match (value, words) {
            (None, _) => String::new(),
            (Some("FILE"), _) => " -r -F".to_owned(),
            (Some(_), []) => " -x".to_owned(),
            (Some(_), words) => format!(" -x -a '{}'", words.join(" ")),
        };
        let _ =
            writeln!(text, "complete -c meanwhile{short} -l {long}{value} -d '{}'", help.replace('\'', ""));
    }
    for Command { name, argument, help } in COMMANDS {
        let _ = writeln!(text, "complete -c meanwhile -n __fish_use_subcommand -a {name} -d '{help}'");
        if let Some((_, words)) = argument {
            let words = words.join(" ");
            let _ =
                writeln!(text, "complete -c meanwhile -n '__fish_seen_subcommand_from {name}' -a '{words}'");
        }
    }
    text
}

fn synopsis(command: &Command) -> String {
    match command.argument {
        Some((argument, _)) => format!("{} {argument}", command.name),
        None => command.name.to_owned(),
    }
}

/// Text in which nothing is a request to the formatter.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text.lines().map(|line| match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line.to_owned(),
    });
    let mut joined = lines.collect::<Vec<_>>().join("\n");
    if text.ends_with('\n') {
        joined.push('\n');
    }
    joined
}
