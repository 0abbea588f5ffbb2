//! `/task ID`: shows the output of a task, and then what is new in it.
//!
//! The output is its head, its tail, and a count of the characters left out between them. Positions are counted
//! in characters from its beginning.

use std::time::{Duration, Instant};

use super::chat::{Chat, Console};
use super::screen::Typed;
use super::terminal::Terminal;
use crate::background::Arrival;
use crate::background::task::{NO_OUTPUT, Task};
use crate::error::{Error, Result};
use crate::stop::Stop;
use crate::text;

/// How often to look for new output.
const INTERVAL: Duration = Duration::from_millis(200);

/// A longer last line is not shown again when it changes: it may be larger than the tail.
const LONGEST_LINE: usize = 1000;

/// Shows the output of the task whose id begins with `id`: on a screen until it ends or a key is pressed, elsewhere
/// what there is now. Returns what is left to say. Fails with a stop that ends the program.
pub fn follow(chat: &mut Chat, id: &str) -> Result<String> {
    let Chat { agent, console, terminal, .. } = chat;
    let fits = |task: &&Task| !id.is_empty() && task.id.starts_with(id);
    let Some(task) = agent.tasks().list().find(fits) else {
        return Ok(format!("No task `{id}`; `/tasks` lists them."));
    };
    let id = task.id.clone();
    let mut shown = Shown::default();
    let mut is_over = shown.show_new(task, terminal);
    if let Console::Screen(screen) = console
        && !is_over
    {
        screen.follow();
        terminal.line("(press any key to return; the task goes on)");
        while !is_over {
            match agent.wait(&screen.typed, Some(Instant::now() + INTERVAL)) {
                Arrival::Message(Typed::Typing(_)) | Arrival::Task | Arrival::TimedOut => {}
                Arrival::Message(_) | Arrival::Closed | Arrival::Stopped(Stop::Interrupted) => break,
                Arrival::Stopped(stop) => return Err(Error::Stopped(stop)),
            }
            is_over = agent.tasks().find(&id).is_none_or(|task| shown.show_new(task, terminal));
        }
    }
    Ok(if shown == Shown::default() { NO_OUTPUT.into() } else { String::new() })
}

/// How much of an output has been shown.
#[derive(Default, PartialEq)]
struct Shown {
    /// Where the last line begins.
    settled: u64,
    /// The last line, which can still grow or be overwritten, as a progress bar is.
    line: String,
}

impl Shown {
    /// Shows what is new in the output of a task. Returns whether the task is over.
    fn show_new(&mut self, task: &Task, terminal: &mut Terminal) -> bool {
        let (output, left_out) = task.printed();
        if !output.is_empty() {
            terminal.line(self.take_new(&output, left_out).trim_matches('\n'));
        }
        task.end().is_some()
    }

    /// Returns the part of `output` that is new since the last call; a changed last line counts as new.
    fn take_new(&mut self, output: &str, left_out: u64) -> String {
        let gap = format!("\n{}\n", text::left_out(left_out));
        let (head, tail) = output.split_once(&gap).filter(|_| left_out > 0).unwrap_or(("", output));
        let head_end = characters(head);
        let tail_start = head_end + left_out;
        let end = self.settled + characters(&self.line);
        let rest = if self.settled < head_end {
            skip(output, self.settled).to_owned()
        } else if end < tail_start {
            format!("{}\n{tail}", text::left_out(tail_start - end))
        } else {
            let start = if self.settled < tail_start { end } else { self.settled };
            skip(tail, start - tail_start).to_owned()
        };
        let new = rest.strip_prefix(&self.line).unwrap_or(&rest).to_owned();
        let last = tail.rsplit('\n').next();
        let line = last.filter(|line| line.len() <= LONGEST_LINE).unwrap_or_default();
        self.settled = tail_start + characters(tail) - characters(line);
        self.line = line.to_owned();
        new
    }
}

fn characters(text: &str) -> u64 {
    text.chars().count() as u64
}

fn skip(text: &str, characters: u64) -> &str {
    let start = text.char_indices().nth(characters as usize);
    start.map_or("", |(at, _)| &text[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is new in each of these states of one output: its text, and how many characters it leaves out.
    #[track_caller]
    fn check(states: &[(&str, u64, &str)]) {
        let mut shown = Shown::default();
        for (output, left_out, expected) in states {
            assert_eq!(shown.take_new(output, *left_out), *expected, "{output:?}");
        }
    }

    #[test]
    fn only_what_is_new_is_shown() {
        check(&[
            ("", 0, ""),
            ("a\nb", 0, "a\nb"),
            ("a\nb", 0, ""),
            ("a\nbc\nd", 0, "c\nd"),
            ("a\nbc\nd", 0, ""),
        ]);
    }

    #[test]
    fn a_line_that_was_overwritten_is_shown_again() {
        check(&[("a\n10%", 0, "a\n10%"), ("a\n20%", 0, "20%"), ("a\n20%\nb", 0, "\nb")]);
    }

    #[test]
    fn an_output_that_is_cut_in_its_middle_is_not_shown_again() {
        let whole = "1\n2\n... (4 characters left out) ...\n\n5\n6";
        check(&[
            ("1\n2\n3\n4", 0, "1\n2\n3\n4"),
            (whole, 4, "\n5\n6"),
            ("1\n2\n... (6 characters left out) ...\n\n6\n7", 6, "\n7"),
            ("1\n2\n... (26 characters left out) ...\n8\n9", 26, "... (16 characters left out) ...\n8\n9"),
            ("1\n2\n... (28 characters left out) ...\n9 10", 28, " 10"),
        ]);
        check(&[(whole, 4, whole), (whole, 4, "")]);
    }

    #[test]
    fn a_line_without_an_end_is_not_shown_again() {
        let (line, longer) = ("x".repeat(2000), "x".repeat(2001));
        check(&[(&line, 0, &line), (&longer, 0, "x"), (&longer, 0, "")]);
    }
}
