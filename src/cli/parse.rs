//! The arguments, one by one.

use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use super::{
    Args, ColorWhen, Format, Loudness, Mode, OnEnd, SandboxMode, Session,
    options::{COLOR, COMMANDS, FORMATS, ON_END, OPTIONS, Opt, SHELLS},
};

type Parsed<T> = std::result::Result<T, lexopt::Error>;

impl Args {
    /// Takes every option and returns the other words.
    pub(super) fn take_options(&mut self, parser: &mut Parser) -> Parsed<Vec<String>> {
        let mut words = Vec::new();
        while let Some(arg) = parser.next()? {
            let opt = match &arg {
                Arg::Value(word) => {
                    words.push(word.clone().string()?);
                    continue;
                }
                Arg::Short(short) => OPTIONS.iter().find(|opt| opt.short == Some(*short)),
                Arg::Long(long) => OPTIONS.iter().find(|opt| opt.long == *long),
            };
            let Some(opt) = opt else {
                return Err(arg.unexpected());
            };
            // `--print=PROMPT` is a way to give a prompt that begins with a dash.
            if opt.long == "print"
                && let Some(prompt) = parser.optional_value()
            {
                words.push(prompt.string()?);
            }
            self.take(opt, parser)?;
        }
        Ok(words)
    }

    fn take(&mut self, opt: &Opt, parser: &mut Parser) -> Parsed<()> {
        match opt.long {
            "print" => self.mode = Mode::Print,
            "file" => self.file = Some(parser.value()?.into()),
            "output-format" => {
                self.format = [Format::Text, Format::Json, Format::StreamJson][word(parser, opt, &FORMATS)?]
            }
            "on-end" => self.on_end = [OnEnd::Wait, OnEnd::Kill, OnEnd::Fail][word(parser, opt, &ON_END)?],
            "max-turns" => self.max_turns = Some(count(parser, opt)?),
            "max-time" => self.max_time = Some(seconds(parser, opt)?),
            "max-total-tokens" => self.max_total_tokens = Some(count(parser, opt)?),
            "continue" => self.session = Session::Continue,
            "resume" => self.session = Session::Resume(parser.value()?.string()?),
            "no-session" => self.session = Session::None,
            "model" => self.model = Some(parser.value()?.string()?),
            "max-output-tokens" => self.max_output_tokens = Some(count(parser, opt)?),
            "context-window" => self.context_window = Some(count(parser, opt)?),
            "max-retries" => {
                let value = parser.value()?.string()?;
                let bad = |_| format!("--max-retries takes a whole number, not `{value}`");
                self.max_retries = Some(value.parse().map_err(bad)?);
            }
            "idle-timeout" => self.idle_timeout = Some(seconds(parser, opt)?),
            "background-timeout" => self.background_timeout = Some(seconds(parser, opt)?),
            "max-background" => self.max_background = Some(count::<u32>(parser, opt)? as usize),
            "log-limit" => self.log_limit = Some(u64::from(count::<u32>(parser, opt)?) * 1024 * 1024),
            "add-dir" => self.add_dirs.push(parser.value()?.into()),
            "sandbox" => self.take_sandbox(&parser.value()?.string()?)?,
            "no-network" => self.no_network = true,
            "keep-env" => self.keep_env.push(parser.value()?.string()?),
            "drop-env" => self.drop_env.push(parser.value()?.string()?),
            "scrub-env" => self.scrub_env = true,
            "ask" => self.asks = true,
            "allow" => self.allow.push(parser.value()?.string()?),
            "deny" => self.deny.push(parser.value()?.string()?),
            "wake" => self.wake = Some(true),
            "no-wake" => self.wake = Some(false),
            "record" => self.record = Some(parser.value()?.into()),
            "replay" => self.replay = Some(parser.value()?.into()),
            "color" => {
                self.color =
                    [ColorWhen::Auto, ColorWhen::Always, ColorWhen::Never][word(parser, opt, &COLOR)?];
            }
            "quiet" => self.loudness = Loudness::Quiet,
            "verbose" => self.loudness = Loudness::Verbose,
            "help" => self.mode = Mode::Help,
            "version" => self.mode = Mode::Version,
            other => unreachable!("the table names `--{other}`, and nothing takes it"),
        }
        Ok(())
    }

    /// A mode, and after a comma whether to go on without what the kernel lacks.
    fn take_sandbox(&mut self, value: &str) -> Parsed<()> {
        let (mode, best_effort) = match value.split_once(',') {
            Some((mode, "best-effort")) => (mode, true),
            _ => (value, false),
        };
        self.best_effort = best_effort;
        self.sandbox = match mode {
            "workspace" => SandboxMode::Workspace,
            "read-only" => SandboxMode::ReadOnly,
            "off" => SandboxMode::Off,
            _ => {
                let text =
                    "--sandbox takes one of workspace, read-only, off, each with or without `,best-effort`";
                return Err(format!("{text}, not `{value}`").into());
            }
        };
        Ok(())
    }

