//! The words of a shell command, quotes removed, one list for each simple command in it. Pure.
//!
//! Enough of POSIX shell grammar (XCU 2.2, 2.3) to tell a command from an argument. Text that is not
//! finished (an open quote) is taken as far as it goes.

use std::{iter::Peekable, str::Chars};

/// One simple command: its words, the targets of its redirections, and the here-documents that it reads.
#[derive(Debug, Default, PartialEq)]
pub struct SimpleCommand {
    pub words: Vec<String>,
    pub targets: Vec<String>,
    pub inputs: Vec<String>,
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
    let mut parser = Parser::new(text);
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
    /// What it is.
    kind: Kind,
    /// Some of it was quoted, or of a word before it in the command.
    is_quoted: bool,
    /// The tabs before the lines of the next here-document count for nothing.
    strips_tabs: bool,
    here_documents: Vec<HereDocument>,
    /// The texts of command substitutions.
    nested: Vec<String>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Word,
    /// Of a redirection.
    Target,
    /// The same, or the number of an open file.
    TargetOrDescriptor,
    /// Of a here-document.
    Delimiter,
    /// All that is read.
    Input,
}

struct HereDocument {
    delimiter: String,
    strips_tabs: bool,
    /// Then nothing is expanded in it.
    is_quoted: bool,
    /// The index of the command that reads it.
    reader: usize,
}

impl HereDocument {
    fn ends_at(&self, line: &str) -> bool {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = match self.strips_tabs {
            true => line.trim_start_matches('\t'),
            false => line,
        };
        line == self.delimiter
    }
}

