//! A history that fills the context window is made smaller, and stays a history.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Test, finished::Finished, gate::Gate, reply::Reply, stream::Block};

fn used(tokens: u64) -> serde_json::Value {
    json!({"input_tokens": tokens, "output_tokens": 10})
}

/// A turn of `calls` calls, each with a result of `size` bytes; the last reply before the end fills the window.
fn long_turn(calls: usize, size: usize) -> Test {
    let mut test = Test::new().arg("--context-window=20000").print("the task");
    for n in 0..calls {
        let command = format!("echo call-{n}; head -c {size} /dev/zero | tr '\\0' x");
        let tokens = if n + 1 == calls { 18_000 } else { 6000 };
        test = test.reply(Reply::tool("bash", json!({"command": command})).usage(used(tokens)));
    }
    test
}

#[test]
fn long_old_results_are_shortened_where_that_is_enough() {
    let finished = long_turn(12, 8000).reply(Reply::text("done")).run().code(0).stdout("done\n");
    let messages = finished.request(12).messages();
    assert_eq!(messages.len(), 25);
    let length = |n: usize| messages[n]["content"][0]["content"].as_str().unwrap().chars().count();
    assert!(length(2) < 2100, "an old result has {} characters", length(2));
    assert!(length(24) > 8000, "the last result has {} characters", length(24));
    finished.stderr_contains("old tool results were shortened");
}

fn summarized() -> Finished {
    long_turn(30, 500)
        .reply(Reply::with(|request| {
            assert!(request.last_text().contains("Call no tools"), "{}", request.last_text());
            Reply::text("THE SUMMARY")
        }))
        .reply(Reply::text("done").usage(used(1000)))
        .run()
        .code(0)
        .stdout("done\n")
}

#[test]
fn else_the_older_part_is_summarized_and_the_recent_part_kept() {
    let finished = summarized();
    let before = finished.request(29).messages().to_vec();
    let after = finished.request(31).messages().to_vec();
    assert!(after.len() < 20, "{} messages", after.len());
    let summary = after[0]["content"][0]["text"].as_str().unwrap();
    assert!(summary.contains("THE SUMMARY") && summary.contains("Running background tasks: none"));
    // The rest is the end of what was there before, without the thinking that is bound to what has gone.
    let mut kept = before[before.len() - 2]["content"].as_array().unwrap().clone();
    assert_eq!(kept.remove(0)["type"], "thinking");
    assert_eq!(after[after.len() - 4]["content"], json!(kept));
    assert_eq!(after[after.len() - 2]["role"], "assistant");
}

#[test]
fn a_summary_counts_as_a_reply_where_these_are_limited() {
    long_turn(30, 500)
        .reply(Reply::text("THE SUMMARY"))
        .arg("--max-turns=31")
        .run()
        .code(4)
        .stderr_contains("the model has replied 31 times");
}

#[test]
fn the_file_keeps_everything_and_continues_with_the_summary() {
    let finished = summarized();
    let folder = finished.dir.state().join("meanwhile/sessions");
    let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(file).unwrap();
    assert!((0..30).all(|n| text.contains(&format!("call-{n};"))));
    let count = finished.request(31).messages().len();
    let next = finished.again().arg("-c").print("and now").reply(Reply::text("ok")).run().code(0);
    let messages = next.request(0).messages();
    assert_eq!(messages.len(), count + 2);
    assert!(messages[0]["content"][0]["text"].as_str().unwrap().contains("THE SUMMARY"));
}

#[test]
fn it_can_be_asked_for() {
    let mut session = Test::new()
        .reply(Reply::text("first answer"))
        .reply(Reply::text("THE SUMMARY"))
        .reply(Reply::text("second answer"))
        .spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line("/compact");
    session.expect("summarizing");
    session.send_line("two");
    session.expect("second answer");
    session.close_stdin();
    let finished = session.wait().code(0);
    let request = finished.request(2);
    assert_eq!(request.messages().len(), 1);
    assert!(request.body.to_string().contains("THE SUMMARY"));
    assert!(request.last_text().ends_with("\ntwo"), "{}", request.last_text());
}

#[test]
fn a_request_that_is_too_large_is_made_smaller_once() {
    let mut session = Test::new()
        .reply(Reply::text("first answer"))
        .reply(Reply::error(413, "request_too_large", "Request exceeds the maximum size"))
        .reply(Reply::text("THE SUMMARY"))
        .reply(Reply::text("second answer"))
        .spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line("two");
    session.expect("second answer");
    session.close_stdin();
    assert!(session.wait().code(0).request(3).body.to_string().contains("THE SUMMARY"));
}

