//! Why a reply stopped, and what follows from it.

use serde_json::json;

use crate::support::{Test, reply::Reply, stream::Block};

#[test]
fn a_text_that_was_cut_off_is_continued_three_times_at_most() {
    let finished = Test::new()
        .print("go")
        .reply(Reply::text("one ").stop("max_tokens"))
        .reply(Reply::text("two ").stop("max_tokens"))
        .reply(Reply::text("three").stop("end_turn"))
        .run()
        .code(0)
        .stdout("one two three\n");
    let request = finished.request(1).last_text();
    assert!(request.contains("Continue exactly where it stopped"), "{request}");
    let mut test = Test::new().print("go");
    for text in ["a ", "b ", "c ", "d "] {
        test = test.reply(Reply::text(text).stop("max_tokens"));
    }
    test.run()
        .code(0)
        .stdout("a b c d\n")
        .stderr_contains("cut off by its length limit; --max-output-tokens raises it");
}

#[test]
fn an_answer_that_was_cut_off_before_its_first_word_is_an_error() {
    Test::new()
        .print("go")
        .reply(Reply::message(vec![Block::thinking("hm")]).stop("max_tokens"))
        .run()
        .code(4)
        .stderr_contains("--max-output-tokens");
}

#[test]
fn a_call_that_was_cut_off_is_not_run_but_answered() {
    let call = Block::tool("bash", json!({"command": "touch ran"}));
    let finished = Test::new()
        .print("go")
        .reply(Reply::message(vec![Block::text("I try."), call]).stop("max_tokens"))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    let (text, is_error) = finished.request(1).tool_result(0);
    assert!(is_error && text.contains("smaller pieces"), "{text}");
    assert!(!finished.dir.workspace().join("ran").exists());
}

#[test]
fn a_paused_turn_is_sent_back_as_it_is_and_goes_on() {
    let paused =
        json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}});
    let result = json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []});
    let finished = Test::new()
        .print("go")
        .reply(Reply::message(vec![Block::Raw(paused.clone())]).stop("pause_turn"))
        .reply(Reply::message(vec![Block::Raw(result.clone()), Block::text("found")]).stop("end_turn"))
        .reply(Reply::text("unused"))
        .allow_unused()
        .run()
        .code(0)
        .stdout("found\n");
    let messages = finished.request(1).messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1]["content"], json!([paused]));
}

#[test]
fn a_refused_turn_is_taken_out_and_the_session_goes_on() {
    let mut session = Test::new()
        .reply(Reply::text("first answer"))
        .reply(Reply::text("I can't").stop("refusal"))
        .reply(Reply::text("third answer"))
        .spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line("two");
    session.expect("the model refused to answer");
    session.send_line("three");
    session.expect("third answer");
    session.close_stdin();
    let finished = session.wait().code(0);
    let asked: Vec<&str> =
        finished.request(2).messages().iter().map(|m| m["content"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(asked, ["one", "first answer", "three"]);
}

#[test]
fn a_refusal_loses_no_result_of_a_background_task() {
    let mut session = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "echo precious"})))
        .reply(Reply::tool("check_background", json!({"wait": 20})))
        .reply(Reply::text("no").stop("refusal"))
        .reply(Reply::text("last answer"))
        .spawn();
    session.send_line("one");
    session.expect("the model refused to answer");
    session.send_line("two");
    session.expect("last answer");
    session.close_stdin();
    let finished = session.wait().code(0);
    let request = finished.request(3).body.to_string();
    assert_eq!(request.matches("| precious").count(), 1, "{request}");
}

#[test]
fn a_refusal_loses_no_result_that_was_asked_for() {
    let mut session = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "echo precious"})))
        .reply(Reply::with(|request| {
            let (started, _) = request.tool_result(0);
            let id = started.split(' ').nth(2).unwrap();
            Reply::tool("check_background", json!({"task_id": id, "wait": 20}))
        }))
        .reply(Reply::text("no").stop("refusal"))
        .reply(Reply::text("no").stop("refusal"))
        .spawn();
    for line in ["one", "two"] {
        session.send_line(line);
        session.expect("the model refused to answer");
    }
    session.close_stdin();
    let first = session.wait().code(0);
    let request = first.request(3).body["messages"].to_string();
    assert_eq!(request.matches("| precious").count(), 1, "{request}");
    // The next run does not have the result any more, but knows of it.
    let second = first.again().arg("-c").print("three").reply(Reply::text("done")).run().code(0);
    let request = second.request(0).body["messages"].to_string();
    assert_eq!(request.matches("its result is lost").count(), 1, "{request}");
}

#[test]
fn a_full_context_window_is_summarized_and_the_answer_goes_on() {
    let mut session = Test::new()
        .reply(Reply::text("first answer"))
        .reply(Reply::text("half an ").stop("model_context_window_exceeded"))
        .reply(Reply::text("SUMMARY"))
        .reply(Reply::text("answer"))
        .spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line("two");
    session.expect("summarizing");
    session.expect("answer");
    session.close_stdin();
    let finished = session.wait().code(0);
    let request = finished.request(3).body["messages"].to_string();
    assert!(request.contains("SUMMARY"), "{request}");
}

#[test]
fn a_reason_that_nobody_knows_ends_the_turn() {
    Test::new().print("go").reply(Reply::text("odd").stop("of_the_future")).run().code(0).stdout("odd\n");
    Test::new()
        .print("go")
        .reply(Reply::text("stopped").stop("stop_sequence"))
        .run()
        .code(0)
        .stdout("stopped\n");
}
