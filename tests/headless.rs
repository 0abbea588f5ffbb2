//! `-p`: one task for a script. The answer alone on stdout, everything of the input in the prompt.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::json;

use crate::support::finished::Finished;
use crate::support::reply::Reply;
use crate::support::session::Session;
use crate::support::stream::Block;
use crate::support::{Test, wait_until};

/// The texts of the only message of the first request.
#[track_caller]
fn prompt(finished: &Finished) -> Vec<String> {
    let blocks = finished.request(0).last_content();
    let texts = blocks.iter().map(|block| block["text"].as_str().unwrap().to_owned());
    texts.collect()
}

#[track_caller]
fn check_prompt(test: Test, expected: &[&str]) {
    let finished = test.reply(Reply::text("done")).run().code(0).stdout("done\n");
    assert_eq!(prompt(&finished), expected);
}

#[test]
fn the_answer_is_on_stdout_alone_and_everything_else_on_stderr() {
    let calls = vec![Block::text("I look."), Block::tool("bash", json!({"command": "echo seen"}))];
    let finished = Test::new()
        .reply(Reply::message(calls))
        .reply(Reply::text("It is there."))
        .print("look")
        .run()
        .code(0)
        .stdout("It is there.\n");
    assert_eq!(finished.stderr, "I look.\n> bash: echo seen\nseen\n");
}

#[test]
fn what_is_piped_in_is_added_to_the_prompt() {
    check_prompt(Test::new().print("explain").stdin("a log\nof lines\n"), &["explain", "a log\nof lines\n"]);
    check_prompt(Test::new().print("explain").stdin(""), &["explain"]);
    check_prompt(Test::new().print("explain").stdin(" \n"), &["explain"]);
    check_prompt(Test::new().print("explain"), &["explain"]);
    check_prompt(Test::new().arg("-p").stdin("all of it\n"), &["all of it\n"]);
    check_prompt(Test::new().args(["explain", "--print"]).stdin("this"), &["explain", "this"]);
}

#[test]
fn a_large_input_is_read_to_its_end() {
    let text = "0123456789abcde\n".repeat(64 * 1024);
    check_prompt(Test::new().print("explain").stdin(&text), &["explain", &text]);
}

#[test]
fn no_prompt_is_a_usage_error() {
    for test in [Test::new().arg("-p"), Test::new().arg("-p").stdin(" \n"), Test::new().args(["-p", ""])] {
        let finished = test.run().code(2).stdout("").stderr_contains("no prompt");
        assert_eq!(finished.requests.len(), 0);
    }
}

fn spawn(test: Test) -> Session {
    test.reply(Reply::text("done")).print("explain").spawn()
}

/// The second waits for as long as the program waits, and so tells when the first has waited longer.
#[test]
fn a_pipe_is_left_alone_after_3_silent_seconds_but_a_slow_one_is_read_to_its_end() {
    let mut slow = spawn(Test::new());
    slow.send("the beginning, ");
    let mut silent = spawn(Test::new());
    silent.expect_stderr("no input for 3 s");
    let finished = silent.wait().code(0).stdout("done\n");
    assert_eq!(prompt(&finished), ["explain"]);
    assert_eq!(slow.server().requests().len(), 0);
    slow.send("the end");
    slow.close_stdin();
    let finished = slow.wait().code(0).stdout("done\n");
    assert_eq!(prompt(&finished), ["explain", "the beginning, the end"]);
    assert_eq!(finished.stderr, "");
}

