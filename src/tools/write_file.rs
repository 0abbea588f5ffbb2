//! `write_file`: replaces or creates a whole file.

use super::{Context, Input, Outcome, Tool};

pub const TOOL: Tool = Tool {
    name: "write_file",
    description: "Write a file in the working directory. Replaces its whole content, or creates the file \
        and its parent folders. To change part of a file, use edit_file.",
    schema: r#"{"type":"object","properties":{
        "path":{"type":"string","description":"Relative to the working directory"},
        "content":{"type":"string","description":"The whole content"}},
        "required":["path","content"]}"#,
    run,
};

fn run(context: &mut Context, input: &Input) -> Result<Outcome, Outcome> {
    let path = input.text("path")?;
    let content = input.text("content")?;
    let old = context.old(path);
    context.write(input, old, content.to_owned(), format!("Wrote {} bytes", content.len()))
}
