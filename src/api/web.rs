//! Searching the web and reading its pages: tools that the server itself runs, in the middle of a reply
//! (<https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/web-search-tool>). Pure.

use serde_json::{Map, Value};

use super::message::Block;
use crate::text::one_line;

/// The definitions. By default the model calls these tools from code that it writes, in a container on the server. If it
/// also calls one of our tools then, the next request must name the container, which a stream does not tell: the session
/// would be dead. Models before 4.6 can't do it at all. So the model calls them directly.
pub const TOOLS: &str = concat!(
    r#"{"type":"web_search_20260318","name":"web_search","allowed_callers":["direct"]},"#,
    r#"{"type":"web_fetch_20260318","name":"web_fetch","allowed_callers":["direct"]}"#,
);

pub const NAMES: [&str; 2] = ["web_search", "web_fetch"];

/// How much is shown of a query, a title or an address, in characters.
const SHOWN: usize = 100;

/// Whether the block is the result of a server's tool.
pub fn is_result(block: &Block) -> bool {
    block.kind() != "tool_result" && block.kind().ends_with("_tool_result")
}

/// One line about the result of a server's tool, with what its call has asked for, as far as that is known.
pub fn line(result: &Block, input: &Map<String, Value>) -> String {
    let name = result.kind().trim_end_matches("_tool_result");
    let asked = ["query", "url"].iter().find_map(|field| input.get(*field)?.as_str());
    let asked = asked.map(|asked| format!(" {}", quoted(asked))).unwrap_or_default();
    let found = found(result.get("content").unwrap_or(&Value::Null));
    format!("{name}{asked}: {found}")
}

fn found(content: &Value) -> String {
    let title = |page: &Value| page["title"].as_str().filter(|title| !title.is_empty()).map(quoted);
    let url = |page: &Value| page["url"].as_str().map(|url| one_line(url, SHOWN));
    match content {
        Value::Array(pages) => {
            let first = pages.first().map(|page| [title(page), url(page)]);
            let first: Vec<String> = first.into_iter().flatten().flatten().collect();
            match pages.len() {
                0 => "no results".into(),
                1 => format!("1 result: {}", first.join(" ")),
                n => format!("{n} results, first {}", first.join(" ")),
            }
        }
        page => match page["error_code"].as_str() {
            Some(code) => one_line(code, SHOWN),
            None => title(&page["content"]).or_else(|| url(page)).unwrap_or_else(|| "done".into()),
        },
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", one_line(text, SHOWN))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(kind: &str, input: Value, content: Value, expected: &str) {
        let result = Block::from_fields(json!({"type": kind, "tool_use_id": "s", "content": content}));
        let Value::Object(input) = input else { panic!("{input}") };
        assert!(is_result(&result));
        assert_eq!(line(&result, &input), expected);
    }

    #[test]
    fn a_result_is_one_line() {
        let page =
            |n: u32| json!({"type": "web_search_result", "title": format!("Page\n{n}"), "url": "https://a"});
        let search = "web_search_tool_result";
        let query = json!({"query": "one\ntwo"});
        check(search, query.clone(), json!([]), "web_search \"one two\": no results");
        check(
            search,
            query.clone(),
            json!([page(1)]),
            "web_search \"one two\": 1 result: \"Page 1\" https://a",
        );
        let pages = json!([page(1), page(2)]);
        check(search, json!({}), pages, "web_search: 2 results, first \"Page 1\" https://a");
        let error = json!({"type": "web_search_tool_result_error", "error_code": "too_many_requests"});
        check(search, query, error, "web_search \"one two\": too_many_requests");
        let address = json!({"url": "https://a/b"});
        let page = json!({"type": "web_fetch_result", "url": "https://a/b", "content": {"title": "A page"}});
        check("web_fetch_tool_result", address.clone(), page, "web_fetch \"https://a/b\": \"A page\"");
        let page = json!({"type": "web_fetch_result", "url": "https://a/b", "content": {"title": null}});
        check("web_fetch_tool_result", address, page, "web_fetch \"https://a/b\": https://a/b");
        check("bash_code_execution_tool_result", json!({}), json!("?"), "bash_code_execution: done");
        check(search, json!({"query": 7}), json!([7]), "web_search: 1 result: ");
    }

    #[test]
    fn the_definitions_are_json() {
        let tools: Value = serde_json::from_str(&format!("[{TOOLS}]")).unwrap();
        let names: Vec<&str> =
            tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, NAMES);
    }
}
