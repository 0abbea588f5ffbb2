//! Shows a turn to a person: the model's text as it arrives, each tool call, and the first lines of its result.
//!
//! Text from outside can't control the terminal, and no style extends past the end of its line.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::diff::{Kind, diff};
use super::markdown::Markdown;
use super::style::{BOLD, DIM, GREEN, RED, styled};
use crate::agent::Event;
use crate::api::reply::{Reply, ToolCall, Usage};
use crate::cli::args::ColorWhen;
use crate::error::Error;
use crate::text::{duration, first, one_line, sentence, visible};
use crate::tools::change::Change;

/// How much is shown of a line of a tool result, and of the output of a background task, in characters.
const SHOWN_CHARACTERS: usize = 200;

/// How many lines of a tool result are shown.
const SHOWN_LINES: usize = 5;

/// How many lines of a diff are shown.
const SHOWN_DIFF: usize = 40;

/// Writes for a person. Errors are ignored: without a reader, nobody misses the text.
pub struct Terminal {
    out: Box<dyn Write>,
    color: bool,
    /// The cursor is not at the start of a line.
    in_line: bool,
    /// Since when the model has been thinking.
    thinking: Option<Instant>,
    /// None if the model's text is shown as it is.
    markdown: Option<Markdown>,
}

impl Terminal {
    pub fn new(out: impl Write + 'static, color: bool) -> Terminal {
        Terminal { out: Box::new(out), color, in_line: false, thinking: None, markdown: None }
    }

    /// Renders the Markdown in the model's text, if `is_wanted`.
    pub fn with_markdown(self, is_wanted: bool) -> Terminal {
        Terminal { markdown: is_wanted.then(Markdown::default), ..self }
    }

    /// Shows what happens in a turn.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Thinking(thought) => self.think(thought),
            Event::Text(text) => self.text(text),
            Event::Reply { .. } => self.end_line(),
            Event::Request | Event::TaskStarted { .. } | Event::TaskEnded(_) => {}
            Event::Discarded => self.line("(the partial reply above was discarded)"),
            Event::Retry { err, wait, failures, of } => {
                let wait = duration(wait);
                let err = sentence(&err.to_string());
                self.line(&format!("meanwhile: {err}; trying again in {wait} ({failures} of {of})"));
            }
            Event::Notice(text) | Event::TakenBack(text) => self.line(&format!("meanwhile: {text}")),
            Event::BackgroundResults(results) => self.line(&shown_results(results)),
            Event::Web(line) => self.colored(BOLD, &format!("> {line}")),
            Event::ToolCall(call) => self.colored(BOLD, &format!("> {}", summary(call))),
            Event::ToolResult { answer, change, .. } => {
                if answer.is_error {
                    self.colored(RED, &folded(&answer.text));
                } else {
                    self.line(&folded(&answer.text));
                }
                change.into_iter().for_each(|change| self.change(change));
            }
        }
    }

    /// Shows the first lines of a file's diff.
    fn change(&mut self, change: &Change) {
        let lines = diff(change.old.text(), &change.new);
        for line in lines.iter().take(SHOWN_DIFF) {
            match line.kind {
                Kind::Removed => self.colored(RED, &line.to_string()),
                Kind::Added => self.colored(GREEN, &line.to_string()),
                Kind::Same | Kind::Gap => self.line(&line.to_string()),
            }
        }
        more(lines.len().saturating_sub(SHOWN_DIFF)).iter().for_each(|more| self.line(more));
    }

    /// Shows how long a request took and the tokens it used.
    pub fn request(&mut self, reply: &Reply, time: Duration) {
        let Usage { input, output, cache_read, cache_write } = reply.usage;
        let time = duration(time);
        self.line(&format!(
            "meanwhile: reply after {time}: {input} tokens in, {cache_read} from the cache, {cache_write} to it, {output} out"
        ));
    }

    pub fn error(&mut self, err: &Error) {
        self.colored(RED, &format!("meanwhile: {}", sentence(&err.to_string())));
    }

    /// Shows the whole of a reply's text, on lines of its own.
    pub fn said(&mut self, said: &str) {
        self.end_line();
        self.text(said);
        self.end_line();
    }

    /// Notes when the model begins to think. What it thinks is not written here: a line says so afterwards.
    fn think(&mut self, thought: &str) {
        if self.thinking.is_none() && !thought.trim().is_empty() {
            self.end_line();
            self.thinking = Some(Instant::now());
        }
    }

    fn end_thinking(&mut self) {
        if let Some(since) = self.thinking.take() {
            let time = duration(since.elapsed());
            self.colored(DIM, &format!("(thought for {time}; `/last thinking` shows it)"));
        }
    }

    /// Writes more of the model's text.
    fn text(&mut self, text: &str) {
        self.end_thinking();
        let text = visible(text);
        let shown = match &mut self.markdown {
            Some(markdown) => markdown.push(&text).into(),
            None => text,
        };
        self.write(&shown);
    }

    /// Writes a text on a line of its own, in this style if colors are on.
    fn colored(&mut self, style: &str, text: &str) {
        if !self.color {
            return self.line(text);
        }
        self.end_line();
        for line in visible(text).lines() {
            self.write(&(styled(style, line) + "\n"));
        }
    }

    /// Writes a text on a line of its own.
    pub fn line(&mut self, text: &str) {
        self.end_line();
        self.write(&visible(text));
        self.end_line();
    }

    /// Writes a prompt, after an empty line.
    pub fn prompt(&mut self, text: &str) {
        self.end_line();
        self.write(&format!("\n{}", visible(text)));
        self.in_line = false;
    }

    fn end_line(&mut self) {
        self.end_thinking();
        if let Some(markdown) = &mut self.markdown {
            let rest = markdown.end();
            self.write(&rest);
        }
        if self.in_line {
            self.write("\n");
        }
    }

    /// Writes a text that can't control the terminal.
    fn write(&mut self, text: &str) {
        if !text.is_empty() {
            self.in_line = !text.ends_with('\n');
            let _ = self.out.write_all(text.as_bytes());
            let _ = self.out.flush();
        }
    }
}

