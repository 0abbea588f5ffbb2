//! How things are shown to a person: text as it arrives, a tool's name and the beginning of its result.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use super::{
    diff::{Kind, diff},
    markdown::Markdown,
    style::{BOLD, GREEN, RED, styled},
};
use crate::{
    agent::Event,
    api::reply::{Reply, ToolCall, Usage},
    cli::args::ColorWhen,
    error::Error,
    text::{duration, first, one_line, sentence, visible},
    tools::approval::Change,
};

/// How much of a line of a tool's result is shown, in characters.
const SHOWN_RESULT: usize = 200;
/// How many lines of it.
const SHOWN_LINES: usize = 5;
/// How many lines of a diff.
const SHOWN_DIFF: usize = 40;

/// Writes for a person. A reader who has left is no error: what is written then is lost.
pub struct Terminal<W: Write> {
    out: W,
    color: bool,
    /// The cursor is not at the start of a line.
    in_line: bool,
    /// Where a person looks at the text, and not a script.
    markdown: Option<Markdown>,
}

impl<W: Write> Terminal<W> {
    pub fn new(out: W, color: bool) -> Terminal<W> {
        Terminal { out, color, in_line: false, markdown: None }
    }

    /// Makes the Markdown of the model's text visible, if so.
    pub fn with_markdown(mut self, is_wanted: bool) -> Terminal<W> {
        self.markdown = is_wanted.then(Markdown::default);
        self
    }

    /// Shows what happens in a turn.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Text(text) => self.text(text),
            Event::Reply { .. } => self.end_line(),
            Event::Request | Event::TaskStarted { .. } | Event::TaskEnded(_) => {}
            Event::Discarded => self.line("(the reply broke off; what is above of it is discarded)"),
            Event::Retry { err, wait, failures, of } => {
                let wait = duration(wait);
                let err = sentence(&err.to_string());
                self.line(&format!("meanwhile: {err}; trying again in {wait} ({failures} of {of})"));
            }
            Event::Notice(text) => self.line(&format!("meanwhile: {text}")),
            Event::BackgroundResults(results) => self.line(inner_lines(results).trim_end()),
            Event::ToolCall(call) => self.colored(BOLD, &format!("> {}", summary(call))),
            Event::ToolResult { answer, change, .. } => {
                match answer.is_error {
                    true => self.colored(RED, &folded(&answer.text)),
                    false => self.line(&folded(&answer.text)),
                }
                change.into_iter().for_each(|change| self.change(change));
            }
        }
    }

    /// The lines of a file that differ, the first of them.
    fn change(&mut self, change: &Change) {
        let lines = diff(change.old.text(), &change.new);
        for line in lines.iter().take(SHOWN_DIFF) {
            match line.kind {
                Kind::Removed => self.colored(RED, &line.to_string()),
                Kind::Added => self.colored(GREEN, &line.to_string()),
                Kind::Same | Kind::Gap => self.line(&line.to_string()),
            }
        }
        if lines.len() > SHOWN_DIFF {
            self.line(&more(lines.len() - SHOWN_DIFF));
        }
    }

    /// One line about a request.
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

    /// What the model has said, on lines of its own.
    pub fn said(&mut self, said: &str) {
        self.end_line();
        self.text(said);
        self.end_line();
    }

    /// More of the model's text.
    fn text(&mut self, text: &str) {
        match &mut self.markdown {
            None => self.write(text),
            Some(markdown) => {
                let styled = markdown.push(&visible(text));
                self.styled(&styled);
            }
        }
    }

    /// Writes a text with styles, in which nothing else is to be made harmless.
    fn styled(&mut self, text: &str) {
        if !text.is_empty() {
            self.in_line = !text.ends_with('\n');
            let _ = self.out.write_all(text.as_bytes());
            let _ = self.out.flush();
        }
    }

    /// Writes a text on a line of its own, in this color where there are any.
    fn colored(&mut self, color: &str, text: &str) {
        self.end_line();
        if self.color {
            // No style outlives its line, so that each can be drawn by itself.
            for line in visible(text).lines() {
                self.styled(&(styled(color, line) + "\n"));
            }
        } else {
            self.line(text);
        }
    }

    /// Writes a text on a line of its own.
    pub fn line(&mut self, text: &str) {
        self.end_line();
        self.write(text);
        self.end_line();
    }

    /// Writes what the user is to answer, after an empty line.
    pub fn prompt(&mut self, text: &str) {
        self.end_line();
        self.write(&format!("\n{text}"));
        self.in_line = false;
    }

    pub fn end_line(&mut self) {
        if let Some(markdown) = &mut self.markdown {
            let rest = markdown.end();
            self.styled(&rest);
        }
        if self.in_line {
            self.write("\n");
        }
    }

    fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.in_line = !text.ends_with('\n');
        let _ = self.out.write_all(visible(text).as_bytes());
        let _ = self.out.flush();
    }
}

/// Whether there are to be colors.
pub fn has_color(when: ColorWhen, out: &impl IsTerminal) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => out.is_terminal() && colors_are_welcome(),
    }
}

/// <https://no-color.org>, and a terminal that is not known to have any.
fn colors_are_welcome() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// A call in a line.
pub fn summary(call: &ToolCall) -> String {
    let input = call.input.as_ref().ok();
    let about = ["command", "path", "task_id"].iter().find_map(|name| input?.get(*name)?.as_str());
    match about {
        Some(about) => format!("{}: {}", call.name, one_line(about, SHOWN_RESULT)),
        None => format!("{}:", call.name),
    }
}

/// The tokens that a session has used, in one line.
pub fn usage_line(usage: &Usage) -> String {
    let Usage { output, cache_read, .. } = usage;
    let sent = Usage { output: 0, ..*usage }.context();
    format!("({sent} tokens in, {cache_read} of them from the cache; {output} out)")
}

/// The first lines of a result, and how many more there are.
fn folded(text: &str) -> String {
    let lines = text.lines().count();
    let shown: Vec<&str> = text.lines().take(SHOWN_LINES).map(|line| first(line, SHOWN_RESULT)).collect();
    let shown = shown.join("\n");
    match lines {
        0..=SHOWN_LINES => shown,
        _ => format!("{shown}\n{}", more(lines - SHOWN_LINES)),
    }
}

fn more(lines: usize) -> String {
    match lines {
        1 => "... (1 more line)".into(),
        n => format!("... ({n} more lines)"),
    }
}

/// The block of results without its tags and the line that only the model needs; of each result what is
/// shown of a tool's result too.
fn inner_lines(results: &str) -> String {
    let mut shown = String::new();
    let mut room = SHOWN_RESULT;
    for line in results.lines().skip(2).filter(|line| !line.starts_with('<')) {
        let is_output = line.starts_with('|');
        if !is_output {
            room = SHOWN_RESULT;
        }
        if !is_output || room > 0 {
            shown.push_str(first(line, if is_output { room } else { line.len() }));
            shown.push('\n');
        }
        if is_output {
            room = room.saturating_sub(line.chars().count());
        }
    }
    shown
}