#[test]
fn running_tasks_are_waited_for_and_their_results_told_in_a_further_request() {
    let command = |file: &str| format!("until [ -e {file} ]; do sleep 0.02; done; echo result of {file}");
    let mut session = Test::new()
        .reply(Reply::tool("background_run", json!({"command": command("first")})))
        .reply(Reply::text("I wait."))
        .reply(Reply::tool("background_run", json!({"command": command("second")})))
        .reply(Reply::text("I wait again."))
        .reply(Reply::text("Both are done."))
        .print("go")
        .spawn();
    session.close_stdin();
    for (requests, file) in [(2, "first"), (4, "second")] {
        session.server().wait_for_requests(requests);
        session.dir().write(file, "");
    }
    let finished = session.wait().code(0).stdout("Both are done.\n");
    for (request, file) in [(2, "first"), (4, "second")] {
        let told = finished.request(request).last_text();
        assert!(
            told.starts_with("<background-results>") && told.contains(&format!("| result of {file}\n")),
            "{told}"
        );
    }
    finished.stderr_contains("I wait.\n").stderr_contains("I wait again.\n");
}

#[test]
fn an_answer_without_text_after_the_last_result_does_not_take_the_place_of_the_one_before() {
    let mut session = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "until [ -e go ]; do sleep 0.02; done"})))
        .reply(Reply::text("The answer."))
        .reply(Reply::message(vec![]))
        .print("go")
        .spawn();
    session.close_stdin();
    session.server().wait_for_requests(2);
    session.dir().write("go", "");
    session.wait().code(0).stdout("The answer.\n");
}

#[test]
fn a_request_that_fails_leaves_stdout_empty_and_has_an_exit_code() {
    let refused = Reply::error(401, "authentication_error", "invalid x-api-key");
    let finished = Test::new().reply(refused).print("go").run().code(3).stdout("");
    finished.stderr_contains("meanwhile: the API answered 401 authentication_error: invalid x-api-key");
    let test =
        Test::new().env("ANTHROPIC_BASE_URL", "http://127.0.0.1:1").args(["--max-retries", "0"]).print("go");
    let finished = test.run().code(3).stdout("");
    finished.stderr_contains("meanwhile: failed to reach http://127.0.0.1:1/v1/messages");
}

#[test]
fn an_interrupt_while_tasks_are_waited_for_ends_them_too() {
    let mut session = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "echo $$ > pid; sleep 600"})))
        .reply(Reply::text("I wait."))
        .print("go")
        .spawn();
    session.close_stdin();
    let pid = session.dir().workspace().join("pid");
    wait_until("the task runs", || std::fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
    session.server().wait_for_requests(2);
    session.signal(rustix::process::Signal::INT);
    let finished = session.wait().code(130).stdout("");
    let pid = finished.dir.read("pid");
    wait_until("the task is gone", || !std::path::Path::new("/proc").join(pid.trim()).exists());
}

/// The program with a stdout that nobody reads; its exit code and stderr.
fn unread(test: &Test, args: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut child = Command::new(env!("CARGO_BIN_EXE_meanwhile"))
        .args(args)
        .env_clear()
        .env("HOME", test.home())
        .env("ANTHROPIC_API_KEY", "test-key")
        .env("ANTHROPIC_BASE_URL", test.server().url())
        .env("MODEL_ID", "test-model")
        .current_dir(test.workspace())
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text).unwrap()
    });
    (child.wait().unwrap().code(), reader.join().unwrap())
}

#[test]
fn a_closed_stdout_ends_quietly() {
    for args in [&["-p", "go"][..], &["go"], &["--help"], &["--version"]] {
        let test = Test::new().reply(Reply::text("done"));
        assert_eq!(unread(&test, args), (Some(0), String::new()), "{args:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout_and_need_nothing() {
    let bare = || Test::new().env_remove("MODEL_ID").env_remove("ANTHROPIC_API_KEY");
    bare().arg("--help").run().code(0).stdout_contains("meanwhile [OPTIONS] -p");
    bare().arg("-h").run().code(0).stdout_contains("--max-output-tokens");
    // The commit follows where the Makefile has told it.
    let version = concat!("meanwhile ", env!("CARGO_PKG_VERSION"));
    bare().arg("--version").run().code(0).stdout_contains(version);
    bare().arg("-V").run().code(0).stdout_contains(version);
}