/// Whether to use colors. `Auto` honors NO_COLOR (<https://no-color.org>) and terminals without colors.
pub fn has_color(when: ColorWhen, out: &impl IsTerminal) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => {
            let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let has_colors = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
            out.is_terminal() && has_colors && !no_color
        }
    }
}

/// A tool call in one line. A new tool whose main field has another name needs it here.
pub fn summary(call: &ToolCall) -> String {
    let input = call.input.as_ref().ok();
    let about = ["command", "path", "task_id"].iter().find_map(|name| input?.get(*name)?.as_str());
    match about {
        Some(about) => format!("{}: {}", call.name, one_line(about, SHOWN_CHARACTERS)),
        None => format!("{}:", call.name),
    }
}

/// The tokens that a session has used, in one line.
pub fn usage_line(usage: &Usage) -> String {
    let Usage { output, cache_read, .. } = usage;
    let sent = Usage { output: 0, ..*usage }.context();
    format!("({sent} tokens in, {cache_read} of them from the cache; {output} out)")
}

/// The first lines of a tool result, and how many more there are.
fn folded(text: &str) -> String {
    let mut lines = text.lines();
    let shown = lines.by_ref().take(SHOWN_LINES).map(|line| first(line, SHOWN_CHARACTERS).to_owned());
    let mut shown: Vec<String> = shown.collect();
    shown.extend(more(lines.count()));
    shown.join("\n")
}

fn more(lines: usize) -> Option<String> {
    match lines {
        0 => None,
        1 => Some("... (1 more line)".into()),
        n => Some(format!("... ({n} more lines)")),
    }
}

/// The results of background tasks without the tags and the line for the model; the output of each is cut.
fn shown_results(results: &str) -> String {
    let mut room = SHOWN_CHARACTERS;
    let lines = results.lines().skip(2).filter(|line| !line.starts_with('<'));
    let shown = lines.filter_map(|line| {
        if !line.starts_with('|') {
            room = SHOWN_CHARACTERS;
            return Some(line);
        }
        let shown = first(line, room);
        room -= shown.chars().count();
        (!shown.is_empty()).then_some(shown)
    });
    shown.collect::<Vec<_>>().join("\n")
}
