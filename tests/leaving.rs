//! How a turn and the program end before they are done: by a word, by the end of input, by a signal.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::finished::Finished;
use crate::support::gate::Gate;
use crate::support::reply::Reply;
use crate::support::session::Session;
use crate::support::stream::Block;
use crate::support::{Test, until, wait_until};

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

/// A conversation in which `two` was interrupted before any reply, after a background task had ended.
fn unanswered(gate: &Gate) -> Session {
    unanswered_after(Test::new(), |_| (), gate)
}

/// The same after something else was done while the task ran.
fn unanswered_after(test: Test, meanwhile: impl FnOnce(&mut Session), gate: &Gate) -> Session {
    let mut session = test
        .reply(Reply::tool("background_run", json!({"command": until("go", "precious")})))
        .reply(Reply::text("Started."))
        .reply(Reply::text("Done.").gate(gate))
        .reply(Reply::text("Here I am."))
        .allow_unused()
        .spawn();
    session.send_line("one");
    session.expect("Started.");
    meanwhile(&mut session);
    session.dir().write("go", "");
    wait_until("the task has ended", || {
        session.send_line("/tasks");
        session.sees("exit code 0", Duration::from_millis(100))
    });
    session.send_line("two");
    session.server().wait_for_requests(3);
    session.signal(Signal::INT);
    session.expect("there was no reply yet, so the message was taken out of the conversation");
    session.expect("meanwhile: interrupted");
    session
}

