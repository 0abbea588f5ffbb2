//! Why a reply stopped, and what follows from it.

use serde_json::{Value, json};

use crate::support::{Test, gate::Gate, reply::Reply, stream::Block, until};

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
fn an_answer_that_was_cut_off_before_its_first_word_is_asked_for_with_twice_the_limit() {
    let thought = || Reply::message(vec![Block::thinking("hm")]).stop("max_tokens");
    let finished = Test::new()
        .print("go")
        .reply(thought())
        .reply(thought())
        .reply(Reply::tool("bash", json!({"command": "true"})))
        .reply(Reply::text("done"))
        .run()
        .code(0)
        .stdout("done\n")
        .stderr_contains("asking again with twice the limit");
    let limits: Vec<_> = finished.requests.iter().map(|request| request.body["max_tokens"].clone()).collect();
    assert_eq!(limits, [32_000, 64_000, 128_000, 128_000]);
    for again in &finished.requests[1..3] {
        assert_eq!(again.body["messages"], finished.requests[0].body["messages"]);
    }
}

#[test]
fn a_summary_that_was_cut_off_before_its_first_word_is_asked_for_with_twice_the_limit() {
    let mut session = Test::new()
        .reply(Reply::text("first answer"))
        .reply(Reply::message(vec![Block::thinking("hm")]).stop("max_tokens"))
        .reply(Reply::text("SUMMARY"))
        .reply(Reply::text("second answer"))
        .spawn();
    session.send_line(&"one ".repeat(500));
    session.expect("first answer");
    session.send_line("/compact");
    session.send_line("two");
    session.expect("second answer");
    session.close_stdin();
    let finished = session.wait().code(0);
    let limits: Vec<_> = finished.requests.iter().map(|request| request.body["max_tokens"].clone()).collect();
    assert_eq!(limits, [32_000, 32_000, 64_000, 64_000]);
    assert!(finished.request(3).body["messages"].to_string().contains("SUMMARY"));
}

#[test]
fn an_answer_that_is_still_cut_off_before_its_first_word_is_an_error() {
    for (limit, requests) in [(8, 4), (50_000, 3), (128_000, 1)] {
        let mut test = Test::new().arg(format!("--max-output-tokens={limit}")).print("go");
        for _ in 0..requests {
            test = test.reply(Reply::message(vec![Block::thinking("hm")]).stop("max_tokens"));
        }
        let finished = test.run().code(4).stdout("").stderr_contains("--max-output-tokens");
        assert_eq!(finished.requests.len(), requests);
    }
}

