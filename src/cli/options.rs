//! The table of options and commands: one row each. The parser, the help, the completions and the manual page read it.
//!
//! To add an option, add a row here, the field of `Args` that its setter fills, and its line of the help to README.md.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::args::{
    Args, ColorWhen, Effort, Format, Loudness, Mode, OnEnd, SandboxMode, Session, Shell, Thinking,
};

/// An option of the command line.
pub struct Opt {
    pub short: Option<char>,
    pub long: &'static str,
    /// The name of the value, as the help shows it; None for a switch.
    pub value: Option<&'static str>,
    pub takes: Takes,
    pub help: &'static str,
    /// The value without the option, as it would be typed.
    pub default: Option<&'static str>,
    /// Where the option is valid: anywhere if empty.
    pub modes: &'static [Mode],
}

/// What the value of an option can be, and where it goes.
pub enum Takes {
    Nothing(fn(&mut Args)),
    /// A whole number from a minimum to `u32::MAX`.
    Number(u32, fn(&mut Args, u32)),
    /// One of these words; the setter gets its position.
    Word(&'static [&'static str], fn(&mut Args, usize)),
    /// One of these words, or a whole number from a minimum.
    WordOrNumber(&'static [&'static str], u32, fn(&mut Args, usize), fn(&mut Args, u32)),
    Text(fn(&mut Args, String)),
    Path(fn(&mut Args, PathBuf)),
}

/// A word that selects a mode if it is the only one, or the first with its argument.
pub struct Command {
    pub name: &'static str,
    pub mode: Mode,
    pub help: &'static str,
}

pub const SHELLS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

pub const COMMANDS: &[Command] = &[
    command("demo", Mode::Demo, "see it work, without a key or a network"),
    command("sessions", Mode::Sessions, "list the sessions that can be continued"),
    command("doctor", Mode::Doctor, "check what this machine has and what is missing"),
    command("completions", Mode::Completions(Shell::Bash), "print completions for bash, zsh or fish"),
    command("man", Mode::Man, "print this help as a manual page"),
];

const CHAT_OR_PRINT: &[Mode] = &[Mode::Chat, Mode::Print];
const CHAT_PRINT_OR_DEMO: &[Mode] = &[Mode::Chat, Mode::Print, Mode::Demo];
const CHAT_PRINT_OR_DOCTOR: &[Mode] = &[Mode::Chat, Mode::Print, Mode::Doctor];
const PRINT: &[Mode] = &[Mode::Print];
const CHAT: &[Mode] = &[Mode::Chat];
const ANYWHERE: &[Mode] = &[];

