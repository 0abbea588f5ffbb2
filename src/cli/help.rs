//! The help text, the same text as a manual page, and the version.

use std::fmt::Write;

use super::args::Mode;
use super::options::{COMMANDS, OPTIONS};

const ABOUT: &str = "a coding agent that keeps working while your commands run";

const USAGE: &str = "\
Usage:
  meanwhile [OPTIONS] [PROMPT]     talk to the agent in the terminal
  meanwhile [OPTIONS] -p [PROMPT]  do one task and print the answer
";

const VARIABLES: &str = "
Variables, the first three lines also from .env in the working directory:
  MODEL_ID              the model, unless --model or --replay is given; or ANTHROPIC_MODEL
  ANTHROPIC_API_KEY     the key; or ANTHROPIC_AUTH_TOKEN, a bearer token, which wins
  ANTHROPIC_BASE_URL    another server that speaks the Messages API
  ANTHROPIC_API_KEY_FILE, ANTHROPIC_AUTH_TOKEN_FILE   a file with the key or the token
  ANTHROPIC_CUSTOM_HEADERS, ANTHROPIC_BETAS           lines `Name: value`; a list of beta features
  SSL_CERT_FILE         trusted certificates (PEM); HTTPS_PROXY, NO_PROXY, XDG_STATE_HOME as usual

Exit codes:
    0  done                     3  the API returned an error or could not be reached
    1  error                    4  a limit was reached (one of the --max options)
    2  usage or configuration   5  --on-end fail: a task still ran or had failed
    6  --json-schema: the answer does not fit
  130  ended by SIGINT, 143 by SIGTERM, 129 by SIGHUP
";

/// Name, version, and the commit if the Makefile passed it.
pub fn version() -> String {
    let commit = option_env!("MEANWHILE_COMMIT").filter(|commit| !commit.is_empty());
    let commit = commit.map_or(String::new(), |commit| format!(" ({commit})"));
    format!("meanwhile {}{commit}\n", env!("CARGO_PKG_VERSION"))
}

/// What `--help` prints.
pub fn help() -> String {
    let mut text = format!("meanwhile: {ABOUT}\n\n{USAGE}");
    for command in COMMANDS {
        let argument = if matches!(command.mode, Mode::Completions(_)) { " SHELL" } else { "" };
        let synopsis = format!("{}{argument}", command.name);
        let _ = writeln!(text, "  meanwhile {synopsis:<22} {}", command.help);
    }
    text.push_str("\nOptions:\n");
    for opt in OPTIONS {
        let short = opt.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let long = format!("--{} {}", opt.long, opt.value.unwrap_or_default());
        let needs = match opt.modes {
            [Mode::Print] => "with -p: ",
            [Mode::Chat] => "without -p: ",
            _ => "",
        };
        let default = opt.default.map_or(String::new(), |default| format!(" [{default}]"));
        let _ = writeln!(text, "  {short}{long:<24} {needs}{}{default}", opt.help);
    }
    text + VARIABLES
}

/// What `man` prints: the help as a page for man(1), in the macros of man(7).
pub fn man() -> String {
    let mut page = format!(".TH MEANWHILE 1\n.SH NAME\nmeanwhile \\- {ABOUT}\n");
    for line in help().lines().skip(2) {
        let heading = line.strip_suffix(':').filter(|line| !line.starts_with(' '));
        let _ = match heading {
            Some(heading) => writeln!(page, ".SH {}\n.nf", heading.to_uppercase()),
            None => writeln!(page, "{}", line.replace('\\', "\\e").replace('-', "\\-")),
        };
    }
    page
}
