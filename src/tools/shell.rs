//! Reads the simple commands in a shell command, quotes removed. Pure.
//!
//! This is enough of the POSIX shell grammar (XCU 2.2, 2.3) to tell a command from an argument. A text that is not
//! finished, as with an open quote, is read to its end. The time is in proportion to the length of the text.

use std::mem;

/// One simple command, with its quotes removed.
#[derive(Debug, Default, PartialEq)]
pub struct SimpleCommand {
    pub words: Vec<String>,
    /// The files that its redirections name.
    pub targets: Vec<String>,
    /// Its here-documents and here-strings.
    pub inputs: Vec<String>,
}

/// Substitutions nested deeper than this are not read.
const DEEPEST: usize = 32;

/// The simple commands in `text` and in its substitutions.
pub fn simple_commands(text: &str) -> Vec<SimpleCommand> {
    let commands = vec![SimpleCommand::default()];
    let mut parser = Parser { rest: text, commands, depth: 0, list: List::default() };
    parser.list(None);
    parser.commands.retain(|command| !command.words.is_empty() || !command.targets.is_empty());
    parser.commands
}

/// Reads a text once, from its start to its end.
struct Parser<'a> {
    rest: &'a str,
    commands: Vec<SimpleCommand>,
    /// How many substitutions are open.
    depth: usize,
    list: List,
}

/// The list of commands that is being read: the text itself, or a substitution in it.
#[derive(Default)]
struct List {
    /// The index of the command that is being read.
    command: usize,
    word: Option<String>,
    /// What the word is.
    kind: Kind,
    /// Whether a part of the word is quoted.
    is_quoted: bool,
    /// The here-documents whose text begins on the next line.
    here_documents: Vec<HereDocument>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Argument,
    /// The target of a redirection.
    Target,
    /// The same, or the number of an open file.
    TargetOrDescriptor,
    /// The delimiter of a here-document; whether tabs at the start of its lines are removed.
    Delimiter { strips_tabs: bool },
    /// A here-string.
    Input,
}

struct HereDocument {
    delimiter: String,
    strips_tabs: bool,
    /// Whether its text is expanded.
    is_expanded: bool,
    /// The index of the command that reads it.
    reader: usize,
}

impl<'a> Parser<'a> {
    /// Reads commands up to `end`, or to the end of the text.
    fn list(&mut self, end: Option<char>) {
        let mut open = 0;
        while let Some(c) = self.next() {
            if Some(c) == end && (open == 0 || c == '`') {
                break;
            }
            self.list.is_quoted |= matches!(c, '\'' | '"' | '\\');
            match c {
                ' ' | '\t' => self.end_word(),
                ';' | '&' | '|' => self.end_command(),
                '\n' => {
                    self.end_command();
                    self.here_documents();
                }
                '(' => {
                    self.end_command();
                    open += 1;
                }
                ')' => {
                    self.end_command();
                    open = i32::max(open - 1, 0);
                }
                '<' | '>' => self.redirection(c),
                '#' if self.list.word.is_none() => {
                    let is_end = |c| c == '\n' || c == '`' && end == Some('`');
                    self.rest = &self.rest[self.rest.find(is_end).unwrap_or(self.rest.len())..];
                }
                '\'' => {
                    let quoted = self.until('\'');
                    self.word().push_str(quoted);
                }
                '"' => self.expanded(Some('"')),
                '\\' if self.eats('\n') => {}
                '\\' => self.literal(),
                '`' => self.substitution('`'),
                '$' => self.dollar(),
                c => self.word().push(c),
            }
        }
        self.end_command();
    }

    fn next(&mut self) -> Option<char> {
        let mut rest = self.rest.chars();
        let c = rest.next();
        self.rest = rest.as_str();
        c
    }