/// Whether the messages of request `n` are short enough for the window that a test names.
#[track_caller]
fn assert_fits(finished: &Finished, n: usize, bytes: usize) {
    let size = finished.request(n).body["messages"].to_string().len();
    assert!(size < bytes, "request {n} has {size} bytes");
}

#[test]
fn a_step_that_overflows_the_window_is_shortened_before_it_is_sent() {
    let print = json!({"command": "head -c 9000 /dev/zero | tr '\\0' x"});
    let calls = (0..6).map(|_| Block::tool("bash", print.clone()));
    let finished = Test::new()
        .arg("--context-window=10000")
        .print("the task")
        .reply(Reply::message(calls.collect()).usage(used(5000)))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    assert_fits(&finished, 1, 20_000);
    finished.stderr_contains("tool results were shortened");
}

#[test]
fn asking_for_it_works_when_the_results_fill_the_window() {
    let print = json!({"command": "head -c 40000 /dev/zero | tr '\\0' x"});
    let mut session = Test::new()
        .reply(Reply::tool("bash", print))
        .reply(Reply::text("first answer"))
        .reply(Reply::text("THE SUMMARY"))
        .spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line("/compact");
    session.server().wait_for_requests(3);
    session.close_stdin();
    assert_fits(&session.wait().code(0), 2, 5_000);
}

#[test]
fn a_session_that_is_full_when_it_is_continued_is_made_smaller_first() {
    let first = Test::new()
        .arg("--context-window=10000")
        .print(&"the task ".repeat(100))
        .reply(Reply::text("done").usage(used(9000)))
        .run()
        .code(0);
    let second = first
        .again()
        .args(["-c", "--context-window=10000"])
        .print("more")
        .reply(Reply::text("THE SUMMARY"))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    let request = second.request(1).body.to_string();
    assert!(request.contains("THE SUMMARY"), "{request}");
}

#[test]
fn a_summary_that_is_refused_or_cut_off_takes_no_place() {
    for (reason, expected) in [
        ("refusal", "the model refused to answer: it was to summarize"),
        ("max_tokens", "--max-output-tokens: the summary of the conversation was cut off"),
        ("of_the_future", "no complete summary"),
    ] {
        let mut session = Test::new()
            .reply(Reply::text("first answer"))
            .reply(Reply::text("NO SUMMARY").stop(reason))
            .reply(Reply::text("second answer"))
            .spawn();
        session.send_line("one");
        session.expect("first answer");
        session.send_line("/compact");
        session.expect(expected);
        session.send_line("two");
        session.expect("second answer");
        session.close_stdin();
        let finished = session.wait().code(0);
        let request = finished.request(2);
        assert_eq!(request.messages().len(), 3, "{reason}");
        assert!(!request.body.to_string().contains("NO SUMMARY"), "{reason}");
    }
}

#[test]
fn a_summary_that_fails_leaves_the_history_as_it_was() {
    let command = json!({"command": "head -c 5000 /dev/zero | tr '\\0' x"});
    let mut session = Test::new()
        .reply(Reply::message(vec![Block::thinking("First."), Block::tool("bash", command)]))
        .reply(Reply::text("seen"))
        .reply(Reply::error(400, "invalid_request_error", "no"))
        .reply(Reply::text("the end"))
        .spawn();
    session.send_line("one");
    session.expect("seen");
    session.send_line("/compact");
    session.expect("answered 400");
    session.send_line("two");
    session.expect("the end");
    session.close_stdin();
    let finished = session.wait().code(0);
    let (before, after) = (finished.request(1).messages(), finished.request(3).messages());
    assert_eq!(after[1], before[1]);
    assert_eq!(after[2]["content"][0]["content"], before[2]["content"][0]["content"]);
}

#[test]
fn an_interrupt_after_that_keeps_what_was_said() {
    let gate = Gate::new();
    let mut session = Test::new()
        .reply(Reply::text("first answer"))
        .reply(Reply::error(413, "request_too_large", "too large"))
        .reply(Reply::text("THE SUMMARY"))
        .reply(Reply::text("half a sentence").hold_after("half", &gate))
        .reply(Reply::text("Here I am."))
        .spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line("two");
    session.expect("half");
    session.signal(Signal::INT);
    session.expect("interrupted");
    session.send_line("three");
    session.expect("Here I am.");
    gate.open();
    session.close_stdin();
    let finished = session.wait().code(0);
    let request = finished.request(4).body["messages"].to_string();
    assert!(request.contains("half"), "{request}");
}
