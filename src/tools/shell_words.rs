//! The words of a shell command, quotes removed, one list for each simple command in it. Pure.
//!
//! Enough of POSIX shell grammar (XCU 2.2, 2.3) to tell a command from an argument. Text that is not
//! finished (an open quote) is taken as far as it goes.

use std::{iter::Peekable, str::Chars};

/// One simple command: its words, and the targets of its redirections.
#[derive(Debug, Default, PartialEq)]
pub struct SimpleCommand {
    pub words: Vec<String>,
    pub targets: Vec<String>,
}

/// Substitutions nested deeper than this are not looked at.
const DEEPEST: usize = 16;

/// Every simple command in `text`, those in substitutions included.
pub fn parse(text: &str) -> Vec<SimpleCommand> {
    let mut commands = Vec::new();
    let mut texts = vec![(text.to_owned(), 0)];
    while let Some((text, depth)) = texts.pop() {
        let (found, nested) = parse_one(&text);
        commands.extend(found);
        let nested = nested.into_iter().rev().filter(|_| depth < DEEPEST);
        texts.extend(nested.map(|text| (text, depth + 1)));
    }
    commands
}

/// The simple commands of `text` itself, and the texts of its substitutions.
fn parse_one(text: &str) -> (Vec<SimpleCommand>, Vec<String>) {
    let mut parser = Parser {
        rest: text.chars().peekable(),
        commands: vec![SimpleCommand::default()],
        word: None,
        before_target: false,
        before_descriptor: false,
        here_documents: Vec::new(),
        before_delimiter: false,
        nested: Vec::new(),
    };
    parser.run();
    let mut commands = parser.commands;
    commands.retain(|command| !command.words.is_empty() || !command.targets.is_empty());
    (commands, parser.nested)
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    commands: Vec<SimpleCommand>,
    /// The word that is being read.
    word: Option<String>,
    /// The next word is the target of a redirection.
    before_target: bool,
    /// It may be the number of an open file.
    before_descriptor: bool,
    /// The next word ends a here-document.
    before_delimiter: bool,
    here_documents: Vec<String>,
    /// The texts of command substitutions.
    nested: Vec<String>,
}

