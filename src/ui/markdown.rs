//! Renders light Markdown while it streams: headings, bold, code, lists and fences.
//!
//! Holds back only characters that may turn out to be markup. No style extends past the end of its line.

use super::style::{BOLD, CYAN, DIM, PLAIN, styled};

#[derive(Default)]
pub struct Markdown {
    /// Characters that may turn out to be markup: the beginning of a line, or stars in it.
    held: String,
    /// Whether the kind of the line is known.
    in_line: bool,
    in_fence: bool,
    in_heading: bool,
    in_bold: bool,
    in_code: bool,
    /// The character before `held`, in the same line.
    last: Option<char>,
}

impl Markdown {
    /// Renders the next piece of the text.
    pub fn push(&mut self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            self.take(c, &mut shown);
        }
        shown
    }

    /// Ends the text. Returns what was held back, and the end of the style.
    pub fn end(&mut self) -> String {
        let mut shown = String::new();
        self.end_line(&mut shown);
        self.in_fence = false;
        shown
    }

    fn take(&mut self, c: char, shown: &mut String) {
        if c == '\n' {
            self.end_line(shown);
            return shown.push(c);
        }
        if !self.in_line {
            self.held.push(c);
            if !may_be_markup(&self.held) {
                self.begin_line(shown);
            }
            return;
        }
        if self.in_fence {
            return shown.push(c);
        }
        if c == '*' && !self.in_code {
            if self.held == "**" {
                self.release(c, shown);
            }
            return self.held.push(c);
        }
        self.release(c, shown);
        if c == '`' {
            self.in_code = !self.in_code;
            self.restyle(shown);
        } else {
            shown.push(c);
        }
        self.last = Some(c);
    }

    /// Shows the stars that were held back, or toggles bold, now that the next character is known.
    fn release(&mut self, next: char, shown: &mut String) {
        if self.held.is_empty() {
            return;
        }
        let held = std::mem::take(&mut self.held);
        let opens = !self.in_bold
            && next != '*'
            && !next.is_whitespace()
            && !self.last.is_some_and(char::is_alphanumeric);
        let closes = self.in_bold && !self.last.is_some_and(char::is_whitespace);
        if held == "**" && (opens || closes) {
            self.in_bold = !self.in_bold;
            self.restyle(shown);
        } else {
            shown.push_str(&held);
        }
    }

    fn restyle(&self, shown: &mut String) {
        shown.push_str(PLAIN);
        if self.in_bold || self.in_heading {
            shown.push_str(BOLD);
        }
        if self.in_code {
            shown.push_str(CYAN);
        }
    }

    /// Shows the beginning of a line, which is complete in `held`.
    fn begin_line(&mut self, shown: &mut String) {
        let held = std::mem::take(&mut self.held);
        self.in_line = true;
        if self.in_fence {
            return shown.push_str(&held);
        }
        let mut text = held.trim_start_matches(' ');
        shown.push_str(&held[..held.len() - text.len()]);
        let heading = text.trim_start_matches('#');
        if (1..=6).contains(&(text.len() - heading.len())) && heading.starts_with(' ') {
            self.in_heading = true;
            shown.push_str(BOLD);
            text = heading.trim_start();
        } else if let Some(item) = text.strip_prefix("- ").or_else(|| text.strip_prefix("* ")) {
            shown.push_str("\u{2022} ");
            text = item;
        }
        text.chars().for_each(|c| self.take(c, shown));
    }

    fn end_line(&mut self, shown: &mut String) {
        if !self.in_line {
            let held = std::mem::take(&mut self.held);
            if let Some(language) = held.trim_start().strip_prefix("```") {
                self.in_fence = !self.in_fence;
                shown.push_str(&styled(DIM, &format!("```{language}")));
            } else {
                shown.push_str(&held);
            }
        }
        self.release('\n', shown);
        if self.in_heading || self.in_bold || self.in_code {
            shown.push_str(PLAIN);
        }
        *self = Markdown { in_fence: self.in_fence, ..Markdown::default() };
    }
}

/// Whether the beginning of a line needs more characters to be told from plain text.
fn may_be_markup(held: &str) -> bool {
    let text = held.trim_start_matches(' ');
    let only = |c: char| text.chars().all(|other| other == c);
    match text.chars().next() {
        None => held.len() < 16,
        Some('#') => text.len() <= 6 && only('#'),
        Some('-' | '*') => text.len() == 1,
        // A fence and its language, up to the end of the line.
        Some('`') => text.len() < 3 && only('`') || text.starts_with("```") && !text[3..].contains('`'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut whole = Markdown::default();
        let shown = whole.push(text) + &whole.end();
        let readable = |shown: &str| {
            let marks = [(PLAIN, "<>"), (BOLD, "<b>"), (CYAN, "<c>"), (DIM, "<d>")];
            marks.iter().fold(shown.to_owned(), |text, (code, mark)| text.replace(code, mark))
        };
        assert_eq!(readable(&shown), expected, "{text:?}");
        let mut pieces = Markdown::default();
        let shown: String = text.chars().map(|c| pieces.push(c.encode_utf8(&mut [0; 4]))).collect();
        assert_eq!(readable(&(shown + &pieces.end())), expected, "in pieces: {text:?}");
    }

    #[test]
    fn light_markdown_is_made_visible() {
        check("plain *text* 2 ** 3 a**b\n", "plain *text* 2 ** 3 a**b\n");
        check("is **bold** now", "is <><b>bold<> now");
        check("**a `b` c**", "<><b>a <><b><c>b<><b> c<>");
        check("run `a ** b`.", "run <><c>a ** b<>.");
        check("# Head `x`\ntext", "<b>Head <><b><c>x<><b><>\ntext");
        check("#hash\n- one\n  * two\n-x", "#hash\n\u{2022} one\n  \u{2022} two\n-x");
        check(
            "```rust\nlet **a** = `b`;\n  # c\n```\n`d`",
            "<d>```rust<>\nlet **a** = `b`;\n  # c\n<d>```<>\n<><c>d<>",
        );
        check("open **bold\nnext", "open <><b>bold<>\nnext");
        check("***\n", "***\n");
        check("a *", "a *");
        check("**\n", "**\n");
    }
}