    fn eats(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn until(&mut self, end: char) -> &'a str {
        let (text, rest) = self.rest.split_once(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        text
    }

    fn word(&mut self) -> &mut String {
        self.list.word.get_or_insert_default()
    }

    /// Adds the next character to the word, whatever it is.
    fn literal(&mut self) {
        let c = self.next();
        self.word().extend(c);
    }

    fn end_word(&mut self) {
        let is_quoted = mem::take(&mut self.list.is_quoted);
        let Some(word) = self.list.word.take() else { return };
        let reader = self.list.command;
        let command = &mut self.commands[reader];
        // `>&2` and `>&-` name no file.
        let is_descriptor = || word.chars().all(|c| c.is_ascii_digit() || c == '-');
        match mem::take(&mut self.list.kind) {
            Kind::Argument => command.words.push(word),
            Kind::TargetOrDescriptor if is_descriptor() => {}
            Kind::Target | Kind::TargetOrDescriptor => command.targets.push(word),
            Kind::Input => command.inputs.push(word),
            Kind::Delimiter { strips_tabs } => {
                let document = HereDocument { delimiter: word, strips_tabs, is_expanded: !is_quoted, reader };
                self.list.here_documents.push(document);
            }
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.list.kind = Kind::Argument;
        self.list.command = self.commands.len();
        self.commands.push(SimpleCommand::default());
    }

    /// After `<` or `>`: `<<`, `>>`, `>|`, `>&`, `<>`. A number before it is the descriptor and no word.
    fn redirection(&mut self, first: char) {
        self.list.word.take_if(|word| word.chars().all(|c| c.is_ascii_digit()));
        self.end_word();
        if self.eats('(') {
            return self.substitution(')');
        }
        if first == '<' && self.eats('<') {
            self.list.kind =
                if self.eats('<') { Kind::Input } else { Kind::Delimiter { strips_tabs: self.eats('-') } };
            return;
        }
        let _ = self.eats('>') || self.eats('|');
        self.list.kind = if self.eats('&') { Kind::TargetOrDescriptor } else { Kind::Target };
    }

    fn here_documents(&mut self) {
        for document in mem::take(&mut self.list.here_documents) {
            let start = self.rest;
            let mut length = 0;
            for line in start.split_inclusive('\n') {
                self.rest = &self.rest[line.len()..];
                let line_end = line.strip_suffix('\n').unwrap_or(line);
                let found = if document.strips_tabs { line_end.trim_start_matches('\t') } else { line_end };
                if found == document.delimiter {
                    break;
                }
                length += line.len();
            }
            let text = &start[..length];
            self.commands[document.reader].inputs.push(text.to_owned());
            if document.is_expanded {
                let outer = (mem::replace(&mut self.rest, text), mem::take(&mut self.list));
                self.expanded(None);
                (self.rest, self.list) = outer;
            }
        }
    }

    /// Reads a text in which a shell replaces substitutions but splits no words: up to a double quote, or a whole
    /// here-document.
    fn expanded(&mut self, end: Option<char>) {
        self.word();
        while let Some(c) = self.next() {
            match c {
                c if Some(c) == end => return,
                '\\' if self.eats('\n') => {}
                '\\' => {
                    if !self.rest.starts_with(['"', '\\', '$', '`']) {
                        self.word().push('\\');
                    }
                    self.literal();
                }
                '`' => self.substitution('`'),
                '$' => self.dollar(),
                c => self.word().push(c),
            }
        }
    }

    fn dollar(&mut self) {
        self.word().push('$');
        if self.depth < DEEPEST && self.eats('(') {
            self.substitution(')');
        }
    }

    /// Reads the commands of a substitution. The word around it continues after it.
    fn substitution(&mut self, end: char) {
        self.word();
        if self.depth == DEEPEST {
            return;
        }
        let inner = List { command: self.commands.len(), ..List::default() };
        self.commands.push(SimpleCommand::default());
        let outer = mem::replace(&mut self.list, inner);
        self.depth += 1;
        self.list(Some(end));
        self.depth -= 1;
        self.list = outer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&[&str]]) {
        let words: Vec<Vec<String>> =
            simple_commands(text).into_iter().map(|command| command.words).collect();
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
        check("a $(b <<X # ')'\n)\nX\n) c", &[&["a", "$", "c"], &["b"]]);
        check("a <(b; c) d", &[&["a", "", "d"], &["b"], &["c"]]);
        check("a ''", &[&["a", ""]]);
        check("", &[]);
    }

    #[test]
    fn redirections_are_no_words() {
        let commands = simple_commands("a 2>/dev/null >> b < c 3<>d >| e >&f 2>&1 <&- >2 x");
        assert_eq!(commands.len(), 1);
        assert_eq!(commands[0].words, ["a", "x"]);
        assert_eq!(commands[0].targets, ["/dev/null", "b", "c", "d", "e", "f", "2"]);
    }

    #[test]
    fn a_here_document_is_read_by_its_command() {
        let commands = simple_commands("a <<X <<-'Y' | b <<<'c d'\n1\nX\n$(2)\n\tY\n");
        let inputs: Vec<_> = commands.iter().map(|command| &command.inputs).collect();
        assert_eq!(inputs, [&vec!["1\n", "$(2)\n"], &vec!["c d"]]);
        assert_eq!(commands[1].words, ["b"]);
    }
}
