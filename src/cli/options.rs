//! The one table of options and commands: the parser, the help, the completions and the man page read it.

/// An option of the command line.
pub struct Opt {
    pub short: Option<char>,
    pub long: &'static str,
    /// The name of its value; None for a switch.
    pub value: Option<&'static str>,
    /// The words that it takes, where there are only some.
    pub words: &'static [&'static str],
    pub help: &'static str,
}

/// A word that stands first and is no prompt.
pub struct Command {
    pub name: &'static str,
    /// The name of its argument, and the words that it takes.
    pub argument: Option<(&'static str, &'static [&'static str])>,
    pub help: &'static str,
}

pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];
pub const FORMATS: [&str; 3] = ["text", "json", "stream-json"];
pub const ON_END: [&str; 3] = ["wait", "kill", "fail"];
pub const COLOR: [&str; 3] = ["auto", "always", "never"];

pub const COMMANDS: [Command; 5] = [
    command("demo", None, "see it work: no key and no network needed"),
    command("sessions", None, "list the sessions that can be continued"),
    command("doctor", None, "look at what this machine has and what is missing"),
    command("completions", Some(("SHELL", &SHELLS)), "print completions for bash, zsh or fish"),
    command("man", None, "print the manual page"),
];

pub const OPTIONS: [Opt; 36] = [
    switch(Some('p'), "print", "do one task (stdin is added to it), print the answer, exit"),
    value(Some('f'), "file", "FILE", "take the task, or more of it, from FILE"),
    Opt {
        words: &FORMATS,
        ..value(None, "output-format", "FORMAT", "with -p: text, json or stream-json [text]")
    },
    Opt {
        words: &ON_END,
        ..value(None, "on-end", "WHAT", "with -p, to tasks that still run: wait, kill or fail [wait]")
    },
    value(None, "max-turns", "N", "with -p: no more replies of the model than this"),
    value(None, "max-time", "S", "with -p: no more seconds than this, all in all"),
    value(None, "max-total-tokens", "N", "with -p: no more tokens, in and out, than this"),
    switch(Some('c'), "continue", "go on with the last session of this directory"),
    value(None, "resume", "ID", "go on with a session; the start of its id is enough"),
    switch(None, "no-session", "keep nothing of this session"),
    value(Some('m'), "model", "ID", "the model (or the variable MODEL_ID)"),
    value(None, "max-output-tokens", "N", "how long one reply may be, in tokens [8000]"),
    value(None, "context-window", "N", "how much the model can hold, in tokens [200000]"),
    value(None, "max-retries", "N", "how often a failed request is tried again [8]"),
    value(None, "idle-timeout", "S", "give up a stream that is silent for so long [300]"),
    value(None, "background-timeout", "S", "time limit of a background task, in seconds [300]"),
    value(None, "max-background", "N", "how many background tasks may run at once [64]"),
    value(None, "log-limit", "MIB", "how large the log of one command may get [64]"),
    switch(None, "wake", "a background task that ends wakes the agent, as it does in a terminal"),
    switch(None, "no-wake", "it does not"),
    switch(None, "ask", "ask before a command is run or a file is written"),
    value(None, "allow", "RULE", "without asking: `bash:cargo *`, `write_file:src/*`, `edit_file`"),
    value(None, "deny", "RULE", "never, asked or not: `bash:git push*`"),
    value(None, "add-dir", "FOLDER", "open another folder to the file tools and the sandbox"),
    value(None, "sandbox", "MODE", "commands may write: workspace, read-only or off [off]"),
    switch(None, "no-network", "commands may not use TCP"),
    value(None, "keep-env", "NAME", "commands see this variable, even a credential"),
    value(None, "drop-env", "NAME", "commands do not see this variable"),
    switch(None, "scrub-env", "commands see no variable whose name looks like a secret's"),
    value(None, "record", "FILE", "write every reply of the API to FILE"),
    value(None, "replay", "FILE", "answer from FILE instead of the network"),
    Opt { words: &COLOR, ..value(None, "color", "WHEN", "auto, always or never; NO_COLOR is minded [auto]") },
    switch(Some('q'), "quiet", "with -p: nothing on stderr but errors"),
    switch(Some('v'), "verbose", "say of each request how long it took and what it used"),
    switch(Some('h'), "help", "print this"),
    switch(Some('V'), "version", "print the version"),
];

const fn command(
    name: &'static str,
    argument: Option<(&'static str, &'static [&'static str])>,
    help: &'static str,
) -> Command {
    Command { name, argument, help }
}

const fn switch(short: Option<char>, long: &'static str, help: &'static str) -> Opt {
    Opt { short, long, value: None, words: &[], help }
}

const fn value(short: Option<char>, long: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { short, long, value: Some(value), words: &[], help }
}
