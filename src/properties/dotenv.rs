//! The `.env` file: what was written comes out, and nothing else.

use super::{
    check,
    inputs::{bytes, damage, joined, once_in, one},
    random::Random,
};
use crate::dotenv::parse;

const NAMES: [&str; 3] = ["MODEL_ID", "KEY", "A.b_1"];

/// Lines that set none of them.
const NOISE: [&str; 12] = [
    "",
    "# KEY=comment",
    "  # KEY='comment",
    "no assignment",
    "=",
    "= KEY",
    "KEY 2=no name",
    "OTHER=1",
    "OTHER='KEY=1\nKEY=2'",
    "OTHER=\"KEY=1\nKEY=\\\"2\"",
    "exportKEY=1",
    "export=1",
];

const PIECES: [&str; 20] = [
    "a",
    "Z9",
    " ",
    "  ",
    "\t",
    "#",
    "'",
    "\"",
    "\\",
    "$",
    "${KEY}",
    "=",
    "\n",
    "\r",
    "é",
    "\u{1f980}",
    "\\n",
    "export ",
    "KEY=",
    "x y",
];

/// A value as a person may write it, in pieces quoted in different ways.
fn written(random: &mut Random, value: &str) -> String {
    if value.is_empty() {
        return one(random, &["", "''", "\"\"", " ''"]).to_owned();
    }
    let mut text = String::new();
    let mut rest = value;
    while !rest.is_empty() {
        let count = 1 + random.below(rest.chars().count() as u64) as usize;
        let end = rest.char_indices().nth(count).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        let is_inner = !text.is_empty() && !after.is_empty();
        text.push_str(&quoted(random, piece, is_inner));
        rest = after;
    }
    text
}

/// Inside a value spaces need no quotes, and a `#` begins no comment where no space is before it.
fn quoted(random: &mut Random, piece: &str, is_inner: bool) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "$={}".contains(c) || is_inner && " #".contains(c);
    let is_comment = piece.starts_with('#') || piece.contains(" #");
    let plain = piece.chars().all(is_plain) && !is_comment;
    match random.below(4) {
        0 if plain => piece.to_owned(),
        1 if !piece.contains('\'') => format!("'{piece}'"),
        2 => piece.chars().map(|c| format!("\\{c}")).collect::<String>().replace("\\n", "n"),
        _ => {
            let escaped = piece.replace('\\', "\\\\").replace('"', "\\\"");
            let newline = one(random, &["\n", "\\n"]);
            format!("\"{}\"", escaped.replace('\n', newline))
        }
    }
}

#[test]
fn what_was_assigned_is_read_however_it_is_quoted() {
    check("what_was_assigned_is_read_however_it_is_quoted", 1500, |random| {
        let mut file = one(random, &["", "\u{feff}"]).to_owned();
        let mut expected = Vec::new();
        for _ in 0..random.below(6) {
            if once_in(random, 2) {
                file += one(random, &NOISE);
            } else {
                let name = one(random, &NAMES);
                let value = joined(random, &PIECES, 6);
                let export = one(random, &["", " ", "export ", "export\t"]);
                let equals = one(random, &["=", " = ", "=  "]);
                let after = one(random, &["", " ", " # comment", "\t#'"]);
                file += &format!("{export}{name}{equals}{}{after}", written(random, &value));
                expected.push((name.to_owned(), value));
            }
            file += one(random, &["\n", "\r\n", "\n\n"]);
        }
        assert_eq!(parse(&file, &NAMES).as_ref(), Ok(&expected), "{file:?}");
    });
}

#[test]
fn any_text_gives_wanted_names_or_an_error() {
    check("any_text_gives_wanted_names_or_an_error", 1500, |random| {
        let mut file = joined(random, &PIECES, 30).into_bytes();
        damage(random, &mut file, &NOISE, 4);
        file.extend(bytes(random, 8));
        let file = String::from_utf8_lossy(&file);
        match parse(&file, &NAMES) {
            Ok(found) => {
                let size: usize = found.iter().map(|(_, value)| value.len()).sum();
                assert!(size <= file.len(), "{file:?}");
                let wanted = found.iter().all(|(name, _)| NAMES.contains(&name.as_str()));
                assert!(wanted, "{file:?} gives {found:?}");
            }
            Err(err) => assert!(err.ends_with("has a quote that is not closed"), "{err}"),
        }
    });
}