#[test]
fn a_limit_of_the_run_ends_the_asking_for_a_longer_reply() {
    let thought = Reply::message(vec![Block::thinking("hm")]).stop("max_tokens");
    Test::new().arg("--max-turns=1").print("go").reply(thought).run().code(4).stderr_contains("--max-turns");
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
        .reply(Reply::exactly(vec![Block::Raw(paused.clone())]).stop("pause_turn"))
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

fn last_text(message: &Value) -> &str {
    message["content"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap()
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
    let asked: Vec<&str> = finished.request(2).messages().iter().map(last_text).collect();
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

fn nothing() -> Reply {
    Reply::message(vec![])
}

#[test]
fn an_empty_reply_is_asked_for_again_once_and_is_then_an_error() {
    let finished = Test::new().print("go").reply(nothing()).reply(Reply::text("done")).run();
    let finished = finished.code(0).stdout("done\n").stderr_contains("the reply is empty; asking once more");
    assert_eq!(finished.requests[0].body, finished.requests[1].body);
    for blank in [vec![], vec![Block::text(" \n")], vec![Block::thinking("hm")]] {
        let stopped = |stop: &str| Reply::message(Vec::new()).stop(stop);
        let test = Test::new().args(["--output-format", "json"]).print("go").reply(Reply::message(blank));
        let finished = test.reply(stopped("tool_use")).run().code(3);
        assert!(finished.stdout.contains("\"is_error\":true"), "{}", finished.stdout);
        let again = finished.again().arg("-c").print("go on").reply(Reply::text("fine"));
        again.run().code(0).stdout("fine\n");
    }
    Test::new()
        .arg("--max-retries=0")
        .print("go")
        .reply(nothing())
        .run()
        .code(3)
        .stderr_contains("it is empty");
}

#[test]
fn after_results_an_empty_reply_is_asked_for_in_words() {
    let call = || Reply::tool("bash", json!({"command": "true"}));
    let finished =
        Test::new().print("go").reply(call()).reply(nothing()).reply(Reply::text("done")).run().code(0);
    let messages = finished.request(2).messages();
    let content = messages.last().unwrap()["content"].as_array().unwrap();
    assert_eq!((content.len(), &content[0]["type"]), (2, &json!("tool_result")));
    assert!(content[1]["text"].as_str().unwrap().starts_with("(Your reply was empty."), "{content:?}");
    Test::new().print("go").reply(call()).reply(nothing()).reply(nothing()).run().code(3).stdout("");
}

#[test]
fn the_last_words_before_silence_are_the_answer() {
    let call =
        Reply::message(vec![Block::text("All done."), Block::tool("bash", json!({"command": "true"}))]);
    let finished = Test::new().print("go").reply(call).reply(nothing()).reply(nothing()).run().code(0);
    finished.stdout("All done.\n").stderr_contains("its last words are the answer");
}

#[test]
fn silence_about_the_results_of_background_tasks_is_no_error() {
    let mut session = Test::new()
        .print("go")
        .reply(Reply::tool("background_run", json!({"command": until("go", "out")})))
        .reply(Reply::text("done"))
        .reply(nothing())
        .spawn();
    session.close_stdin();
    session.server().wait_for_requests(2);
    session.dir().write("go", "");
    session.wait().code(0).stdout("done\n");
}

#[test]
fn a_stop_for_a_call_without_one_is_named() {
    let odd = Reply::text("I call it.").stop("tool_use");
    let finished = Test::new().print("go").reply(odd).run().code(0).stdout("I call it.\n");
    finished.stderr_contains("the reply says that it ends with a call, but it holds none");
}

#[test]
fn a_refusal_says_its_category_and_its_explanation() {
    let details = json!({"type": "refusal", "category": "cyber", "explanation": "It could\nharm."});
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}});
    let streamed = format!("data: {end}\n\ndata: {{\"type\":\"message_stop\"}}\n\n");
    let whole = json!({"content": [], "stop_reason": "refusal", "stop_details": details}).to_string();
    for body in [streamed, whole] {
        let finished = Test::new().print("go").reply(Reply::raw(200, &[], &body)).run().code(1);
        let expected =
            "the model refused to answer (cyber: It could harm.); the turn was taken out of the conversation";
        let finished = finished.stderr_contains(expected);
        finished.again().arg("-c").print("go on").reply(Reply::text("fine")).run().code(0).stdout("fine\n");
    }
    for details in [json!(null), json!({"category": null, "explanation": " "}), json!("cyber")] {
        let whole = json!({"content": [], "stop_reason": "refusal", "stop_details": details}).to_string();
        let finished = Test::new().print("go").reply(Reply::raw(200, &[], &whole)).run().code(1);
        finished.stderr_contains("the model refused to answer; the turn was taken out");
    }
}

