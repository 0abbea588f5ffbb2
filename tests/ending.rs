//! Every way in which a run of `-p` ends: its final record, its exit code, and nothing left behind.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Test, finished::Finished, gate::Gate, reply::Reply, tagged::Mark};

/// How a run is expected to end.
struct End {
    code: i32,
    subtype: &'static str,
    limit: Option<&'static str>,
    /// A part of the last sentence on stderr; empty where there is none.
    sentence: &'static str,
}

const DONE: End = End {
    code: 0,
    subtype: "success",
    limit: None,
    sentence: "",
};

fn failed(code: i32, sentence: &'static str) -> End {
    End {
        code,
        subtype: "error_during_execution",
        limit: None,
        sentence,
    }
}

fn limited(subtype: &'static str, option: &'static str) -> End {
    End {
        code: 4,
        subtype,
        limit: Some(option),
        sentence: option,
    }
}

/// The last line of stdout is the record, whatever came before it.
#[track_caller]
fn record(finished: &Finished) -> Value {
    assert!(
        finished.stdout.ends_with('\n'),
        "a whole line: `{}`",
        finished.stdout
    );
    let line = finished.stdout.lines().last().unwrap();
    serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: `{line}`"))
}

#[track_caller]
fn check_record(finished: &Finished, end: &End) -> Value {
    let record = record(finished);
    let stderr = &finished.stderr;
    assert_eq!(finished.code, Some(end.code), "{stderr}");
    assert_eq!(record["type"], "result");
    assert_eq!(record["subtype"], end.subtype, "{stderr}");
    assert_eq!(record["is_error"], end.code != 0);
    assert_eq!(record["exit_code"], end.code);
    assert_eq!(record["limit"], json!(end.limit));
    assert!(
        record["error"]
            .as_str()
            .unwrap_or_default()
            .contains(end.sentence),
        "{record}"
    );
    assert!(
        stderr
            .trim_end()
            .lines()
            .last()
            .unwrap_or_default()
            .contains(end.sentence),
        "{stderr}"
    );
    for number in ["num_turns", "duration_ms"] {
        assert!(record[number].is_u64(), "{number} in {record}");
    }
    for usage in ["input_tokens", "output_tokens"] {
        assert!(record["usage"][usage].is_u64(), "{usage} in {record}");
    }
    record
}

/// Runs the same job in every format.
#[track_caller]
fn check(end: End, make: impl Fn() -> Test) {
    for format in ["json", "stream-json"] {
        let finished = make()
            .args(["--output-format", format])
            .allow_unused()
            .run();
        check_record(&finished, &end);
        let lines = finished.stdout.lines().count();
        assert!(format == "stream-json" || lines == 1, "{}", finished.stdout);
    }
    let text = make().allow_unused().run();
    assert_eq!(text.code, Some(end.code), "{}", text.stderr);
    assert!(end.code == 0 || text.stdout.is_empty(), "{}", text.stdout);
}

/// The grace is over for everything soon after the end.
#[track_caller]
fn assert_gone(mark: &Mark) {
    if let Err(left) = mark.wait_for_end(std::time::Duration::from_secs(10)) {
        panic!("left behind: {left:?}");
    }
}

fn task(reply: Reply) -> Test {
    Test::new()
        .args(["--max-retries=0"])
        .print("go")
        .reply(reply)
}

fn slow(command: &str) -> Reply {
    Reply::tool("background_run", json!({"command": command}))
}

#[test]
fn done_and_not_done() {
    check(DONE, || task(Reply::text("answer")));
    check(failed(3, "the API answered 400"), || {
        task(Reply::error(400, "invalid_request_error", "no"))
    });
    check(failed(3, "failed to reach"), || task(Reply::close()));
    check(failed(3, "broke off"), || {
        task(Reply::text("words").cut_after(500))
    });
    check(failed(1, "refused to answer"), || {
        task(Reply::text("no").stop("refusal"))
    });
}

#[test]
fn configuration_and_usage() {
    check(failed(2, "no model"), || {
        Test::new().print("go").env_remove("MODEL_ID")
    });
    check(failed(2, "no credential"), || {
        Test::new().print("go").env_remove("ANTHROPIC_API_KEY")
    });
    check(failed(2, "no prompt"), || Test::new().arg("-p"));
    check(failed(2, "failed to read file"), || {
        Test::new().args(["-p", "--file", "missing.txt"])
    });
}

#[test]
fn limits() {
    let call = || Reply::tool("bash", json!({"command": "true"}));
    check(limited("error_max_turns", "--max-turns"), || {
        task(call()).arg("--max-turns=1")
    });
    check(DONE, || {
        task(call()).reply(Reply::text("done")).arg("--max-turns=2")
    });
    check(
        limited("error_max_total_tokens", "--max-total-tokens"),
        || {
            let usage = json!({"input_tokens": 600, "output_tokens": 500});
            task(call().usage(usage)).arg("--max-total-tokens=1000")
        },
    );
}

#[test]
fn the_limit_on_time_holds_wherever_the_run_waits() {
    let late = || limited("error_max_time", "--max-time");
    let timed = |reply| task(reply).arg("--max-time=1");
    check(late(), || {
        timed(Reply::tool("bash", json!({"command": "sleep 60"})))
    });
    check(late(), || {
        timed(slow("sleep 60")).reply(Reply::text("waiting"))
    });
    let gate = Gate::new();
    check(late(), || {
        timed(Reply::text("words").hold_after("words", &gate))
    });
    check(late(), || {
        let later = Reply::error(429, "rate_limit_error", "later").header("retry-after", "50");
        Test::new().args(["--max-time=1"]).print("go").reply(later)
    });
    gate.open();
}