/// The model reads the new message and the result of the task, and not the message that was interrupted.
#[track_caller]
fn check_left(finished: &Finished, request: usize) {
    let messages = finished.request(request).body["messages"].to_string();
    assert_eq!(messages.matches("| precious").count(), 1, "{messages}");
    assert!(messages.contains(r#""three""#) && !messages.contains(r#""two""#), "{messages}");
}

#[test]
fn a_message_without_a_reply_leaves_the_conversation_but_no_result_of_a_task_does() {
    let gate = Gate::new();
    let mut session = unanswered(&gate);
    session.send_line("three");
    session.expect("Here I am.");
    session.close_stdin();
    check_left(&session.wait().code(0), 3);
    gate.open();
}

#[test]
fn a_message_without_a_reply_has_left_the_session_too() {
    let gate = Gate::new();
    let mut session = unanswered(&gate);
    session.close_stdin();
    let test = session.wait().code(0).again().args(["-c", "-p", "three"]);
    check_left(&test.reply(Reply::text("Here.")).run().code(0), 0);
    gate.open();
}

#[test]
fn a_task_of_print_without_a_reply_is_not_in_the_session() {
    for signal in [Signal::INT, Signal::TERM] {
        let gate = Gate::new();
        let mut session = Test::new().print("delete it").reply(Reply::text("Done.").gate(&gate)).spawn();
        session.close_stdin();
        session.server().wait_for_requests(1);
        let told = continued(session, |session| session.signal(signal));
        let request = told.request(0);
        assert_eq!((request.messages().len(), request.last_content().len()), (1, 1));
        assert_eq!(request.last_text(), "again");
        gate.open();
    }
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
    let not_run = "Error: not run: the turn was interrupted by the user";
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

#[test]
fn a_signal_ends_the_program_while_the_users_own_command_runs() {
    let mut session = Test::new().spawn();
    session.send_line("!touch begun; sleep 600");
    let begun = session.dir().workspace().join("begun");
    wait_until("the command runs", || begun.exists());
    session.signal(Signal::TERM);
    session.wait().code(143);
}

/// What the model reads, when the session is continued, of a run that was stopped: behind a reply that was cut off,
/// and as the result of a command.
#[track_caller]
fn check_told(start: impl Fn(Test) -> Session, stop: impl Fn(&Session), cause: &str) {
    let gate = Gate::new();
    let half = Reply::text("half a sentence").hold_after("half", &gate);
    let told = continued(start(Test::new().reply(half)), |session| {
        session.expect("half");
        stop(session);
    });
    let messages = told.request(0).messages();
    let note = format!("(The reply above was interrupted by {cause}.)");
    assert_eq!(messages[2]["content"][0]["text"], note.as_str(), "{messages:#?}");

    let call = Reply::tool("bash", json!({"command": "touch begun; sleep 600"}));
    let told = continued(start(Test::new().reply(call)), |session| {
        let begun = session.dir().workspace().join("begun");
        wait_until("the command runs", || begun.exists());
        stop(session);
    });
    let (result, is_error) = told.request(0).tool_result(0);
    assert!(is_error && result.starts_with(&format!("Error: interrupted by {cause}; ")), "{result}");
    gate.open();
}

fn continued(mut session: Session, stop: impl Fn(&mut Session)) -> Finished {
    stop(&mut session);
    session.wait().again().args(["-c", "-p", "again"]).reply(Reply::text("Here.")).run().code(0)
}

#[test]
fn the_model_is_told_which_signal_stopped_the_run_before() {
    let chat = |test: Test| {
        let mut session = test.spawn();
        session.send_line("go");
        session
    };
    check_told(chat, |session| session.signal(Signal::TERM), "SIGTERM");
    check_told(chat, |session| session.signal(Signal::HUP), "SIGHUP (the terminal was closed)");
}

#[test]
fn the_model_is_told_that_the_time_of_the_run_before_was_up() {
    let gate = Gate::new();
    let timed = |reply| {
        let mut session = Test::new().print("go").arg("--max-time=2").reply(reply).spawn();
        session.close_stdin();
        continued(session, |_| ())
    };
    let told = timed(Reply::text("half a sentence").hold_after("half", &gate));
    let note = "(The reply above was interrupted by the time limit of the run (--max-time).)";
    assert_eq!(told.request(0).messages()[2]["content"][0]["text"], note);
    let told = timed(Reply::tool("bash", json!({"command": "sleep 600"})));
    let (result, _) = told.request(0).tool_result(0);
    assert!(result.starts_with("Error: interrupted by the time limit of the run (--max-time); "), "{result}");
    gate.open();
}

#[test]
fn a_result_that_came_during_an_interrupted_request_still_wakes() {
    let gate = Gate::new();
    let command = format!("{}; touch ended", until("go", "precious"));
    let mut session = Test::new()
        .args(["--wake"])
        .reply(Reply::tool("background_run", json!({"command": command})))
        .reply(Reply::text("Started."))
        .reply(Reply::text("Done.").gate(&gate))
        .reply(Reply::text("I see."))
        .spawn();
    session.send_line("one");
    session.expect("Started.");
    session.send_line("two");
    session.server().wait_for_requests(3);
    session.dir().write("go", "");
    wait_until("the task ends", || session.dir().workspace().join("ended").exists());
    session.signal(Signal::INT);
    session.expect("I see.");
    gate.open();
    session.close_stdin();
    let finished = session.wait().code(0);
    let messages = finished.request(3).body["messages"].to_string();
    assert_eq!(messages.matches("| precious").count(), 1, "{messages}");
    assert!(!messages.contains(r#""two""#), "{messages}");
}

#[test]
fn a_result_that_left_with_an_interrupted_message_is_told_in_a_resumed_session_too() {
    let other = Test::new().print("remember this").reply(Reply::text("I do.")).run().code(0);
    let file = std::fs::read_dir(other.dir.state().join("meanwhile/sessions")).unwrap().next().unwrap();
    let id = file.unwrap().file_name().to_string_lossy()[..8].to_owned();
    let gate = Gate::new();
    let resume = |session: &mut Session| {
        session.send_line(&format!("/resume {id}"));
        session.expect("Continuing session");
    };
    let mut session = unanswered_after(other.again(), resume, &gate);
    session.send_line("three");
    session.expect("Here I am.");
    gate.open();
    session.close_stdin();
    check_left(&session.wait().code(0), 3);
}
