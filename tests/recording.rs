//! `--record` and `--replay`: the same answers again, without a key and a network. And the demonstration.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::Test;
use crate::support::dir::Dir;
use crate::support::finished::Finished;
use crate::support::gate::Gate;
use crate::support::reply::Reply;
use crate::support::stream::Block;

/// A task of two requests, one of them with a call that leaves a file behind.
fn task() -> Test {
    let calls =
        vec![Block::text("I write."), Block::tool("write_file", json!({"path": "made", "content": "é\n"}))];
    Test::new().reply(Reply::message(calls)).reply(Reply::text("It is written. ✓")).print("write it")
}

/// A run that needs neither key nor server: there is nobody at the address.
fn offline(test: Test) -> Test {
    test.env_remove("ANTHROPIC_API_KEY").env("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
}

/// The exchanges of a recording in the workspace.
#[track_caller]
fn exchanges(finished: &Finished, name: &str) -> Vec<Value> {
    let text = finished.dir.read(name);
    let mode = fs::metadata(finished.dir.workspace().join(name)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600, "{name}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn check_no_recording(text: &str, code: i32, expected: &str) {
    let finished =
        offline(Test::new()).file("file.jsonl", text).args(["--replay", "file.jsonl"]).print("go").run();
    let finished = finished.code(code).stdout("").stderr_contains(expected);
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
}

#[test]
fn what_was_recorded_is_answered_again_without_a_key_and_a_server() {
    let recorded = task().args(["--record", "../session.jsonl"]).run().code(0).stdout("It is written. ✓\n");
    let recording = recorded.dir.workspace().join("../session.jsonl");
    let again = offline(Test::new()).args(["--replay".as_ref(), recording.as_os_str()]).print("write it");
    let again = again.run().code(0).stdout(&recorded.stdout);
    assert_eq!(again.stderr, recorded.stderr);
    assert_eq!(again.dir.read("made"), "é\n");
    assert_eq!(again.requests.len(), 0);
}

#[test]
fn a_replay_can_be_recorded_too() {
    let recorded = task().args(["--record", "one.jsonl"]).run().code(0);
    let one = exchanges(&recorded, "one.jsonl");
    let again = offline(recorded.again()).args(["--replay", "one.jsonl", "--record", "two.jsonl"]);
    let again = again.print("write it").run().code(0);
    assert_eq!(exchanges(&again, "two.jsonl"), one);
}

#[test]
fn every_exchange_is_a_line_with_its_status_headers_and_bytes() {
    let error = "event: error\ndata: {\"type\": \"error\", \"error\": {\"type\": \"not_found_error\", \"message\": \"m\"} }\n\n";
    let replies = [
        Reply::error(400, "invalid_request_error", "no such luck"),
        Reply::sse(error).header("request-id", "req_2"),
        Reply::raw(400, &[("content-type", "text/plain")], b"\xff\xfe"),
    ];
    let test = replies.into_iter().fold(Test::new(), Test::reply);
    let finished = test.args(["--record", "all.jsonl"]).stdin("one\ntwo\nthree\n").run().code(0);
    let found = exchanges(&finished, "all.jsonl");
    assert_eq!(found.len(), 3);
    assert_eq!(found[0]["status"], 400);
    assert!(found[0]["body_sse"].as_str().unwrap().contains("no such luck"));
    assert_eq!(found[0]["headers"]["x-should-retry"], "false");
    let headers = json!({"content-type": "text/event-stream; charset=utf-8", "request-id": "req_2"});
    assert_eq!(found[1], json!({"status": 200, "headers": headers, "body_sse": error}));
    let headers = json!({"content-type": "text/plain"});
    assert_eq!(found[2], json!({"status": 400, "headers": headers, "body_b64": "//4="}));
}

#[test]
fn no_credential_is_in_a_recording() {
    for (name, value) in [("ANTHROPIC_API_KEY", "secret-1"), ("ANTHROPIC_AUTH_TOKEN", "secret-2")] {
        let reply = Reply::text("done").header("set-cookie", "session=secret-3").header("x-echo", value);
        let test = Test::new().env_remove("ANTHROPIC_API_KEY").env(name, value);
        let finished = test.reply(reply).args(["--record", "r.jsonl"]).print("go").run().code(0);
        let text = finished.dir.read("r.jsonl");
        assert!(text.contains("done") && !text.contains("secret"), "{text}");
    }
}

#[test]
fn the_last_exchange_is_recorded_although_the_server_keeps_the_connection_open() {
    let gate = Gate::new();
    let reply = Reply::text("done").hold_after("message_stop", &gate);
    let test = Test::new().reply(reply).args(["--record", "r.jsonl"]).print("go");
    let finished = test.run().code(0).stdout("done\n");
    assert_eq!(exchanges(&finished, "r.jsonl").len(), 1);
}

#[test]
fn a_recording_that_has_ended_says_so() {
    let recorded = task().args(["--record", "r.jsonl"]).run().code(0);
    let first = recorded.dir.read("r.jsonl").lines().next().unwrap().to_owned();
    recorded.dir.write("r.jsonl", first);
    let again = offline(recorded.again()).args(["--replay", "r.jsonl"]).print("write it");
    let again = again.run().code(3).stdout("");
    again.stderr_contains("meanwhile: the recording `r.jsonl` has no reply left after 1");
    check_no_recording("", 3, "has no reply left after 0");
}

#[test]
fn a_file_that_is_no_recording_is_refused() {
    let expected = "`file.jsonl` is not a recording";
    for text in ["# A README\n", "{\"a\": 1}\n", "[]\n", "{\"status\": \"200\"}\n", "\u{0}\u{1}"] {
        check_no_recording(text, 2, expected);
    }
    let good = json!({"status": 200, "headers": {}, "body_sse": ""});
    check_no_recording(&format!("{good}\nnonsense\n"), 2, "exchange 2");
}

#[test]
fn a_recording_that_cannot_be_read_or_made_is_named() {
    let test = offline(Test::new()).args(["--replay", "not-there.jsonl"]).print("go");
    test.run().code(2).stdout("").stderr_contains("`not-there.jsonl`");
    let test = Test::new().args(["--record", "not/there.jsonl"]).print("go");
    let finished = test.run().code(1).stdout("").stderr_contains("`not/there.jsonl`");
    assert_eq!(finished.requests.len(), 0);
}

#[test]
fn a_recorded_json_body_is_answered_as_such() {
    let body = json!({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn", "usage": {}});
    let exchange = json!({"status": 200, "headers": {"Content-Type": "application/json"}, "body": body});
    let test = offline(Test::new()).file("r.jsonl", exchange.to_string());
    test.args(["--replay", "r.jsonl"]).print("go").run().code(0).stdout("hi\n");
}

#[test]
fn the_demonstration_needs_nothing_and_shows_a_background_result_arrive_and_be_used() {
    let dir = Dir::new();
    let output = Command::new(env!("CARGO_BIN_EXE_meanwhile"))
        .arg("demo")
        .env_clear()
        .env("TMPDIR", dir.tmp())
        .current_dir(dir.workspace())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{shown}");
    let mut rest = shown.as_str();
    for expected in [
        "> background_run: sh test.sh\nBackground task ",
        "> read_file: README.md\n",
        "> edit_file: greet.sh\nEdited greet.sh at line 1",
        "\n[bg:",
        "] completed: exit code ",
        "\n| ",
        "1 passed, 0 failed",
    ] {
        let Some((_, after)) = rest.split_once(expected) else {
            panic!("`{expected}` is not in the rest of:\n{shown}");
        };
        rest = after;
    }
    // Nothing is left of the scratch folder, and nothing was written where it was started.
    let left = fs::read_dir(dir.tmp()).unwrap().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("demo")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fs::read_dir(dir.workspace()).unwrap().count(), 0);
}
