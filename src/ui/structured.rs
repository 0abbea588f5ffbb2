//! `--json-schema`: finds the JSON in an answer, and asks for what does not fit. Pure.

use crate::api::message::Block;
use crate::api::schema::Schema;

/// Returns the JSON text in an answer that fits the schema: all of it, or what a code fence or the last lines hold,
/// since models on servers without structured answers like to say something before it. Fails with what is wrong.
pub fn find<'a>(schema: &Schema, said: &'a str) -> Result<&'a str, String> {
    let said = said.trim();
    let body = said.strip_suffix("```").unwrap_or(said).trim_end();
    let fenced =
        body.split_once("```").map(|(_, text)| text.trim_start_matches(char::is_alphanumeric).trim());
    let start = body.rfind("\n{").max(body.rfind("\n["));
    let last = start.map(|start| &body[start + 1..]);
    let mut problem = None;
    for text in [Some(said), fenced, last].into_iter().flatten() {
        match serde_json::from_str(text) {
            Ok(value) => match schema.mismatch(&value) {
                None => return Ok(text),
                mismatch => problem = mismatch,
            },
            Err(err) if text == said => problem = Some(format!("it is not JSON: {err}")),
            Err(_) => {}
        }
    }
    Err(problem.unwrap_or_default())
}

/// The message that asks for an answer once more, in words.
pub fn ask_again(schema: &Schema, problem: &str) -> Block {
    Block::text(&format!(
        "(Your answer does not fit the JSON schema that it has to fit: {problem}\n\
         Answer once more, with nothing but JSON that fits this schema, and without a code fence.)\n{}",
        schema.as_value()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#;

    #[track_caller]
    fn check(said: &str, expected: Result<&str, &str>) {
        let schema = Schema::parse(SCHEMA).unwrap();
        assert_eq!(find(&schema, said), expected.map_err(str::to_owned), "{said}");
    }

    #[test]
    fn json_is_found_alone_in_a_fence_and_behind_a_text() {
        for said in [
            r#"{"n":1}"#,
            " \n{\"n\":1}\n\n",
            "```json\n{\"n\":1}\n```",
            "```\n{\"n\":1}\n```\n",
            "```json {\"n\":1}```",
            "Here it is:\n\n```json\n{\"n\":1}\n```",
            "Here it is:\n{\"n\":1}",
            "First `{\"n\":2}`, then:\n\n{\"n\":2}\n\n{\"n\":1}",
            "<think>\nIt is {\"n\":2}.\n</think>\n\n{\"n\":1}",
        ] {
            check(said, Ok(r#"{"n":1}"#));
        }
        let lines = "{\n  \"n\": 1,\n  \"a\": [\n{\"b\": \"```\"}]\n}";
        check(lines, Ok(lines));
        check(&format!("```json\n{lines}\n```"), Ok(lines));
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_said() {
        check("", Err("it is not JSON: EOF while parsing a value at line 1 column 0"));
        check("One.", Err("it is not JSON: expected value at line 1 column 1"));
        check("{\"n\":1", Err("it is not JSON: EOF while parsing an object at line 1 column 6"));
        check("{\"n\":1}\n\nDone.", Err("it is not JSON: trailing characters at line 3 column 1"));
        check("{}", Err("the answer lacks \"n\""));
        check("It is:\n```json\n{\"n\":\"1\"}\n```", Err("`/n` is string, not integer"));
    }
}
