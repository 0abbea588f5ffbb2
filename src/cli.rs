//! The command line: argv to `Args`, and the help text. What was typed, nothing decided yet.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use lexopt::{Arg, Parser, ValueExt};

use crate::error::{Error, Result};

pub const VERSION: &str = concat!("meanwhile ", env!("CARGO_PKG_VERSION"));

pub const HELP: &str = "\
A coding agent that keeps working while your commands run.

Usage: meanwhile [OPTIONS] [PROMPT]     talk to the agent in the terminal
       meanwhile [OPTIONS] -p [PROMPT]  do one task and print the answer
       meanwhile sessions               list the sessions that can be continued
       meanwhile demo                   see it work: no key and no network needed

With -p, what is piped into standard input is added to the prompt.

Options:
  -p, --print                    do one task, print the answer on stdout, exit
  -c, --continue                 go on with the last session of this directory
      --resume ID                go on with a session; the beginning of its id is enough
      --no-session               keep nothing of this session
      --model ID                 the model (or the variable MODEL_ID)
      --max-output-tokens N      how long one reply may be, in tokens [8000]
      --context-window N         how much the model can hold, in tokens [200000]
      --max-retries N            how often a failed request is tried again [8]
      --idle-timeout S           give a stream up that is silent for so long [300]
      --background-timeout S     time limit of a background task in seconds [300]
      --max-background N         how many background tasks may run at once [64]
      --log-limit MIB            how large the log of one command may get [64]
      --record FILE              write every exchange with the API to FILE
      --replay FILE              answer from FILE instead of the network
  -h, --help                     print this
  -V, --version                  print the version

Variables, from the environment or from .env in the working directory:
  MODEL_ID              the model, required
  ANTHROPIC_API_KEY     the key, or else
  ANTHROPIC_AUTH_TOKEN  a bearer token
  ANTHROPIC_BASE_URL    another server that speaks the Messages API
  SSL_CERT_FILE         certificates (PEM) to trust instead of the built-in ones
                        (environment only)
  HTTPS_PROXY, NO_PROXY as everywhere (environment only)

Exit codes: 0 done; 1 error; 2 usage or configuration; 3 the API refused or could not
be reached; 130 and 143 ended by SIGINT and SIGTERM.
";

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// The prompt loop.
    Chat,
    /// One task, then exit.
    Print,
    Demo,
    Sessions,
    Help,
    Version,
}

/// Which session the history belongs to.
#[derive(Debug, Clone, PartialEq)]
pub enum Session {
    New,
    /// The last one of the working directory.
    Continue,
    /// The one whose id starts so.
    Resume(String),
    /// Nothing is kept.
    None,
}

/// What was typed.
#[derive(Debug, PartialEq)]
pub struct Args {
    pub mode: Mode,
    pub prompt: Option<String>,
    pub session: Session,
    pub model: Option<String>,
    pub context_window: Option<u64>,
    pub max_output_tokens: Option<u32>,
    pub max_retries: Option<u32>,
    pub idle_timeout: Option<Duration>,
    pub background_timeout: Option<Duration>,
    pub max_background: Option<usize>,
    /// In bytes.
    pub log_limit: Option<u64>,
    pub record: Option<PathBuf>,
    pub replay: Option<PathBuf>,
}

