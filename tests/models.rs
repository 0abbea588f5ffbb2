//! What the server says about a model, and the limits that follow from it.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Test, gate::Gate, reply::Reply, wait_until};

const OWN: [u64; 2] = [1_000_000, 128_000];

/// A description as the API gives it.
fn described([window, most]: [u64; 2]) -> Reply {
    Reply::json(&json!({
        "type": "model", "id": "test-model", "display_name": "Test", "created_at": "2026-02-04T00:00:00Z",
        "max_input_tokens": window, "max_tokens": most,
        "capabilities": {"image_input": {"supported": true}},
    }))
}

/// Runs a turn that goes on until a request has so many `max_tokens`. Returns those of all requests.
#[track_caller]
fn limits_until(test: Test, most: u64) -> Vec<Value> {
    let mut test = test.print("go").allow_unused();
    for _ in 0..200 {
        test = test.reply(Reply::with(move |request| {
            if request.body["max_tokens"] == most {
                return Reply::text("done");
            }
            Reply::tool("bash", json!({"command": "true"}))
        }));
    }
    let finished = test.run().code(0).stdout("done\n");
    finished.requests.iter().map(|request| request.body["max_tokens"].clone()).collect()
}

/// Runs two requests. The server is asked about the model between them, and answers if it does.
#[track_caller]
fn two_requests(test: Test) -> Vec<Value> {
    let gate = Gate::new();
    let session = test
        .print("go")
        .reply(Reply::tool("bash", json!({"command": "true"})).gate(&gate))
        .reply(Reply::text("done"))
        .start(Stdio::null());
    wait_until("the question", || session.server().model_requests().len() == 1);
    gate.open();
    let finished = session.wait().code(0).stdout("done\n").stderr_lacks("model");
    finished.requests.iter().map(|request| request.body["max_tokens"].clone()).collect()
}

#[test]
fn the_limits_are_the_models_from_its_answer_on() {
    let limits = limits_until(Test::new().describe_model(|| described(OWN)), 128_000);
    assert_eq!(limits[0], 32_000);
    assert_eq!(limits.last(), Some(&json!(128_000)));
}

#[test]
fn the_first_request_and_the_end_wait_for_no_answer() {
    let never = Gate::new();
    let hanging = never.clone();
    let test = Test::new().describe_model(move || described(OWN).gate(&hanging));
    assert_eq!(two_requests(test), [32_000, 32_000]);
    never.open();
}

#[test]
fn without_an_answer_of_use_the_limits_are_a_guess_and_nothing_is_said() {
    let answers: [fn() -> Reply; 9] = [
        || Reply::error(404, "not_found_error", "no such thing"),
        || Reply::error(401, "authentication_error", "invalid x-api-key"),
        || Reply::error(529, "overloaded_error", "Overloaded"),
        || Reply::raw(404, &[("content-type", "text/html")], "<html>404</html>"),
        || Reply::raw(200, &[("content-type", "application/json")], "{\"max_tokens\":"),
        || Reply::json(&json!({"type": "model", "max_input_tokens": null, "max_tokens": null})),
        || Reply::json(&json!({"type": "model", "max_input_tokens": "9000", "max_tokens": 0})),
        || Reply::json(&json!({"object": "model", "id": "m", "max_tokens": 9000})),
        Reply::close,
    ];
    for answer in answers {
        assert_eq!(two_requests(Test::new().describe_model(answer)), [32_000, 32_000]);
    }
    assert_eq!(two_requests(Test::new()), [32_000, 32_000]);
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let test = Test::new().describe_model(|| {
        let text = format!("{{\"type\":\"model\",\"max_tokens\":9000,\"x\":\"{}\"}}", "x".repeat(4 << 20));
        Reply::raw(200, &[("content-type", "application/json")], text)
    });
    assert_eq!(two_requests(test), [32_000, 32_000]);
}

#[test]
fn an_option_wins_over_the_answer() {
    let test = Test::new().arg("--max-output-tokens=77").describe_model(|| described(OWN));
    assert_eq!(two_requests(test), [77, 77]);
}

#[test]
fn a_small_window_leaves_room_for_a_short_reply() {
    assert_eq!(two_requests(Test::new().arg("--context-window=63999")), [8_192, 8_192]);
    let limits = limits_until(Test::new().describe_model(|| described([32_768, 0])), 8_192);
    assert_eq!(limits[0], 32_000);
}

#[test]
fn the_window_is_the_models_from_its_answer_on() {
    let mut test = Test::new().describe_model(|| described([20_000, 4_000])).print("go").allow_unused();
    for _ in 0..200 {
        test = test.reply(Reply::with(|request| {
            if request.last_text().contains("getting too long") {
                return Reply::text("SUMMARY");
            }
            if request.body["messages"].to_string().contains("SUMMARY") {
                return Reply::text("done");
            }
            let call = Reply::tool("bash", json!({"command": "true"}));
            call.usage(json!({"input_tokens": 19_000, "output_tokens": 5}))
        }));
    }
    test.run().code(0).stdout("done\n").stderr_contains("summarizing");
}

#[test]
fn a_model_is_asked_for_once_in_a_run_and_with_the_credential() {
    let mut session = Test::new()
        .env("MODEL_ID", "maker/model:1 ü")
        .reply(Reply::text("first"))
        .reply(Reply::text("second"))
        .reply(Reply::text("third"))
        .spawn();
    for (line, answer) in [("one", "first"), ("two", "second")] {
        session.send_line(line);
        session.expect(answer);
    }
    wait_until("the question", || session.server().model_requests().len() == 1);
    session.send_line("/model other");
    session.send_line("three");
    session.expect("third");
    wait_until("another question", || session.server().model_requests().len() > 1);
    let asked = session.server().model_requests();
    assert_eq!(asked[0].path, "/v1/models/maker%2Fmodel%3A1%20%C3%BC");
    assert_eq!(asked[0].header("x-api-key"), Some("test-key"));
    assert_eq!(asked[1].path, "/v1/models/other");
    session.close_stdin();
    session.wait().code(0);
}