/// Two lines a row: what the help says, then where the value goes.
#[rustfmt::skip]
pub const OPTIONS: &[Opt] = &[
    switch("print", "do one task (stdin is added to the prompt), print the answer, exit",
        |to| to.mode = Mode::Print).short('p').valid_in(ANYWHERE),
    path("file", "FILE", "read the task, or the first message, from FILE",
        |to, path| to.run.file = Some(path)).short('f'),
    word("output-format", "FORMAT", &["text", "json", "stream-json"], "text, json or stream-json",
        |to, n| to.run.format = [Format::Text, Format::Json, Format::StreamJson][n]).valid_in(PRINT),
    path("json-schema", "FILE", "answer with JSON that fits a schema (a file, or the schema)",
        |to, path| to.json_schema = Some(path)).valid_in(PRINT),
    word("on-end", "WHAT", &["wait", "kill", "fail"], "if tasks still run at the end: wait, kill or fail",
        |to, n| to.run.on_end = [OnEnd::Wait, OnEnd::Kill, OnEnd::Fail][n]).valid_in(PRINT),
    number("max-turns", "N", "stop after N replies of the model",
        |to, n| to.limits.max_turns = Some(n.into())).valid_in(PRINT),
    number("max-time", "S", "stop after S seconds",
        |to, n| to.run.max_time = Some(seconds(n))).valid_in(PRINT),
    number("max-total-tokens", "N", "stop after N tokens, input and output together",
        |to, n| to.limits.max_total_tokens = Some(n.into())).valid_in(PRINT),
    switch("continue", "continue the last session of this folder",
        |to| to.session = Session::Continue).short('c'),
    text("resume", "ID", "continue a session; the start of its id is enough",
        |to, id| to.session = Session::Resume(id)),
    switch("no-session", "do not save the session",
        |to| to.session = Session::None),
    text("model", "ID", "the model (or set MODEL_ID)",
        |to, id| to.model = Some(id)).short('m').valid_in(CHAT_PRINT_OR_DOCTOR),
    opt("effort", Some("LEVEL"), "how hard the model works: low, medium, high, xhigh or max",
        Takes::Word(&Effort::NAMES, |to, n| to.thinking.effort = Some(Effort::ALL[n]))),
    // The least that the API takes: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>.
    opt("thinking", Some("HOW"), "whether the model thinks: on, off, or up to N tokens (older models)",
        Takes::WordOrNumber(&["on", "off"], 1024,
            |to, n| to.thinking.thinking = Some([Thinking::On, Thinking::Off][n]),
            |to, n| to.thinking.thinking = Some(Thinking::Budget(n)))),
    text("key-command", "CMD", "get the key from what CMD prints (also after a 401)",
        |to, command| to.gateway.key_command = Some(command)).valid_in(CHAT_PRINT_OR_DOCTOR),
    text("header", "LINE", "add a header to every request: `Name: value`",
        |to, line| to.gateway.headers.push(line)).valid_in(CHAT_PRINT_OR_DOCTOR),
    text("body", "JSON", "add the fields of a JSON object to every request",
        |to, body| to.gateway.bodies.push(body)),
    number("max-output-tokens", "N", "longest reply, in tokens (default: the model's or 32000)",
        |to, n| to.limits.max_output_tokens = Some(n)),
    number("context-window", "N", "size of the context window in tokens (default: the model's or 200000)",
        |to, n| to.limits.context_window = Some(n.into())),
    switch("web", "let the model search the web and read pages; the server does it",
        |to| to.service.web = true),
    word("cache-ttl", "TIME", &["5m", "1h"], "how long the server caches the conversation: 5m or 1h",
        |to, n| to.service.long_cache = n == 1),
    // With the waits in between, about a minute and a half.
    opt("max-retries", Some("N"), "how many times to retry a failed request",
        Takes::Number(0, |to, n| to.limits.max_retries = n)).default("8"),
    // Longer than the API is ever silent: it sends pings.
    number("idle-timeout", "S", "give up on a reply after S seconds without data",
        |to, n| to.limits.idle_timeout = seconds(n)).default("300"),
    number("background-timeout", "S", "time limit of a background task, in seconds",
        |to, n| to.commands.background_timeout = seconds(n)).default("300"),
    // Each task costs two processes and a thread.
    number("max-background", "N", "how many background tasks may run at once",
        |to, n| to.commands.max_background = n as usize).default("64"),
    // A command that prints without end must not fill the disk.
    number("log-limit", "MIB", "largest log of one command, in MiB",
        |to, n| to.commands.log_limit = u64::from(n) * 1024 * 1024).default("64"),
    switch("wake", "start a turn when a task ends (default at a terminal)",
        |to| to.run.wakes = Some(true)).valid_in(CHAT),
    switch("no-wake", "don't start a turn when a background task ends",
        |to| to.run.wakes = Some(false)).valid_in(CHAT),
    switch("ask", "ask before running a command or writing a file",
        |to| to.run.asks = true),
    text("allow", "RULE", "never ask for these: `bash:cargo *`, `write_file:src/*`, `edit_file`",
        |to, rule| to.run.allow.push(rule)),
    text("deny", "RULE", "never do these, even if allowed: `bash:git push*`",
        |to, rule| to.run.deny.push(rule)),
    path("add-dir", "FOLDER", "let the file tools and the sandbox use FOLDER too",
        |to, path| to.commands.add_dirs.push(path)),
    word("sandbox", "MODE", &SANDBOXES, "where commands may write: workspace, read-only or off", |to, n| {
        to.commands.sandbox = [SandboxMode::Off, SandboxMode::Workspace, SandboxMode::ReadOnly][n % 3];
        to.commands.best_effort = n > 2;
    }),
    switch("no-network", "commands may not use TCP",
        |to| to.commands.no_network = true),
    text("keep-env", "NAME", "let commands see this variable, even a credential",
        |to, name| to.commands.keep_env.push(name)),
    text("drop-env", "NAME", "hide this variable from commands",
        |to, name| to.commands.drop_env.push(name)),
    switch("scrub-env", "hide variables whose names look like secrets from commands",
        |to| to.commands.scrub_env = true),
    path("record", "FILE", "write the replies of the API to FILE",
        |to, path| to.run.record = Some(path)),
    path("replay", "FILE", "read the replies from FILE instead of the network",
        |to, path| to.replay = Some(path)),
    word("color", "WHEN", &["auto", "always", "never"], "auto, always or never; honors NO_COLOR",
        |to, n| to.run.color = [ColorWhen::Auto, ColorWhen::Always, ColorWhen::Never][n]).valid_in(CHAT_PRINT_OR_DEMO),
    switch("quiet", "print only errors on stderr",
        |to| to.run.loudness = Loudness::Quiet).short('q').valid_in(PRINT),
    switch("verbose", "print the time and the tokens of each request",
        |to| to.run.loudness = Loudness::Verbose).short('v').valid_in(PRINT),
    switch("help", "print this help",
        |to| to.mode = Mode::Help).short('h').valid_in(ANYWHERE),
    switch("version", "print the version",
        |to| to.mode = Mode::Version).short('V').valid_in(ANYWHERE),
];

