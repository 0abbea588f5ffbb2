//! `read_file`: returns the text of a file, or some of its lines; or a picture.

use super::{Answer, Context, Input, LONGEST_RESULT, Outcome, Tool, approval::What, workspace::is_binary};
use crate::api::picture::{Format, Picture};
use crate::text;

pub const TOOL: Tool = Tool {
    name: "read_file",
    description: "Read a text file or a picture (PNG, JPEG, GIF, WebP) in the working directory, at most $LONGEST_RESULT characters at once. \
        `... (N more)` at the end says how many lines were left out: continue with `offset`.",
    schema: r#"{"type":"object","properties":{
        "path":{"type":"string","description":"Relative to the working directory"},
        "offset":{"type":"integer","description":"The first line to read, counted from 1"},
        "limit":{"type":"integer","description":"How many lines to read"}},
        "required":["path"]}"#,
    run,
};

fn run(context: &mut Context, input: &Input) -> Result<Outcome, Outcome> {
    let path = input.text("path")?;
    let offset = input.count("offset")?.unwrap_or(1);
    let limit = input.count("limit")?.unwrap_or(usize::MAX);
    let name = context.workspace.name(path)?;
    context.approve(input, What::Read(&name))?;
    let content = context.workspace.read(path)?;
    if let Some(format) = Format::of(&content) {
        if !context.takes_pictures {
            let text = format!("{path} is a picture, and this model takes no pictures");
            return Err(Answer::error(text).into());
        }
        let picture = Picture::new(path, format, &content).map_err(Answer::error)?;
        let text = picture.description();
        return Ok(Answer { picture: Some(picture), ..Answer::ok(text) }.into());
    }
    if is_binary(&content) {
        let size = content.len();
        let text = format!(
            "{path} is a binary file ({size} bytes): inspect it with bash, for instance with od or strings"
        );
        return Err(Answer::error(text).into());
    }
    let is_text = std::str::from_utf8(&content).is_ok();
    // A cut could leave a part of a secret, so this comes first.
    let text = context.secrets.mask(String::from_utf8_lossy(&content));
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let count = text.lines().count();
    if offset > count.max(1) {
        return Err(Answer::error(format!("{path} has {count} lines; there is no line {offset}")).into());
    }
    let mut shown = excerpt(text, count, offset, limit);
    if !is_text {
        shown.push_str(
            "\n(not UTF-8: invalid bytes are shown as \u{fffd}, and edit_file can't change the file)",
        );
    }
    Ok(Answer::ok(if shown.is_empty() { "(empty)".into() } else { shown }).into())
}

/// At most `limit` lines from line `offset` on, as many as fit into a result, and how many of `count` come after them.
fn excerpt(text: &str, count: usize, offset: usize, limit: usize) -> String {
    // The rest is for the last line, which says how much was left out.
    let mut room = LONGEST_RESULT - 200;
    let mut shown = String::new();
    let mut lines = 0;
    for line in text.lines().skip(offset - 1).take(limit) {
        let length = line.chars().count() + 1;
        if length > room {
            if lines == 0 {
                shown.push_str(text::first(line, room));
                shown.push_str(&format!("\n... ({} more characters in this line)\n", length - 1 - room));
                lines = 1;
            }
            break;
        }
        room -= length;
        lines += 1;
        shown.push_str(line);
        shown.push('\n');
    }
    match count.saturating_sub(offset - 1 + lines) {
        0 => shown.truncate(shown.trim_end_matches('\n').len()),
        more => shown.push_str(&format!("... ({more} more)")),
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, offset: usize, limit: usize, expected: &str) {
        assert_eq!(excerpt(text, text.lines().count(), offset, limit), expected);
    }

    #[test]
    fn lines_are_cut_and_the_rest_is_counted() {
        check("a\nb\nc\n", 1, 9, "a\nb\nc");
        check("a\nb\nc\n", 1, 2, "a\nb\n... (1 more)");
        check("a\nb\nc", 2, 1, "b\n... (1 more)");
        check("a\r\nb\r\n", 1, 1, "a\n... (1 more)");
        check("", 1, 9, "");
        let long = format!("{}\nb\n", "é".repeat(60_000));
        let shown = excerpt(&long, 2, 1, 9);
        assert!(shown.ends_with("é\n... (10200 more characters in this line)\n... (1 more)"));
        let many = "0123456789\n".repeat(10_000);
        let shown = excerpt(&many, 10_000, 1, usize::MAX);
        assert!(shown.chars().count() <= LONGEST_RESULT && shown.ends_with("... (5473 more)"));
    }
}
