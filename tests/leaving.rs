//! How a turn and the program end before they are done: by a word, by the end of input, by a signal.

use rustix::process::Signal;
use serde_json::json;

use crate::support::gate::Gate;
use crate::support::reply::Reply;
use crate::support::stream::Block;
use crate::support::{Test, wait_until};

#[test]
fn empty_lines_do_nothing_and_q_exit_and_the_end_of_input_leave() {
    for lines in ["", "\n  \n\n", "q\nnever\n", "exit\nnever\n", " exit \nnever\n"] {
        let finished = Test::new().stdin(lines).run().code(0);
        assert_eq!(finished.requests.len(), 0, "{lines:?}");
    }
}

#[test]
fn an_interrupt_ends_the_reply_but_not_the_conversation() {
    let gate = Gate::new();
    let mut session = Test::new()
        .reply(Reply::text("half a sentence").hold_after("half", &gate))
        .reply(Reply::text("Here I am."))
        .spawn();
    session.send_line("speak");
    session.expect("half");
    session.signal(Signal::INT);
    session.expect("interrupted");
    session.send_line("again");
    session.expect("Here I am.");
    gate.open();
    session.close_stdin();
    let finished = session.wait().code(0);
    let messages = finished.request(1).messages();
    assert_eq!(messages[1]["content"][0]["text"], "half");
    let told = finished.request(1).last_text();
    assert!(messages.len() == 3 && told.ends_with("\nagain"), "{told}");
}

#[test]
fn an_interrupt_ends_a_command_and_every_call_is_answered() {
    let calls = vec![
        Block::tool("bash", json!({"command": "echo begun; touch begun; sleep 600"})),
        Block::tool("bash", json!({"command": "touch never"})),
    ];
    let mut session = Test::new().reply(Reply::message(calls)).reply(Reply::text("Here I am.")).spawn();
    let workspace = session.dir().workspace();
    session.send_line("work");
    wait_until("the command runs", || workspace.join("begun").exists());
    session.signal(Signal::INT);
    session.expect("meanwhile: interrupted");
    session.send_line("again");
    session.expect("Here I am.");
    session.close_stdin();
    let finished = session.wait().code(0);
    let (first, is_error) = finished.request(1).tool_result(0);
    assert!(is_error && first.starts_with("Error: interrupted by the user"), "{first}");
    let not_run = "Error: not run: the user interrupted the turn";
    assert_eq!(finished.request(1).tool_result(1), (not_run.to_owned(), true));
    assert_eq!(finished.request(1).last_text(), "again");
    assert!(!workspace.join("never").exists());
}

#[test]
fn an_interrupt_at_the_prompt_does_not_leave() {
    let mut session = Test::new().reply(Reply::text("Here I am.")).spawn();
    session.expect("meanwhile > ");
    session.signal(Signal::INT);
    session.expect("meanwhile > ");
    session.send_line("hello");
    session.expect("Here I am.");
    session.close_stdin();
    session.wait().code(0);
}

/// How a run ends that gets a signal in mid-stream.
#[track_caller]
fn check_signal(test: Test, line: Option<&str>, signal: Signal, code: i32) {
    let gate = Gate::new();
    let mut session = test.reply(Reply::text("half a sentence").hold_after("half", &gate)).spawn();
    match line {
        Some(line) => session.send_line(line),
        None => session.close_stdin(),
    }
    session.server().wait_for_requests(1);
    session.signal(signal);
    let finished = session.wait().code(code);
    assert!(!finished.stdout.contains("sentence"));
}

#[test]
fn a_signal_ends_the_program_with_its_own_exit_code() {
    check_signal(Test::new(), Some("go"), Signal::TERM, 143);
    check_signal(Test::new(), Some("go"), Signal::HUP, 129);
    check_signal(Test::new().print("go"), None, Signal::TERM, 143);
    check_signal(Test::new().print("go"), None, Signal::INT, 130);
}