/// With `best-effort`, commands run even if the kernel cannot enforce all of it.
const SANDBOXES: [&str; 6] =
    ["off", "workspace", "read-only", "off,best-effort", "workspace,best-effort", "read-only,best-effort"];

impl Opt {
    /// The words that the value can be; empty if it can be anything.
    pub fn words(&self) -> &'static [&'static str] {
        match self.takes {
            Takes::Word(words, _) | Takes::WordOrNumber(words, ..) => words,
            _ => &[],
        }
    }

    /// Stores `value`. Fails with a sentence that names the option.
    pub fn set(&self, args: &mut Args, value: OsString) -> Result<(), String> {
        let long = self.long;
        let bad = |expected: String, value: &str| format!("--{long} takes {expected}, not `{value}`");
        let text =
            || value.clone().into_string().map_err(|value| bad("UTF-8".into(), &value.to_string_lossy()));
        match self.takes {
            Takes::Nothing(set) => set(args),
            Takes::Path(set) => set(args, value.into()),
            Takes::Text(set) => set(args, text()?),
            Takes::Number(least, set) => {
                let text = text()?;
                let number = text.parse().ok().filter(|number| *number >= least);
                set(args, number.ok_or_else(|| bad(format!("a whole number, {least} or more"), &text))?);
            }
            Takes::Word(words, set) => {
                let text = text()?;
                let found = words.iter().position(|word| *word == text);
                set(args, found.ok_or_else(|| bad(format!("one of {}", words.join(", ")), &text))?);
            }
            Takes::WordOrNumber(words, least, set_word, set_number) => {
                let text = text()?;
                let expected = format!("{}, or a whole number, {least} or more", words.join(", "));
                match words.iter().position(|word| *word == text) {
                    Some(found) => set_word(args, found),
                    None => {
                        let number = text.parse().ok().filter(|number| *number >= least);
                        set_number(args, number.ok_or_else(|| bad(expected, &text))?);
                    }
                }
            }
        }
        Ok(())
    }

    const fn short(self, short: char) -> Opt {
        Opt { short: Some(short), ..self }
    }

    const fn default(self, value: &'static str) -> Opt {
        Opt { default: Some(value), ..self }
    }

    const fn valid_in(self, modes: &'static [Mode]) -> Opt {
        Opt { modes, ..self }
    }
}

fn seconds(n: u32) -> Duration {
    Duration::from_secs(n.into())
}

const fn command(name: Name, mode: Mode, help: &'static str) -> Command {
    Command { name, mode, help }
}

type Name = &'static str;

const fn opt(long: Name, value: Option<Name>, help: &'static str, takes: Takes) -> Opt {
    Opt { short: None, long, value, takes, help, default: None, modes: CHAT_OR_PRINT }
}

const fn switch(long: Name, help: &'static str, set: fn(&mut Args)) -> Opt {
    opt(long, None, help, Takes::Nothing(set))
}

const fn number(long: Name, value: Name, help: &'static str, set: fn(&mut Args, u32)) -> Opt {
    opt(long, Some(value), help, Takes::Number(1, set))
}

const fn text(long: Name, value: Name, help: &'static str, set: fn(&mut Args, String)) -> Opt {
    opt(long, Some(value), help, Takes::Text(set))
}

const fn path(long: Name, value: Name, help: &'static str, set: fn(&mut Args, PathBuf)) -> Opt {
    opt(long, Some(value), help, Takes::Path(set))
}

/// The first word is the default.
const fn word(
    long: Name,
    value: Name,
    words: &'static [&'static str],
    help: &'static str,
    set: fn(&mut Args, usize),
) -> Opt {
    Opt { default: Some(words[0]), ..opt(long, Some(value), help, Takes::Word(words, set)) }
}