impl Args {
    /// Fails with a usage error that names the argument.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Args> {
        let mut args = Args {
            mode: Mode::Chat,
            prompt: None,
            session: Session::New,
            model: None,
            context_window: None,
            max_output_tokens: None,
            max_retries: None,
            idle_timeout: None,
            background_timeout: None,
            max_background: None,
            log_limit: None,
            record: None,
            replay: None,
        };
        let mut parser = Parser::from_args(arguments);
        args.take_all(&mut parser)
            .map_err(|err| Error::Usage(err.to_string()))?;
        if args.mode == Mode::Chat {
            match args.prompt.as_deref() {
                Some("demo") => args.mode = Mode::Demo,
                Some("sessions") => args.mode = Mode::Sessions,
                _ => {}
            }
        }
        Ok(args)
    }

    fn take_all(&mut self, parser: &mut Parser) -> std::result::Result<(), lexopt::Error> {
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Short('p') | Arg::Long("print") => {
                    self.mode = Mode::Print;
                    if let Some(prompt) = parser.optional_value() {
                        self.take_prompt(prompt)?;
                    }
                }
                Arg::Short('c') | Arg::Long("continue") => self.session = Session::Continue,
                Arg::Long("resume") => self.session = Session::Resume(parser.value()?.string()?),
                Arg::Long("no-session") => self.session = Session::None,
                Arg::Long("context-window") => {
                    self.context_window = Some(count(parser, "--context-window")?);
                }
                Arg::Long("model") => self.model = Some(parser.value()?.string()?),
                Arg::Long("max-output-tokens") => {
                    self.max_output_tokens = Some(count(parser, "--max-output-tokens")?);
                }
                Arg::Long("max-retries") => self.max_retries = Some(parser.value()?.parse()?),
                Arg::Long("idle-timeout") => {
                    self.idle_timeout = Some(seconds(parser, "--idle-timeout")?);
                }
                Arg::Long("background-timeout") => {
                    self.background_timeout = Some(seconds(parser, "--background-timeout")?);
                }
                Arg::Long("max-background") => {
                    self.max_background = Some(count::<u32>(parser, "--max-background")? as usize);
                }
                Arg::Long("log-limit") => {
                    let mebibytes: u32 = count(parser, "--log-limit")?;
                    self.log_limit = Some(u64::from(mebibytes) * 1024 * 1024);
                }
                Arg::Long("record") => self.record = Some(parser.value()?.into()),
                Arg::Long("replay") => self.replay = Some(parser.value()?.into()),
                Arg::Short('h') | Arg::Long("help") => self.mode = Mode::Help,
                Arg::Short('V') | Arg::Long("version") => self.mode = Mode::Version,
                Arg::Value(prompt) => self.take_prompt(prompt)?,
                other => return Err(other.unexpected()),
            }
        }
        Ok(())
    }

    fn take_prompt(&mut self, prompt: OsString) -> std::result::Result<(), lexopt::Error> {
        let prompt = prompt.string()?;
        if let Some(first) = &self.prompt {
            let text = format!("two prompts, `{first}` and `{prompt}`: put the prompt in quotes");
            return Err(text.into());
        }
        self.prompt = Some(prompt);
        Ok(())
    }
}

fn seconds(parser: &mut Parser, option: &str) -> std::result::Result<Duration, lexopt::Error> {
    Ok(Duration::from_secs(count::<u32>(parser, option)?.into()))
}

/// A whole number from 1 on.
fn count<N: std::str::FromStr + PartialEq + Default>(
    parser: &mut Parser,
    option: &str,
) -> std::result::Result<N, lexopt::Error> {
    let value = parser.value()?.string()?;
    match value.parse() {
        Ok(n) if n != N::default() => Ok(n),
        _ => Err(format!("{option} takes a whole number from 1 on, not `{value}`").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> std::result::Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from)).map_err(|err| err.to_string())
    }

    #[test]
    fn arguments_are_understood_in_any_order() {
        assert_eq!(parse("").unwrap().mode, Mode::Chat);
        assert_eq!(parse("demo").unwrap().mode, Mode::Demo);
        assert_eq!(parse("-h").unwrap().mode, Mode::Help);
        let print = parse("-p fix --model m --max-output-tokens 9").unwrap();
        assert_eq!(
            (print.mode, print.prompt.as_deref()),
            (Mode::Print, Some("fix"))
        );
        assert_eq!(
            (print.model.as_deref(), print.max_output_tokens),
            (Some("m"), Some(9))
        );
        assert_eq!(parse("fix -p").unwrap(), parse("--print=fix").unwrap());
        assert_eq!(parse("-p demo").unwrap().mode, Mode::Print);
        assert_eq!(
            parse("-p -- --odd").unwrap().prompt.as_deref(),
            Some("--odd")
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let cases = [
            ("--nonsense", "--nonsense"),
            ("-p a b", "two prompts, `a` and `b`"),
            (
                "--max-background 0",
                "--max-background takes a whole number from 1 on, not `0`",
            ),
            ("--max-output-tokens x", "not `x`"),
            ("--model", "--model"),
        ];
        for (line, expected) in cases {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{error} must name {expected}");
            assert!(error.ends_with("try `meanwhile --help`"), "{error}");
        }
    }
}
