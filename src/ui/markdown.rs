//! A model's text as it streams, with the lightest of Markdown made visible: headings, bold, code, lists, fences.
//!
//! Nothing is held back but a mark that the next character decides about, and no style outlives its line.

use super::style::{BOLD, CYAN, DIM, PLAIN, styled};

#[derive(Default)]
pub struct Markdown {
    /// The characters of a line that may still turn out to be a mark.
    held: String,
    /// Something of the line was shown already.
    in_line: bool,
    in_fence: bool,
    in_heading: bool,
    in_bold: bool,
    in_code: bool,
    /// The character before.
    last: Option<char>,
}

impl Markdown {
    /// What the next piece of text looks like.
    pub fn push(&mut self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            self.take(c, &mut shown);
        }
        shown
    }

    /// The text has ended: what was held back is no mark.
    pub fn end(&mut self) -> String {
        let mut shown = String::new();
        match self.in_line {
            true => self.release('\n', &mut shown),
            false => shown.push_str(&self.held),
        }
        if self.in_heading || self.in_bold || self.in_code {
            shown.push_str(PLAIN);
        }
        *self = Markdown::default();
        shown
    }

    fn take(&mut self, c: char, shown: &mut String) {
        if c == '\n' {
            return self.end_line(shown);
        }
        if !self.in_line {
            self.held.push(c);
            if !may_be_mark(&self.held) {
                self.begin_line(shown);
            }
            return;
        }
        if self.in_fence {
            return shown.push(c);
        }
        match (c, self.held.as_str()) {
            ('*', "*") if !self.in_code => self.held.push('*'),
            ('*', "") if !self.in_code => self.held.push('*'),
            ('`', "") => self.code(shown),
            _ => {
                self.release(c, shown);
                match c {
                    '`' => self.code(shown),
                    '*' if !self.in_code => self.held.push('*'),
                    c => shown.push(c),
                }
            }
        }
        if self.held.is_empty() {
            self.last = Some(c);
        }
    }

    /// The stars that were held back, now that the next character is known.
    fn release(&mut self, next: char, shown: &mut String) {
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

    fn code(&mut self, shown: &mut String) {
        self.in_code = !self.in_code;
        self.restyle(shown);
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

    /// The first characters of a line say what it is.
    fn begin_line(&mut self, shown: &mut String) {
        let held = std::mem::take(&mut self.held);
        self.in_line = true;
        self.last = None;
        let text = held.trim_start_matches(' ');
        let indent = &held[..held.len() - text.len()];
        if self.in_fence {
            return shown.push_str(&held);
        }
        shown.push_str(indent);
        let marks = text.len() - text.trim_start_matches('#').len();
        if (1..=6).contains(&marks) && text[marks..].starts_with(' ') {
            self.in_heading = true;
            shown.push_str(BOLD);
            return text[marks..].trim_start().chars().for_each(|c| self.take(c, shown));
        }
        let text = match text.strip_prefix("- ").or_else(|| text.strip_prefix("* ")) {
            Some(rest) => {
                shown.push_str("\u{2022} ");
                rest
            }
            None => text,
        };
        text.chars().for_each(|c| self.take(c, shown));
    }

    fn end_line(&mut self, shown: &mut String) {
        if !self.in_line {
            let held = std::mem::take(&mut self.held);
            match held.trim_start().strip_prefix("```") {
                Some(language) => {
                    self.in_fence = !self.in_fence;
                    shown.push_str(&styled(DIM, &format!("```{language}")));
                }
                None => shown.push_str(&held),
            }
        } else {
            self.release('\n', shown);
        }
        if self.in_heading || self.in_bold || self.in_code {
            shown.push_str(PLAIN);
        }
        shown.push('\n');
        let in_fence = self.in_fence;
        *self = Markdown { in_fence, ..Markdown::default() };
    }
}

/// Whether these first characters of a line need more to be told from plain text.
fn may_be_mark(held: &str) -> bool {
    let text = held.trim_start_matches(' ');
    let only = |c: char| text.chars().all(|other| other == c);
    match text.chars().next() {
        None => held.len() < 16,
        Some('#') => text.len() <= 6 && only('#'),
        Some('-' | '*') => text.len() == 1,
        // A fence and its language, to the end of the line.
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
