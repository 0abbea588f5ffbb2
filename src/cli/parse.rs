//! The parser: argv to `Args`, with the defaults of the table filled in.

use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

use super::args::{Args, Format, Mode, Shell};
use super::options::{COMMANDS, OPTIONS, Opt, SHELLS};
use crate::error::Error;

impl Args {
    /// Fails with a usage error that names the argument, and the format in which to report it.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Args, (Error, Format)> {
        let mut args = Args::default();
        match args.take(Parser::from_args(arguments)) {
            Ok(()) => Ok(args),
            Err(text) => Err((Error::Usage(text), args.run.format)),
        }
    }

    /// Reads on after an error, so that the format becomes known, and fails with the first one.
    fn take(&mut self, mut parser: Parser) -> Result<(), String> {
        for opt in OPTIONS {
            if let Some(default) = opt.default {
                opt.set(self, default.into())?;
            }
        }
        let (mut words, mut given) = (Vec::new(), Vec::new());
        let mut first_error = None;
        loop {
            match self.take_next(&mut parser, &mut words, &mut given) {
                Ok(true) => {}
                Ok(false) => break,
                Err(err) => drop(first_error.get_or_insert(err.to_string())),
            }
        }
        first_error.map_or(Ok(()), Err)?;
        self.take_words(&words)?;
        given.into_iter().try_for_each(|opt| self.check_mode(opt))?;
        self.thinking.check(&self.limits)
    }

    /// One option or another word. Returns false at the end.
    fn take_next(
        &mut self,
        parser: &mut Parser,
        words: &mut Vec<String>,
        given: &mut Vec<&'static Opt>,
    ) -> Result<bool, lexopt::Error> {
        let Some(arg) = parser.next()? else { return Ok(false) };
        let opt = match &arg {
            Arg::Value(word) => {
                words.push(word.clone().string()?);
                return Ok(true);
            }
            Arg::Short(short) => OPTIONS.iter().find(|opt| opt.short == Some(*short)),
            Arg::Long(long) => OPTIONS.iter().find(|opt| opt.long == *long),
        };
        let opt = opt.ok_or_else(|| arg.unexpected())?;
        given.push(opt);
        let value = match opt.value {
            Some(_) => parser.value()?,
            None => OsString::new(),
        };
        // `--print=PROMPT` is a way to give a prompt that begins with a dash.
        if opt.long == "print"
            && let Some(prompt) = parser.optional_value()
        {
            words.push(prompt.string()?);
        }
        opt.set(self, value)?;
        Ok(true)
    }

    /// The prompt, or one of the commands and its argument.
    fn take_words(&mut self, words: &[String]) -> Result<(), String> {
        let first = words.first().map_or("", String::as_str);
        let command = COMMANDS.iter().find(|command| self.mode == Mode::Chat && command.name == first);
        match (command.map(|command| command.mode), words) {
            (Some(Mode::Completions(_)), _) => {
                let named = |(name, _): &&(&str, Shell)| words.len() == 2 && *name == words[1];
                let (_, shell) =
                    SHELLS.iter().find(named).ok_or("`completions` takes one of bash, zsh, fish")?;
                self.mode = Mode::Completions(*shell);
            }
            (Some(mode), [_]) => self.mode = mode,
            (_, []) => {}
            (_, [prompt]) => self.run.prompt = Some(prompt.clone()),
            (_, [first, second, ..]) => {
                return Err(format!("two prompts, `{first}` and `{second}`: put the prompt in quotes"));
            }
        }
        Ok(())
    }

    fn check_mode(&self, opt: &Opt) -> Result<(), String> {
        let is_valid = opt.modes.is_empty() || opt.modes.contains(&self.mode);
        let long = opt.long;
        match self.mode {
            Mode::Help | Mode::Version => Ok(()),
            _ if is_valid => Ok(()),
            _ if opt.modes == [Mode::Print] => Err(format!("--{long} needs -p")),
            Mode::Print => Err(format!("--{long} can't be used with -p")),
            mode => {
                let command = COMMANDS.iter().find(|command| command.mode == mode);
                let name = command.map_or("completions", |command| command.name);
                Err(format!("--{long} can't be used with `{name}`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from)).map_err(|(err, _)| err.to_string())
    }

    /// The option with a value that it takes.
    fn typed(opt: &Opt) -> String {
        match opt.value {
            Some(_) => format!("--{} {}", opt.long, opt.words().last().unwrap_or(&"7")),
            None => format!("--{}", opt.long),
        }
    }

    #[test]
    fn arguments_are_understood_in_any_order() {
        assert_eq!(parse("").unwrap().mode, Mode::Chat);
        assert_eq!(parse("demo").unwrap().mode, Mode::Demo);
        assert_eq!(parse("completions fish").unwrap().mode, Mode::Completions(Shell::Fish));
        assert_eq!(parse("-h").unwrap().mode, Mode::Help);
        let print = parse("-p fix --model m --max-output-tokens 9").unwrap();
        assert_eq!((print.mode, print.run.prompt.as_deref()), (Mode::Print, Some("fix")));
        assert_eq!((print.model.as_deref(), print.limits.max_output_tokens), (Some("m"), Some(9)));
        assert_eq!(parse("fix -p").unwrap(), parse("--print=fix").unwrap());
        assert_eq!(parse("-p demo").unwrap().mode, Mode::Print);
        assert_eq!(parse("-p -- --odd").unwrap().run.prompt.as_deref(), Some("--odd"));
        assert_eq!(parse("-mx").unwrap(), parse("--model=x").unwrap());
    }

    #[test]
    fn every_option_is_stored_where_it_is_valid_and_refused_elsewhere() {
        let modes = [("", Mode::Chat), ("-p", Mode::Print), ("demo", Mode::Demo), ("doctor", Mode::Doctor)];
        let modes = modes.into_iter().chain([("sessions", Mode::Sessions), ("man", Mode::Man)]);
        for (word, mode) in modes {
            let without = parse(word).unwrap();
            for opt in OPTIONS.iter().filter(|opt| !opt.modes.is_empty()) {
                let line = format!("{word} {}", typed(opt));
                match parse(&line) {
                    Ok(args) => {
                        assert!(opt.modes.contains(&mode), "{line} is accepted");
                        assert_eq!(args.mode, mode);
                        assert_ne!(args, without, "{line} changes nothing");
                    }
                    Err(text) => {
                        assert!(!opt.modes.contains(&mode), "{line}: {text}");
                        assert!(text.starts_with(&format!("--{} ", opt.long)), "{text}");
                        assert!(text.contains("-p") || text.contains(word), "{text}");
                    }
                }
            }
        }
        assert_eq!(parse("--max-turns 1").unwrap_err(), "--max-turns needs -p; try `meanwhile --help`");
        assert_eq!(parse("-p --wake").unwrap_err(), "--wake can't be used with -p; try `meanwhile --help`");
        assert_eq!(parse("--help --max-turns 1").unwrap().mode, Mode::Help);
    }

    #[test]
    fn the_default_is_what_the_option_would_set() {
        for opt in OPTIONS {
            let Some(default) = opt.default else { continue };
            let line = format!("-p --{} {default}", opt.long);
            assert_eq!(parse(&line), parse("-p"), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let cases = [
            ("--nonsense", "--nonsense"),
            ("-p a b", "two prompts, `a` and `b`"),
            ("--max-background 0", "--max-background takes a whole number, 1 or more, not `0`"),
            ("--max-retries -1", "--max-retries takes a whole number, 0 or more, not `-1`"),
            ("--max-output-tokens x", "not `x`"),
            ("--model", "--model"),
            ("-p --output-format xml", "--output-format takes one of text, json, stream-json, not `xml`"),
            ("completions tcsh", "bash, zsh, fish"),
        ];
        for (line, expected) in cases {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{error} must name {expected}");
            assert!(error.ends_with("try `meanwhile --help`"), "{error}");
        }
    }

    #[test]
    fn an_error_is_reported_in_the_format_that_is_asked_for_anywhere() {
        for line in [
            "-p --nonsense --output-format json",
            "-p --max-turns=x --output-format=json",
            "a b -p --output-format json",
        ] {
            let parsed = Args::parse(line.split(' ').map(OsString::from));
            assert_eq!(parsed.unwrap_err().1, Format::Json, "{line}");
        }
    }
}