#[test]
fn the_answer_is_in_no_recording_and_a_recording_asks_nobody() {
    let gate = Gate::new();
    let session = Test::new()
        .describe_model(|| described(OWN))
        .args(["--record", "replies"])
        .print("go")
        .reply(Reply::text("done").gate(&gate))
        .start(Stdio::null());
    wait_until("the question", || session.server().model_requests().len() == 1);
    gate.open();
    let finished = session.wait().code(0);
    let recorded = std::fs::read_to_string(finished.dir.workspace().join("replies")).unwrap();
    assert!(recorded.contains("done") && !recorded.contains("max_input_tokens"), "{recorded}");
    let mut session = finished.again().args(["--replay", "replies"]).print("go").start(Stdio::null());
    session.expect("done");
    assert!(session.server().model_requests().is_empty());
    session.wait().code(0);
}

/// At the prompt, types `/model` with this model, and waits for the answer. Then says something and returns the model
/// that the request is for.
#[track_caller]
fn switched(test: Test, model: &str, answer: &str) -> String {
    let mut session = test.reply(Reply::text("hello")).spawn();
    session.send_line(&format!("/model {model}"));
    session.expect(answer);
    session.send_line("hi");
    session.expect("hello");
    session.close_stdin();
    let finished = session.wait().code(0);
    finished.request(0).body["model"].as_str().unwrap().to_owned()
}

#[test]
fn a_model_that_the_server_does_not_have_is_said_at_once_and_the_old_one_stays() {
    let test = Test::new().describe_model(|| described(OWN));
    test.server().list_models(&["test-model", "other"]);
    assert_eq!(
        switched(test, "nonsense", "The server has no model nonsense: test-model stays."),
        "test-model"
    );
    let test = Test::new().describe_model(|| described(OWN));
    test.server().list_models(&["test-model", "other"]);
    assert_eq!(switched(test, "other", "Switched to other."), "other");
}

#[test]
fn a_server_without_a_list_that_has_described_another_model_can_tell() {
    let has_described = AtomicBool::new(false);
    let mut session = Test::new()
        .describe_model(move || match has_described.swap(true, Ordering::Relaxed) {
            false => described(OWN),
            true => Reply::error(404, "not_found_error", "model: nonsense"),
        })
        .spawn();
    session.send_line("/model other");
    session.expect("Switched to other.");
    session.send_line("/model nonsense");
    session.expect("The server has no model nonsense: other stays.");
    session.close_stdin();
    session.wait().code(0);
}

#[test]
fn a_server_that_cannot_tell_is_believed_to_have_every_model() {
    let answers: [fn() -> Reply; 5] = [
        || Reply::error(404, "not_found_error", "no such path"),
        || Reply::raw(404, &[("content-type", "text/plain")], "404 page not found"),
        || Reply::error(401, "authentication_error", "invalid x-api-key"),
        || Reply::json(&json!({"object": "model", "id": "m"})),
        Reply::close,
    ];
    for answer in answers {
        let test = Test::new().describe_model(answer);
        assert_eq!(switched(test, "nonsense", "Switched to nonsense."), "nonsense");
    }
    // It describes no models, and its list has this one.
    let test = Test::new().describe_model(|| Reply::error(404, "not_found_error", "no such path"));
    test.server().list_models(&["other"]);
    assert_eq!(switched(test, "other", "Switched to other."), "other");
}

#[test]
fn the_answer_to_a_switch_is_the_description_of_the_model() {
    let mut session = Test::new().describe_model(|| described(OWN)).reply(Reply::text("hello")).spawn();
    session.send_line("/model other");
    session.expect("Switched to other.");
    session.send_line("hi");
    session.expect("hello");
    session.close_stdin();
    assert_eq!(session.server().model_requests().len(), 1);
    assert_eq!(session.wait().code(0).request(0).body["max_tokens"], 128_000);
}

#[test]
fn a_server_that_does_not_answer_holds_no_switch_up() {
    let never = Gate::new();
    let hanging = never.clone();
    let test = Test::new().describe_model(move || described(OWN).gate(&hanging));
    assert_eq!(switched(test, "other", "Switched to other."), "other");
    never.open();
}

#[test]
fn ctrl_c_ends_the_wait_for_a_switch() {
    let never = Gate::new();
    let hanging = never.clone();
    let mut session = Test::new().describe_model(move || described(OWN).gate(&hanging)).spawn();
    session.send_line("/model other");
    wait_until("the question", || session.server().model_requests().len() == 1);
    session.signal(Signal::INT);
    session.expect("Interrupted: test-model stays.");
    session.close_stdin();
    session.wait().code(0);
    never.open();
}

#[test]
fn a_terminal_says_it_too_and_its_wait_can_be_interrupted() {
    let never = Gate::new();
    let hanging = never.clone();
    let test =
        Test::new().env("TERM", "xterm-256color").describe_model(move || described(OWN).gate(&hanging));
    test.server().list_models(&["test-model", "slow"]);
    let mut session = test.spawn_pty();
    session.shows("meanwhile >");
    session.send("/model nonsense\r");
    session.shows("The server has no model nonsense: test-model stays.");
    session.send("/model slow\r");
    session.shows("asking the server about slow");
    session.send("\x03");
    session.shows("Interrupted: test-model stays.");
    session.send("\x04");
    session.wait().code(0);
    never.open();
}
