//! The server's own tools for the web.

use serde_json::{Value, json};

use crate::support::Test;
use crate::support::reply::Reply;
use crate::support::request::Request;
use crate::support::stream::Block;

fn search(id: &str, query: &str) -> Block {
    Block::Raw(json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": query}}))
}

fn found(id: &str, content: Value) -> Block {
    Block::Raw(json!({"type": "web_search_tool_result", "tool_use_id": id, "content": content}))
}

fn page(title: &str) -> Value {
    let content = "EpwBCioIARgBIiQ=";
    json!({"type": "web_search_result", "title": title, "url": "https://a.example/", "encrypted_content": content})
}

fn web_tools(request: &Request) -> Vec<Value> {
    let tools = request.body["tools"].as_array().unwrap();
    let mut tools: Vec<Value> = tools.iter().filter(|tool| tool.get("type").is_some()).cloned().collect();
    tools.iter_mut().for_each(|tool| drop(tool.as_object_mut().unwrap().remove("cache_control")));
    tools
}

fn expected_tools() -> Vec<Value> {
    vec![
        json!({"type": "web_search_20260318", "name": "web_search", "allowed_callers": ["direct"]}),
        json!({"type": "web_fetch_20260318", "name": "web_fetch", "allowed_callers": ["direct"]}),
    ]
}

#[test]
fn only_with_web_may_the_model_search() {
    let ask = |test: Test| test.print("go").reply(Reply::text("done")).run().code(0);
    assert_eq!(web_tools(ask(Test::new()).request(0)), Vec::<Value>::new());
    assert_eq!(web_tools(ask(Test::new().arg("--web")).request(0)), expected_tools());
}

#[test]
fn what_is_found_is_one_line_each_and_goes_back_as_it_came() {
    let error = json!({"type": "web_search_tool_result_error", "error_code": "too_many_requests"});
    let blocks = || {
        vec![
            search("srvtoolu_1", "the weather"),
            found("srvtoolu_1", json!([page("Sun\u{1b}[2J"), page("Rain")])),
            search("srvtoolu_2", "more"),
            found("srvtoolu_2", error.clone()),
            Block::text("It is sunny."),
        ]
    };
    let mut calls = blocks();
    calls.push(Block::tool("bash", json!({"command": "true"})));
    let finished = Test::new()
        .arg("--web")
        .print("go")
        .reply(Reply::message(calls))
        .reply(Reply::text("done"))
        .run()
        .code(0)
        .stdout("done\n");
    let lines: Vec<&str> = finished.stderr.lines().filter(|line| line.contains("web_search")).collect();
    let expected = [
        r#"> web_search "the weather": 2 results, first "Sun\u{1b}[2J" https://a.example/"#,
        r#"> web_search "more": too_many_requests"#,
    ];
    assert_eq!(lines, expected);
    let mut sent_back = finished.request(1).messages()[1]["content"].as_array().unwrap().clone();
    sent_back.retain(|block| block["type"] != "thinking");
    let raw =
        blocks().into_iter().filter_map(|block| if let Block::Raw(raw) = block { Some(raw) } else { None });
    assert_eq!(sent_back[..4], raw.collect::<Vec<_>>());
}

#[test]
fn at_the_prompt_what_is_found_is_shown_too() {
    let reply =
        vec![search("srvtoolu_1", "x"), found("srvtoolu_1", json!([page("Sun")])), Block::text("Yes.")];
    let mut session = Test::new().arg("--web").reply(Reply::message(reply)).spawn();
    session.send_line("go");
    session.expect(r#"> web_search "x": 1 result: "Sun" https://a.example/"#);
    session.expect("Yes.");
    session.close_stdin();
    session.wait().code(0);
}

#[test]
fn a_server_without_these_tools_is_named_with_the_option() {
    let says = [
        "tools.7: Input tag 'web_search_20260318' found using 'type' does not match any of the expected tags",
        "tools.7.input_schema: Field required",
        "Web search is not enabled for this organization",
    ];
    for says in says {
        let refused = || Reply::error(400, "invalid_request_error", says);
        let finished = Test::new().arg("--web").print("go").reply(refused()).run().code(3);
        let advice = "(the server may not have the tools for the web: begin a session without --web)";
        assert!(finished.stderr.contains(says) && finished.stderr.contains(advice), "{}", finished.stderr);
        let finished = Test::new().print("go").reply(refused()).run().code(3);
        assert!(finished.stderr.contains(says) && !finished.stderr.contains("--web"), "{}", finished.stderr);
    }
}

#[test]
fn a_session_gets_the_tools_later_and_keeps_them() {
    let first = Test::new()
        .print("one")
        .reply(Reply::message(vec![Block::thinking("hm"), Block::text("done")]))
        .run()
        .code(0);
    let second = first.again().args(["-c", "--web"]).print("two").reply(Reply::text("done")).run().code(0);
    assert_eq!(web_tools(second.request(0)), expected_tools());
    assert_eq!(second.request(0).messages()[1]["content"], json!([{"type": "text", "text": "done"}]));
    let third = second.again().arg("-c").print("three").reply(Reply::text("done")).run().code(0);
    assert_eq!(web_tools(third.request(0)), expected_tools());
}

#[test]
fn the_first_record_names_the_tools() {
    let test = Test::new().args(["--web", "--output-format", "stream-json"]).print("go");
    let finished = test.reply(Reply::text("done")).run().code(0);
    let first: Value = serde_json::from_str(finished.stdout.lines().next().unwrap()).unwrap();
    let tools = first["tools"].as_array().unwrap();
    assert!(tools.ends_with(&[json!("web_search"), json!("web_fetch")]), "{tools:?}");
}
