//! How text is laid out on a terminal, in cells and rows. Pure.

use unicode_width::UnicodeWidthChar;

/// How many cells a character takes: 0, 1 or 2.
pub fn cells(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// The characters of a text without its styles (`ESC [ ... m`): the position, the style and the character.
fn styled(text: &str) -> impl Iterator<Item = (usize, &str, char)> {
    let (mut next, mut style) = (0, "");
    std::iter::from_fn(move || {
        while text[next..].starts_with("\x1b[") {
            let end = text[next..].find('m').map_or(text.len(), |end| next + end + 1);
            style = &text[next..end];
            next = end;
        }
        let (at, c) = (next, text[next..].chars().next()?);
        next += c.len_utf8();
        Some((at, style, c))
    })
}

fn advance(column: usize, c: char) -> usize {
    match c {
        '\t' => column / 8 * 8 + 8,
        c => column + cells(c),
    }
}

/// How many cells a line takes.
pub fn width(text: &str) -> usize {
    styled(text).fold(0, |column, (_, _, c)| advance(column, c))
}

/// Splits a line into its full rows and the rest, which begins with the style in force.
pub fn full_rows(line: &str, columns: usize) -> (&str, String) {
    let (mut column, mut start, mut in_force) = (0, 0, "");
    for (at, style, c) in styled(line) {
        column = advance(column, c);
        if column > columns {
            (column, start, in_force) = (cells(c), at, style);
        }
    }
    (&line[..start], format!("{in_force}{}", &line[start..]))
}

/// The longest beginning of a line that fits.
pub fn fitting(line: &str, columns: usize) -> &str {
    let mut column = 0;
    let end = styled(line).find(|(_, _, c)| {
        column = advance(column, *c);
        column > columns
    });
    end.map_or(line, |(at, ..)| &line[..at])
}

/// The longest end of a text without styles and tabs that fits.
pub fn fitting_end(text: &str, columns: usize) -> &str {
    let mut column = 0;
    let start = text.char_indices().rev().find(|(_, c)| {
        column += cells(*c);
        column > columns
    });
    start.map_or(text, |(at, c)| &text[at + c.len_utf8()..])
}

/// The rows of a prompt and a typed text, and the row and column of the cursor, which is a byte position in the text.
pub fn input(prompt: &str, text: &str, cursor: usize, columns: usize) -> (Vec<String>, (usize, usize)) {
    let mut rows = vec![String::new()];
    let mut column = 0;
    let mut place = None;
    for (at, c) in format!("{prompt}{text}").char_indices() {
        let c = if c == '\t' { ' ' } else { c };
        // A line feed takes no cell.
        if column + cells(c) > columns {
            rows.push(String::new());
            column = 0;
        }
        if at == prompt.len() + cursor {
            place = Some((rows.len() - 1, column));
        }
        if c == '\n' {
            rows.push(String::new());
            column = 0;
        } else {
            rows.last_mut().expect("there is a first row").push(c);
            column += cells(c);
        }
    }
    if place.is_none() && column >= columns {
        rows.push(String::new());
        column = 0;
    }
    let place = place.unwrap_or((rows.len() - 1, column));
    (rows, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_cells_and_styles_none() {
        assert_eq!(width("a\x1b[1mb\x1b[0m"), 2);
        assert_eq!(width("\u{6f22}\u{5b57}e\u{301}"), 5);
        assert_eq!(width("a\tb"), 9);
        assert_eq!(fitting("ab\x1b[1mcd", 3), "ab\x1b[1mc");
        assert_eq!(fitting("a\u{6f22}", 2), "a");
        for (text, columns, end) in
            [("abc", 2, "bc"), ("abc", 3, "abc"), ("\u{6f22}\u{5b57}", 3, "\u{5b57}"), ("a", 0, "")]
        {
            assert_eq!(fitting_end(text, columns), end);
        }
    }

    #[test]
    fn full_rows_are_told_from_the_rest() {
        assert_eq!(full_rows("abc", 3), ("", "abc".into()));
        assert_eq!(full_rows("abcd", 3), ("abc", "d".into()));
        assert_eq!(full_rows("ab\x1b[1mcdefgh\x1b[0m", 3), ("ab\x1b[1mcdef", "\x1b[1mgh\x1b[0m".into()));
        assert_eq!(full_rows("ab\u{6f22}c", 3), ("ab", "\u{6f22}c".into()));
    }

    #[test]
    fn the_cursor_stands_where_the_next_character_goes() {
        let rows = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        assert_eq!(input("> ", "", 0, 10), (rows(&["> "]), (0, 2)));
        assert_eq!(input("> ", "abc", 1, 10), (rows(&["> abc"]), (0, 3)));
        assert_eq!(input("> ", "ab", 2, 4), (rows(&["> ab", ""]), (1, 0)));
        assert_eq!(input("> ", "abc", 2, 4), (rows(&["> ab", "c"]), (1, 0)));
        assert_eq!(input("> ", "a\nb", 1, 9), (rows(&["> a", "b"]), (0, 3)));
        assert_eq!(input("> ", "a\n", 2, 9), (rows(&["> a", ""]), (1, 0)));
        assert_eq!(input("> ", "\u{6f22}x", 3, 9), (rows(&["> \u{6f22}x"]), (0, 4)));
    }
}