impl Parser<'_> {
    fn new(text: &str) -> Parser<'_> {
        Parser {
            rest: text.chars().peekable(),
            commands: vec![SimpleCommand::default()],
            word: None,
            kind: Kind::Word,
            is_quoted: false,
            strips_tabs: false,
            here_documents: Vec::new(),
            nested: Vec::new(),
        }
    }

    fn run(&mut self) {
        while let Some(c) = self.rest.next() {
            self.is_quoted |= matches!(c, '\'' | '"' | '\\');
            match c {
                ' ' | '\t' => self.end_word(),
                '\n' => {
                    self.end_command();
                    self.read_here_documents();
                }
                ';' | '&' | '|' | '(' | ')' => self.end_command(),
                '<' | '>' => self.redirection(c),
                '#' if self.word.is_none() => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '\'' => {
                    let quoted = self.until('\'');
                    self.push(&quoted);
                }
                '"' => self.expanded(Some('"')),
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
        let reader = self.commands.len() - 1;
        let command = &mut self.commands[reader];
        // `>&2` and `>&-` name no file.
        let is_descriptor = || word.chars().all(|c| c.is_ascii_digit() || c == '-');
        match std::mem::take(&mut self.kind) {
            Kind::Word => command.words.push(word),
            Kind::TargetOrDescriptor if is_descriptor() => {}
            Kind::Target | Kind::TargetOrDescriptor => command.targets.push(word),
            Kind::Input => command.inputs.push(word),
            Kind::Delimiter => self.here_documents.push(HereDocument {
                delimiter: word,
                strips_tabs: self.strips_tabs,
                is_quoted: self.is_quoted,
                reader,
            }),
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.kind = Kind::Word;
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
            if self.rest.next_if_eq(&'<').is_some() {
                self.kind = Kind::Input;
                return;
            }
            self.strips_tabs = self.rest.next_if_eq(&'-').is_some();
            self.kind = Kind::Delimiter;
            self.is_quoted = false;
            return;
        }
        self.rest.next_if(|c| matches!(c, '>' | '|'));
        self.kind = match self.rest.next_if_eq(&'&') {
            Some(_) => Kind::TargetOrDescriptor,
            None => Kind::Target,
        };
    }

    fn read_here_documents(&mut self) {
        for document in std::mem::take(&mut self.here_documents) {
            let mut body = String::new();
            while let Some(line) = self.line().filter(|line| !document.ends_at(line)) {
                body += &line;
            }
            if !document.is_quoted {
                let mut inner = Parser::new(&body);
                inner.expanded(None);
                self.nested.append(&mut inner.nested);
            }
            self.commands[document.reader].inputs.push(body);
        }
    }

    /// The rest of a line, with its line feed where it has one; None at the end of the text.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        for c in self.rest.by_ref() {
            line.push(c);
            if c == '\n' {
                break;
            }
        }
        (!line.is_empty()).then_some(line)
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

    /// What a shell expands and does not split: up to a double quote, or all of a here-document.
    fn expanded(&mut self, end: Option<char>) {
        self.push("");
        while let Some(c) = self.rest.next() {
            match c {
                c if Some(c) == end => return,
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
        let mut here_documents: Vec<HereDocument> = Vec::new();
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
                (Some('('), '<') if inner.ends_with('<') && self.rest.peek() != Some(&'<') => {
                    inner.push(c);
                    // After a third one stands a word, not the end of a document.
                    if !inner.ends_with("<<<") {
                        here_documents.push(self.copy_delimiter(&mut inner));
                    }
                    continue;
                }
                // Quotes and parentheses in what follows are text.
                (Some('('), '\n') => {
                    inner.push(c);
                    for document in here_documents.drain(..) {
                        while let Some(line) = self.line() {
                            inner += &line;
                            if document.ends_at(&line) {
                                break;
                            }
                        }
                    }
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

impl Parser<'_> {
    /// After `<<` in a substitution, whose text is copied.
    fn copy_delimiter(&mut self, inner: &mut String) -> HereDocument {
        let strips_tabs = self.rest.next_if_eq(&'-').is_some();
        inner.push_str(if strips_tabs { "-" } else { "" });
        let blank = |c: &char| matches!(c, ' ' | '\t');
        while let Some(c) = self.rest.next_if(blank) {
            inner.push(c);
        }
        let of_word = |c: &char| !matches!(c, ' ' | '\t' | '\n' | ';' | '&' | '|' | ')' | '<' | '>');
        let mut delimiter = String::new();
        while let Some(c) = self.rest.next_if(of_word) {
            inner.push(c);
            delimiter.extend((!matches!(c, '\'' | '"' | '\\')).then_some(c));
        }
        HereDocument { delimiter, strips_tabs, is_quoted: false, reader: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&[&str]]) {
        let words: Vec<Vec<String>> = parse(text).into_iter().map(|command| command.words).collect();
        assert_eq!(words, expected);
    }

    #[test]
    fn commands_and_words() {
        check("a 'b c' \"d\\\"e\" f\\ g", &[&["a", "b c", "d\"e", "f g"]]);
        check("a; b && c || d | e & f\ng", &[&["a"], &["b"], &["c"], &["d"], &["e"], &["f"], &["g"]]);
        check("(a; b) # c", &[&["a"], &["b"]]);
        check("a$(b c)d `e`", &[&["a$d", ""], &["b", "c"], &["e"]]);
        check("a $(b ')' \"$(c ')')\" \\)) d", &[&["a", "$", "d"], &["b", ")", "$", ")"], &["c", ")"]]);
        check("a \"$(b \"c)\" \"'\")\" d", &[&["a", "$", "d"], &["b", "c)", "'"]]);
        check("a <<X b\nno\nX\nc", &[&["a", "b"], &["c"]]);
        check("a <<X\n\"$(b \"c\")\" \\$(d)\nX\n", &[&["a"], &["b", "c"]]);
        check("a << 'X'\n$(b)\nX\nc <<X; d", &[&["a"], &["c"], &["d"]]);
        check("a ''", &[&["a", ""]]);
        check("", &[]);
    }

    #[test]
    fn redirections_are_no_words() {
        let commands = parse("a 2>/dev/null >> b < c 3<>d >| e >&f 2>&1 <&- >2 x");
        assert_eq!(commands.len(), 1);
        assert_eq!(commands[0].words, ["a", "x"]);
        assert_eq!(commands[0].targets, ["/dev/null", "b", "c", "d", "e", "f", "2"]);
    }

    #[test]
    fn a_here_document_is_read_by_its_command() {
        let commands = parse("a <<X <<-'Y' | b <<<'c d'\n1\nX\n$(2)\n\tY\n");
        let inputs: Vec<_> = commands.iter().map(|command| &command.inputs).collect();
        assert_eq!(inputs, [&vec!["1\n", "$(2)\n"], &vec!["c d"]]);
        assert_eq!(commands[1].words, ["b"]);
    }
}
