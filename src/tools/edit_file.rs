//! `edit_file`: replaces exact text. The line ends, byte order mark and mode of the file stay as they are.

use super::{Answer, Context, Input, Outcome, Tool, change::Old, workspace::is_binary};

pub const TOOL: Tool = Tool {
    name: "edit_file",
    description: "Replace text in a file in the working directory. `old_text` must match exactly, white \
        space included. Replaces the first match, or every match with `replace_all`.",
    schema: r#"{"type":"object","properties":{
        "path":{"type":"string","description":"Relative to the working directory"},
        "old_text":{"type":"string","description":"The exact text to replace"},
        "new_text":{"type":"string","description":"The text that replaces it"},
        "replace_all":{"type":"boolean","description":"Replace every match, not only the first"}},
        "required":["path","old_text","new_text"]}"#,
    run,
};

fn run(context: &mut Context, input: &Input) -> Result<Outcome, Outcome> {
    let path = input.text("path")?;
    let old_text = input.text("old_text")?;
    let new_text = input.text("new_text")?;
    let replace_all = input.flag("replace_all")?;
    if old_text.is_empty() {
        return Err(Answer::error("old_text is empty: use write_file to write a whole file").into());
    }
    if old_text == new_text {
        return Err(Answer::error("old_text and new_text are the same: there is nothing to change").into());
    }
    let content = match String::from_utf8(context.workspace.read(path)?) {
        Ok(text) if !is_binary(text.as_bytes()) => text,
        _ => {
            let text = format!("{path} is not UTF-8 text, and was not changed: edit it with bash");
            return Err(Answer::error(text).into());
        }
    };
    let (edited, answer) = edit(path, &content, old_text, new_text, replace_all)?;
    context.write(input, Old::Text(content), edited, answer)
}

/// The new content, and the answer.
fn edit(path: &str, content: &str, old: &str, new: &str, all: bool) -> Result<(String, String), Answer> {
    let text = content.strip_prefix('\u{feff}').unwrap_or(content);
    let byte_order_mark = &content[..content.len() - text.len()];
    // The model sees only line feeds. In a file with CRLF they stand for CRLF, in both texts.
    let crlf = |text: &str| text.replace("\r\n", "\n").replace('\n', "\r\n");
    let ends = text.matches('\n').count();
    let all_crlf = ends > 0 && text.matches("\r\n").count() == ends;
    let is_as_written = !text.contains("\r\n") || !all_crlf && text.contains(old);
    let old = if is_as_written { old.to_owned() } else { crlf(old) };
    let new = if all_crlf || old.contains('\r') { crlf(new) } else { new.to_owned() };
    let Some(at) = text.find(&old) else {
        let hint = nearest(text, &old);
        return Err(Answer::error(format!("Text not found in {path}{hint}")));
    };
    let line = text[..at].matches('\n').count() + 1;
    let matches = text.matches(&old).count();
    let edited = if all { text.replace(&old, &new) } else { text.replacen(&old, &new, 1) };
    let answer = match (all, matches) {
        (_, 1) => format!("Edited {path} at line {line}"),
        (true, n) => format!("Edited {path}: {n} matches replaced, the first at line {line}"),
        (false, n) => format!("Edited {path} at line {line}; {} other matches were left", n - 1),
    };
    Ok((format!("{byte_order_mark}{edited}"), answer))
}

/// Names the place where the text would match if white space did not count.
fn nearest(text: &str, old: &str) -> String {
    let (lines, wanted) = (squeezed(text), squeezed(old));
    let mut windows = lines.windows(wanted.len().max(1));
    let wanted = || wanted.iter().map(|(_, line)| line);
    let found = windows.find(|window| window.iter().map(|(_, line)| line).eq(wanted()));
    let Some((index, _)) = found.and_then(|window| window.first()) else { return String::new() };
    let line = text.lines().nth(*index).unwrap_or_default();
    format!("; line {} differs only in white space: {line:?}", index + 1)
}

/// The lines that are not empty, with their indices and with single spaces for their white space.
fn squeezed(text: &str) -> Vec<(usize, String)> {
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(squeeze).enumerate().filter(|(_, line)| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &str, old: &str, new: &str, all: bool, expected: (&str, &str)) {
        let (edited, answer) = edit("f", content, old, new, all).unwrap();
        assert_eq!((edited.as_str(), answer.as_str()), expected);
    }

    #[test]
    fn exact_text_is_replaced_and_the_rest_stays() {
        check("a\nb\n", "b", "c", false, ("a\nc\n", "Edited f at line 2"));
        let left = "Edited f at line 1; 2 other matches were left";
        check("x x x", "x", "y", false, ("y x x", left));
        let all = "Edited f: 3 matches replaced, the first at line 1";
        check("x x x", "x", "y", true, ("y y y", all));
        check("a\r\nb\r\nc", "a\nb", "1\n2\n3", false, ("1\r\n2\r\n3\r\nc", "Edited f at line 1"));
        check("a\r\nb\r\n", "a", "1\n2", false, ("1\r\n2\r\nb\r\n", "Edited f at line 1"));
        check("a\r\nb\nc", "c", "1\n2", false, ("a\r\nb\n1\n2", "Edited f at line 3"));
        check("a\r\nb\r\n", "\nb", "\nc", false, ("a\r\nc\r\n", "Edited f at line 1"));
        check("a\r\nb", "a", "c", false, ("c\r\nb", "Edited f at line 1"));
        check("\u{feff}a", "a", "b", false, ("\u{feff}b", "Edited f at line 1"));
    }

    #[test]
    fn a_text_that_is_not_there_is_said_with_the_nearest_line() {
        let error = |content, old| edit("f", content, old, "new", false).unwrap_err().text;
        assert_eq!(error("a", "b"), "Error: Text not found in f");
        assert_eq!(
            error("fn x() {\n\n\tlet a = 1;\n}", "    let a  = 1;\n}"),
            "Error: Text not found in f; line 3 differs only in white space: \"\\tlet a = 1;\""
        );
    }
}
