//! The completions of the command line, a script for each shell, from the table of options.

use std::fmt::Write;

use super::args::{Mode, Shell};
use super::options::{COMMANDS, Command, OPTIONS, Opt, SHELLS, Takes};

/// The script for `shell`.
pub fn completions(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

fn bash() -> String {
    let mut cases = String::new();
    for opt in OPTIONS.iter().filter(|opt| opt.value.is_some()) {
        let short = opt.short.map_or(String::new(), |short| format!("-{short}|"));
        let offer = if is_file(opt) { "-f".to_owned() } else { format!("-W '{}'", opt.words().join(" ")) };
        let _ = writeln!(cases, "    {short}--{}) {} ;;", opt.long, compgen(&offer));
    }
    for command in COMMANDS.iter().filter(|command| takes_shell(command)) {
        let _ = writeln!(cases, "    {}) {} ;;", command.name, compgen(&format!("-W '{}'", shells())));
    }
    let options: String = OPTIONS.iter().map(|opt| format!("--{} ", opt.long)).collect();
    format!(
        "_meanwhile() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}\n  \
         case $prev in\n{cases}  esac\n  {}\n}}\ncomplete -o default -F _meanwhile meanwhile\n",
        compgen(&format!("-W '{options}{}'", commands()))
    )
}

fn compgen(offer: &str) -> String {
    format!("COMPREPLY=($(compgen {offer} -- \"$cur\")); return")
}

fn zsh() -> String {
    let mut arguments = String::new();
    for opt in OPTIONS {
        let help = opt.help.replace('[', "(").replace(']', ")").replace('\'', "");
        let value = match (opt.value, opt.words()) {
            (None, _) => String::new(),
            (Some(_), _) if is_file(opt) => ":file:_files".to_owned(),
            (Some(name), []) => format!(":{name}:"),
            (Some(name), words) => format!(":{name}:({})", words.join(" ")),
        };
        let _ = writeln!(arguments, "    '--{}[{help}]{value}' \\", opt.long);
        if let Some(short) = opt.short {
            let _ = writeln!(arguments, "    '-{short}[{help}]{value}' \\");
        }
    }
    format!(
        "#compdef meanwhile\n_meanwhile() {{\n  _arguments \\\n{arguments}    '1:command or prompt:({})' \\\n    \
         '2:shell:({})'\n}}\n_meanwhile \"$@\"\n",
        commands(),
        shells()
    )
}

fn fish() -> String {
    let mut text = String::from("complete -c meanwhile -f\n");
    for opt in OPTIONS {
        let short = opt.short.map_or(String::new(), |short| format!(" -s {short}"));
        let value = match (opt.value, opt.words()) {
            (None, _) => String::new(),
            (Some(_), _) if is_file(opt) => " -r -F".to_owned(),
            (Some(_), []) => " -x".to_owned(),
            (Some(_), words) => format!(" -x -a '{}'", words.join(" ")),
        };
        let help = opt.help.replace('\'', "");
        let _ = writeln!(text, "complete -c meanwhile{short} -l {}{value} -d '{help}'", opt.long);
    }
    for command in COMMANDS {
        let Command { name, help, .. } = command;
        let _ = writeln!(text, "complete -c meanwhile -n __fish_use_subcommand -a {name} -d '{help}'");
        if takes_shell(command) {
            let condition = format!("'__fish_seen_subcommand_from {name}'");
            let _ = writeln!(text, "complete -c meanwhile -n {condition} -a '{}'", shells());
        }
    }
    text
}

fn is_file(opt: &Opt) -> bool {
    matches!(opt.takes, Takes::Path(..))
}

fn takes_shell(command: &Command) -> bool {
    matches!(command.mode, Mode::Completions(_))
}

fn commands() -> String {
    COMMANDS.iter().map(|command| command.name).collect::<Vec<_>>().join(" ")
}

fn shells() -> String {
    SHELLS.map(|(name, _)| name).join(" ")
}