    /// The prompt, or one of the commands and its argument.
    pub(super) fn take_words(&mut self, words: Vec<String>) -> Parsed<()> {
        let first = words.first().map_or("", String::as_str);
        let is_command = self.mode == Mode::Chat && COMMANDS.iter().any(|command| command.name == first);
        match (first, &words[..]) {
            ("completions", [_, shell]) if is_command && SHELLS.contains(&shell.as_str()) => {
                self.mode = Mode::Completions(shell.clone());
            }
            ("completions", _) if is_command => {
                return Err(format!("`completions` takes one of {}", SHELLS.join(", ")).into());
            }
            ("demo", [_]) if is_command => self.mode = Mode::Demo,
            ("sessions", [_]) if is_command => self.mode = Mode::Sessions,
            ("doctor", [_]) if is_command => self.mode = Mode::Doctor,
            ("man", [_]) if is_command => self.mode = Mode::Man,
            (_, []) => {}
            (_, [prompt]) => self.prompt = Some(prompt.clone()),
            (_, [first, second, ..]) => {
                let text = format!("two prompts, `{first}` and `{second}`: put the prompt in quotes");
                return Err(text.into());
            }
        }
        Ok(())
    }
}

/// The place of the value among `words`.
fn word(parser: &mut Parser, opt: &Opt, words: &[&str]) -> Parsed<usize> {
    let value = parser.value()?.string()?;
    let found = words.iter().position(|word| *word == value);
    found.ok_or_else(|| format!("--{} takes one of {}, not `{value}`", opt.long, words.join(", ")).into())
}

fn seconds(parser: &mut Parser, opt: &Opt) -> Parsed<Duration> {
    Ok(Duration::from_secs(count::<u32>(parser, opt)?.into()))
}

/// A whole number from 1 on.
fn count<N: std::str::FromStr + PartialEq + Default>(parser: &mut Parser, opt: &Opt) -> Parsed<N> {
    let value = parser.value()?.string()?;
    match value.parse() {
        Ok(n) if n != N::default() => Ok(n),
        _ => Err(format!("--{} takes a whole number from 1 on, not `{value}`", opt.long).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{help, options::SHELLS};

    fn parse(line: &str) -> std::result::Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from)).map_err(|err| err.to_string())
    }

    #[test]
    fn arguments_are_understood_in_any_order() {
        assert_eq!(parse("").unwrap().mode, Mode::Chat);
        assert_eq!(parse("demo").unwrap().mode, Mode::Demo);
        assert_eq!(parse("-h").unwrap().mode, Mode::Help);
        let print = parse("-p fix --model m --max-output-tokens 9").unwrap();
        assert_eq!((print.mode, print.prompt.as_deref()), (Mode::Print, Some("fix")));
        assert_eq!((print.model.as_deref(), print.max_output_tokens), (Some("m"), Some(9)));
        assert_eq!(parse("fix -p").unwrap(), parse("--print=fix").unwrap());
        assert_eq!(parse("-p demo").unwrap().mode, Mode::Print);
        assert_eq!(parse("-p -- --odd").unwrap().prompt.as_deref(), Some("--odd"));
    }

    #[test]
    fn every_option_of_the_table_is_taken() {
        for opt in OPTIONS {
            let first = if opt.long == "sandbox" { "off" } else { "1" };
            let value = opt.words.first().copied().unwrap_or(first);
            let line = match opt.value {
                Some(_) => format!("--{} {value}", opt.long),
                None => format!("--{}", opt.long),
            };
            assert!(parse(&line).is_ok(), "{line}");
            assert!(help::help().contains(&format!("--{}", opt.long)), "{line}");
            assert!(help::man().contains(&opt.long.replace('-', "\\-")), "{line}");
            for shell in SHELLS {
                assert!(help::completions(shell).contains(opt.long), "{shell} {}", opt.long);
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let cases = [
            ("--nonsense", "--nonsense"),
            ("-p a b", "two prompts, `a` and `b`"),
            ("--max-background 0", "--max-background takes a whole number from 1 on, not `0`"),
            ("--max-output-tokens x", "not `x`"),
            ("--model", "--model"),
            ("--output-format xml", "--output-format takes one of text, json, stream-json, not `xml`"),
            ("completions tcsh", "bash, zsh, fish"),
        ];
        for (line, expected) in cases {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{error} must name {expected}");
            assert!(error.ends_with("try `meanwhile --help`"), "{error}");
        }
    }
}