impl Parser<'_> {
    fn run(&mut self) {
        while let Some(c) = self.rest.next() {
            match c {
                ' ' | '\t' => self.end_word(),
                '\n' => {
                    self.end_command();
                    self.skip_here_documents();
                }
                ';' | '&' | '|' | '(' | ')' => self.end_command(),
                '<' | '>' => self.redirection(c),
                '#' if self.word.is_none() => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '\'' => {
                    let quoted = self.until('\'');
                    self.push(&quoted);
                }
                '"' => self.double_quoted(),
                '\\' => match self.rest.next() {
                    Some('\n') | None => {}
                    Some(c) => self.push(c.encode_utf8(&mut [0; 4])),
                },
                '`' => {
                    let inner = self.until('`');
                    self.nested.push(inner);
                    self.push("");
                }
                '$' => self.dollar(),
                c => self.push(c.encode_utf8(&mut [0; 4])),
            }
        }
        self.end_command();
    }

    fn push(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        let command = self.commands.last_mut().expect("there is always one");
        if std::mem::take(&mut self.before_delimiter) {
            self.here_documents.push(word);
        } else if std::mem::take(&mut self.before_target) {
            // `>&2` and `>&-` name no file.
            let is_descriptor = word.chars().all(|c| c.is_ascii_digit() || c == '-');
            if !(std::mem::take(&mut self.before_descriptor) && is_descriptor) {
                command.targets.push(word);
            }
        } else {
            command.words.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.before_target = false;
        self.commands.push(SimpleCommand::default());
    }

    /// After `<` or `>`: `<<`, `>>`, `>|`, `>&`, `<>`, and the number before it that is no word.
    fn redirection(&mut self, first: char) {
        let is_number = |word: &String| word.chars().all(|c| c.is_ascii_digit());
        if self.word.as_ref().is_some_and(is_number) {
            self.word = None;
        }
        self.end_word();
        if self.rest.next_if_eq(&'(').is_some() {
            // A process substitution: its commands follow.
            return self.end_command();
        }
        if first == '<' && self.rest.next_if_eq(&'<').is_some() {
            self.before_delimiter = self.rest.next_if_eq(&'<').is_none();
            self.rest.next_if_eq(&'-');
            return;
        }
        self.rest.next_if(|c| matches!(c, '>' | '|'));
        self.before_descriptor = self.rest.next_if_eq(&'&').is_some();
        self.before_target = true;
    }

    fn skip_here_documents(&mut self) {
        for delimiter in std::mem::take(&mut self.here_documents) {
            loop {
                let mut line = String::new();
                let mut ended = true;
                for c in self.rest.by_ref() {
                    if c == '\n' {
                        ended = false;
                        break;
                    }
                    line.push(c);
                }
                if ended || line.trim_start_matches('\t') == delimiter {
                    break;
                }
            }
        }
    }

    fn until(&mut self, end: char) -> String {
        let mut text = String::new();
        for c in self.rest.by_ref() {
            if c == end {
                break;
            }
            text.push(c);
        }
        text
    }

    fn double_quoted(&mut self) {
        self.push("");
        while let Some(c) = self.rest.next() {
            match c {
                '"' => return,
                '\\' => match self.rest.next() {
                    Some('\n') | None => {}
                    Some(c @ ('"' | '\\' | '$' | '`')) => self.push(c.encode_utf8(&mut [0; 4])),
                    Some(c) => self.push(&format!("\\{c}")),
                },
                '`' => {
                    let inner = self.until('`');
                    self.nested.push(inner);
                }
                '$' => self.dollar(),
                c => self.push(c.encode_utf8(&mut [0; 4])),
            }
        }
    }

    /// After `$`: a substitution is kept for later, all else stays as it is written.
    fn dollar(&mut self) {
        self.push("$");
        if self.rest.next_if_eq(&'(').is_none() {
            return;
        }
        let inner = self.substitution();
        self.nested.push(inner);
    }

    /// The text up to the parenthesis that ends a substitution. One that is quoted ends nothing, and inside
    /// of double quotes another substitution may stand, with quotes of its own.
    fn substitution(&mut self) -> String {
        let mut inner = String::new();
        let mut open = vec!['('];
        while let Some(c) = self.rest.next() {
            match (open.last(), c) {
                (Some('"'), '"') | (Some('('), ')') => drop(open.pop()),
                (Some('('), '(' | '"') => open.push(c),
                (Some('"'), '(') if inner.ends_with('$') => open.push(c),
                (Some('('), '\'') => {
                    let quoted = self.until('\'');
                    inner.push_str(&format!("'{quoted}'"));
                    continue;
                }
                (_, '\\') => {
                    inner.push(c);
                    inner.extend(self.rest.next());
                    continue;
                }
                _ => {}
            }
            if open.is_empty() {
                break;
            }
            inner.push(c);
        }
        inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&[&str]]) {
        let words: Vec<Vec<String>> = parse(text)
            .into_iter()
            .map(|command| command.words)
            .collect();
        assert_eq!(words, expected);
    }

    #[test]
    fn commands_and_words() {
        check("a 'b c' \"d\\\"e\" f\\ g", &[&["a", "b c", "d\"e", "f g"]]);
        check(
            "a; b && c || d | e & f\ng",
            &[&["a"], &["b"], &["c"], &["d"], &["e"], &["f"], &["g"]],
        );
        check("(a; b) # c", &[&["a"], &["b"]]);
        check("a$(b c)d `e`", &[&["a$d", ""], &["b", "c"], &["e"]]);
        check(
            "a $(b ')' \"$(c ')')\" \\)) d",
            &[&["a", "$", "d"], &["b", ")", "$", ")"], &["c", ")"]],
        );
        check(
            "a \"$(b \"c)\" \"'\")\" d",
            &[&["a", "$", "d"], &["b", "c)", "'"]],
        );
        check("a <<X b\nno\nX\nc", &[&["a", "b"], &["c"]]);
        check("a ''", &[&["a", ""]]);
        check("", &[]);
    }

    #[test]
    fn redirections_are_no_words() {
        let commands = parse("a 2>/dev/null >> b < c 3<>d >| e >&f 2>&1 <&- >2 x");
        assert_eq!(commands.len(), 1);
        assert_eq!(commands[0].words, ["a", "x"]);
        assert_eq!(
            commands[0].targets,
            ["/dev/null", "b", "c", "d", "e", "f", "2"]
        );
    }
}