#[test]
fn signals_end_the_run_with_its_record_and_leave_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mark = Mark::new();
        let command = format!("trap '' TERM; {}", mark.sleep());
        let mut session = Test::new()
            .args(["--output-format", "json"])
            .print("go")
            .reply(slow(&command))
            .reply(Reply::text("waiting"))
            .spawn();
        session.close_stdin();
        session.server().wait_for_requests(2);
        session.signal(signal);
        let finished = session.wait();
        let record = check_record(&finished, &failed(code, "interrupted"));
        assert_eq!(record["tasks"][0]["status"], "killed");
        assert_gone(&mark);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mark = Mark::new();
    let command = format!("trap '' TERM; echo up; while :; do {}; done", mark.sleep());
    let mut session = Test::new()
        .args(["--output-format", "json"])
        .print("go")
        .reply(slow(&command))
        .reply(Reply::tool("check_background", json!({"wait": 60})))
        .allow_unused()
        .spawn();
    session.close_stdin();
    session.server().wait_for_requests(2);
    let started = std::time::Instant::now();
    session.signal(Signal::TERM);
    session.signal(Signal::INT);
    let finished = session.wait();
    // The grace of the command is two seconds; nobody waits for it any more.
    assert!(
        started.elapsed().as_millis() < 1900,
        "it took {:?}",
        started.elapsed()
    );
    assert_eq!(record(&finished)["is_error"], true);
    assert_gone(&mark);
}

#[test]
fn what_becomes_of_running_tasks_is_as_asked() {
    let run = |on_end: &'static str, command: &'static str| {
        move || {
            task(slow(command))
                .reply(Reply::text("first"))
                .args(["--on-end", on_end])
        }
    };
    check(DONE, || {
        run("wait", "sleep 0.2; echo x")().reply(Reply::text("second"))
    });
    check(DONE, run("kill", "sleep 60"));
    check(failed(5, "has not ended"), run("fail", "sleep 60"));
    check(failed(5, "has failed (completed)"), || {
        task(slow("exit 3"))
            .reply(Reply::tool("check_background", json!({"wait": 20})))
            .reply(Reply::text("first"))
            .args(["--on-end", "fail"])
    });
}

#[test]
fn the_record_has_a_line_for_each_task() {
    let finished = task(slow("echo out; exit 3"))
        .reply(Reply::text("first"))
        .reply(Reply::text("the answer"))
        .args(["--output-format", "json"])
        .run()
        .code(0);
    let record = record(&finished);
    assert_eq!(record["result"], "the answer");
    assert_eq!(record["num_turns"], 3);
    let task = &record["tasks"][0];
    assert_eq!(
        (&task["command"], &task["status"]),
        (&json!("echo out; exit 3"), &json!("completed"))
    );
    assert_eq!(
        (&task["exit_code"], &task["signal"]),
        (&json!(3), &json!(null))
    );
    let log = std::fs::read_to_string(task["log"].as_str().unwrap()).unwrap();
    assert_eq!(log, "out\n");
}

#[test]
fn a_stream_has_a_line_for_each_event() {
    let finished = task(slow("echo out"))
        .reply(Reply::text("first"))
        .reply(Reply::text("the answer"))
        .args(["--output-format", "stream-json"])
        .run()
        .code(0);
    let lines: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kind = |line: &Value| {
        let subtype = line["subtype"].as_str().unwrap_or_default();
        format!("{} {subtype}", line["type"].as_str().unwrap())
            .trim()
            .to_owned()
    };
    let mut kinds: Vec<String> = lines.iter().map(kind).collect();
    // The task may end at any time after its start.
    let ended = kinds
        .iter()
        .position(|kind| kind == "system task_finished")
        .unwrap();
    kinds.remove(ended);
    let expected = [
        "system init",
        "assistant",
        "user",
        "system task_started",
        "assistant",
        "user",
        "assistant",
        "result success",
    ];
    assert_eq!(kinds, expected);
    let session = &lines[0]["session_id"];
    assert!(session.as_str().is_some_and(|id| id.len() == 36));
    assert!(
        lines.iter().all(|line| &line["session_id"] == session),
        "one session"
    );
}

#[test]
fn a_reader_who_leaves_ends_the_run_quietly() {
    let test = Test::new();
    let url = test.server().url();
    for n in 0..20 {
        let command = json!({"command": format!("echo {n}")});
        test.server().push(Reply::tool("bash", command));
    }
    let script = format!(
        "'{}' -p go --output-format stream-json --no-session </dev/null | head -n 2 >/dev/null",
        env!("CARGO_BIN_EXE_meanwhile")
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .envs([
            ("ANTHROPIC_API_KEY", "test-key"),
            ("MODEL_ID", "m"),
            ("ANTHROPIC_BASE_URL", &url),
        ])
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stderr.contains("meanwhile:") && !stderr.contains("panicked"),
        "{stderr}"
    );
    assert!(test.server().requests().len() < 20, "it went on for nobody");
}