fn search(id: &str) -> Block {
    Block::Raw(json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": "x"}}))
}

fn found(id: &str) -> Block {
    Block::Raw(json!({"type": "web_search_tool_result", "tool_use_id": id, "content": []}))
}

#[test]
fn nothing_comes_between_a_paused_turn_and_its_continuation() {
    let finished = Test::new()
        .print("go")
        .reply(Reply::message(vec![
            search("srvtoolu_1"),
            Block::tool("background_run", json!({"command": "true"})),
            Block::tool("bash", json!({"command": "sleep 0.3"})),
        ]))
        .reply(Reply::message(vec![found("srvtoolu_1"), search("srvtoolu_2")]).stop("pause_turn"))
        .reply(Reply::message(vec![found("srvtoolu_2"), Block::text("found")]))
        .reply(Reply::text("seen"))
        .run()
        .code(0)
        .stdout("seen\n");
    // Beside an open call of the server: the results of the calls, and nothing else.
    let messages = finished.request(1).messages();
    let kinds: Vec<&str> =
        messages[2]["content"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect();
    assert_eq!((messages.len(), kinds), (3, vec!["tool_result", "tool_result"]));
    // After a pause: nothing.
    assert_eq!(finished.request(2).messages().len(), 4);
    // Then the result of the task.
    let last = finished.request(3).last_text();
    assert!(last.contains("<background-results>"), "{last}");
}

#[test]
fn a_call_of_the_server_that_has_no_result_at_the_end_is_not_sent_back() {
    for stop in ["end_turn", "stop_sequence", "of_the_future"] {
        let reply = Reply::exactly(vec![Block::text("I search."), search("srvtoolu_1")]).stop(stop);
        let finished = Test::new().print("go").reply(reply).run().code(0).stdout("I search.\n");
        let finished = finished.again().arg("-c").print("go on").reply(Reply::text("fine")).run().code(0);
        let answer = &finished.request(0).messages()[1]["content"];
        assert_eq!(answer, &json!([{"type": "text", "text": "I search."}]));
    }
}

#[test]
fn a_paused_turn_that_is_not_gone_on_with_stands_in_no_ones_way() {
    let paused = || Reply::message(vec![Block::text("I look."), search("srvtoolu_1")]).stop("pause_turn");
    let looked = json!([{"type": "text", "text": "I look."}]);
    // Interrupted at the prompt.
    let gate = Gate::new();
    let mut session =
        Test::new().reply(paused()).reply(Reply::text("late").gate(&gate)).reply(Reply::text("fine")).spawn();
    session.send_line("one");
    session.server().wait_for_requests(2);
    session.signal(rustix::process::Signal::INT);
    session.expect("interrupted");
    session.send_line("two");
    session.expect("fine");
    gate.open();
    session.close_stdin();
    assert_eq!(session.wait().code(0).request(2).messages()[1]["content"], looked);
    let failed = || Reply::error(403, "permission_error", "no");
    // Left by an error, and summarized.
    let test = Test::new().reply(paused()).reply(failed()).reply(Reply::text("THE SUMMARY"));
    let mut session = test.spawn();
    session.send_line("one");
    session.expect("answered 403");
    session.send_line("/compact");
    session.expect("summarizing");
    session.close_stdin();
    assert_eq!(session.wait().code(0).request(2).messages()[1]["content"], looked);
    // Left by an error, and continued later.
    let finished = Test::new().print("go").reply(paused()).reply(failed()).run().code(3);
    let finished = finished.again().arg("-c").print("go on").reply(Reply::text("fine")).run().code(0);
    assert_eq!(finished.request(0).messages()[1]["content"], looked);
}

#[test]
fn a_call_of_the_server_whose_result_was_interrupted_stands_in_no_ones_way() {
    let gate = Gate::new();
    let calls = vec![search("srvtoolu_1"), Block::tool("bash", json!({"command": "true"}))];
    let found = Reply::message(vec![found("srvtoolu_1"), Block::text("half of it")]);
    let mut session = Test::new()
        .reply(Reply::message(calls))
        .reply(found.hold_after("half", &gate))
        .reply(Reply::text("fine"))
        .spawn();
    session.send_line("one");
    session.expect("half");
    session.signal(rustix::process::Signal::INT);
    session.expect("interrupted");
    session.send_line("two");
    session.expect("fine");
    gate.open();
    session.close_stdin();
    let finished = session.wait().code(0);
    let kinds: Vec<&str> = finished.request(2).messages()[1]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["tool_use"]);
}

#[test]
fn a_turn_that_is_paused_without_end_is_left_with_a_word() {
    let paused = |n: u32| Reply::message(vec![search(&format!("srvtoolu_{n}"))]).stop("pause_turn");
    let first = Test::new()
        .print("go")
        .reply(Reply::message(vec![Block::text("I look."), search("srvtoolu_0")]).stop("pause_turn"));
    let test = (1..51).fold(first, |test, n| test.reply(paused(n)));
    test.run().code(0).stderr_contains("the server has paused the turn too often");
}

#[test]
fn an_empty_reply_after_a_pause_is_asked_for_as_the_pause_was() {
    let call = Block::tool("background_run", json!({"command": "true"}));
    let finished = Test::new()
        .print("go")
        .reply(Reply::message(vec![search("srvtoolu_1"), call]))
        .reply(nothing())
        .reply(Reply::message(vec![found("srvtoolu_1"), Block::text("found")]))
        .reply(Reply::text("seen"))
        .run()
        .code(0);
    assert_eq!(finished.requests[1].body, finished.requests[2].body);
}

#[test]
fn each_call_gives_another_chance_to_say_something() {
    let call = || Reply::tool("bash", json!({"command": "true"}));
    let test = Test::new().print("go").reply(call()).reply(nothing()).reply(call()).reply(nothing());
    test.reply(Reply::text("done")).run().code(0).stdout("done\n");
}
