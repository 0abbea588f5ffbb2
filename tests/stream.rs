//! `--output-format stream-json`: a line an event, as it happens, and the same lines for the same job.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::ending::{fields, record};
use crate::support::Test;
use crate::support::finished::Finished;
use crate::support::gate::Gate;
use crate::support::reply::Reply;
use crate::support::stream::Block;

fn job() -> Test {
    Test::new().print("go").args(["--output-format", "stream-json"])
}

#[track_caller]
fn lines(finished: &Finished) -> Vec<Value> {
    let parse =
        |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: `{line}`")) };
    assert!(finished.stdout.ends_with('\n'), "{}", finished.stdout);
    finished.stdout.lines().map(parse).collect()
}

/// `type`, `subtype` where there is one, and the types of the content blocks where there are some, without the thinking
/// with which every reply begins.
fn kind(line: &Value) -> String {
    let blocks = line["message"]["content"].as_array().into_iter().flatten();
    let blocks = blocks.filter(|block| block["type"] != "thinking");
    let words = [&line["type"], &line["subtype"]].into_iter().chain(blocks.map(|block| &block["type"]));
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    words.join(" ")
}

#[track_caller]
fn check_kinds(finished: &Finished, expected: &[&str]) {
    let kinds: Vec<String> = lines(finished).iter().map(kind).collect();
    assert_eq!(kinds, expected, "{}", finished.stdout);
}

/// The only line of this kind.
#[track_caller]
fn the(finished: &Finished, wanted: &str) -> Value {
    let mut found: Vec<Value> = lines(finished);
    found.retain(|line| kind(line) == wanted);
    assert_eq!(found.len(), 1, "one {wanted} in {}", finished.stdout);
    found.remove(0)
}

/// It ends when it is told to, and not before.
const TASK: &str = "until [ -e go ]; do sleep 0.01; done; rm go; echo out; exit 3";

/// Text, a call, its result, a task from start to end, and the answer.
fn whole_job() -> Test {
    job()
        .reply(Reply::message(vec![
            Block::text("I look."),
            Block::tool("bash", json!({"command": "echo seen"})),
        ]))
        .reply(Reply::tool("background_run", json!({"command": TASK})))
        .reply(Reply::message(vec![
            Block::tool("bash", json!({"command": "touch go"})),
            Block::tool("check_background", json!({"wait": 30})),
        ]))
        .reply(Reply::text("the answer"))
}

#[test]
fn the_lines_come_in_the_order_of_the_events() {
    let finished = whole_job().run().code(0);
    let mut kinds: Vec<String> = lines(&finished).iter().map(kind).collect();
    // The task ends behind the first or behind the second of the last two calls.
    let ended = kinds.iter().position(|kind| kind == "system task_finished").expect("the task's end");
    assert!((8..=9).contains(&ended), "{}", finished.stdout);
    kinds.remove(ended);
    let expected = [
        "system init",
        "assistant text tool_use",
        "user tool_result",
        "assistant tool_use",
        "user tool_result",
        "system task_started",
        "assistant tool_use tool_use",
        "user tool_result",
        "user tool_result",
        "user text",
        "assistant text",
        "result success",
    ];
    assert_eq!(kinds, expected, "{}", finished.stdout);
}

#[test]
fn every_line_has_its_fields_and_one_session() {
    let finished = whole_job().run().code(0);
    let lines = lines(&finished);
    let session = lines[0]["session_id"].as_str().expect("a session");
    assert_eq!(session.len(), 36);
    for line in &lines {
        assert_eq!(line["session_id"], session, "{line}");
        let expected: &[&str] = match kind(line).as_str() {
            "system init" => &["cwd", "model", "session_id", "subtype", "tools", "type"],
            "system task_started" => &["command", "session_id", "subtype", "task_id", "type"],
            "system task_finished" => &[
                "command",
                "duration_ms",
                "exit_code",
                "log",
                "session_id",
                "signal",
                "status",
                "subtype",
                "task_id",
                "type",
            ],
            "result success" => continue,
            _ => &["message", "session_id", "type"],
        };
        assert_eq!(fields(line), expected, "{line}");
    }
}

#[test]
fn the_first_line_says_what_runs_here() {
    let finished = whole_job().run().code(0);
    let init = the(&finished, "system init");
    assert_eq!(init["model"], "test-model");
    let folder = finished.dir.workspace().canonicalize().unwrap();
    assert_eq!(init["cwd"], folder.display().to_string());
    let tools = finished.request(0).body["tools"].as_array().unwrap();
    let names: Vec<&Value> = tools.iter().map(|tool| &tool["name"]).collect();
    let listed: Vec<&Value> = init["tools"].as_array().unwrap().iter().collect();
    assert_eq!(listed, names);
}

#[test]
fn a_reply_is_the_message_of_the_api_with_its_usage() {
    let usage = json!({
        "input_tokens": 7, "output_tokens": 5,
        "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2,
    });
    let finished = job()
        .reply(
            Reply::exactly(vec![
                Block::text("I look."),
                Block::tool("bash", json!({"command": "echo seen"})),
            ])
            .usage(usage.clone()),
        )
        .reply(Reply::text("done").usage(usage.clone()))
        .run()
        .code(0);
    let reply = the(&finished, "assistant text tool_use");
    let message = &reply["message"];
    assert_eq!(message["role"], "assistant");
    assert_eq!(message["usage"], usage);
    assert_eq!(message["content"][0], json!({"type": "text", "text": "I look."}));
    let call = &message["content"][1];
    assert_eq!((&call["name"], &call["input"]), (&json!("bash"), &json!({"command": "echo seen"})));
    let result = &the(&finished, "user tool_result")["message"];
    assert_eq!(result["role"], "user");
    assert_eq!(result["content"][0]["tool_use_id"], call["id"]);
    let text = result["content"][0]["content"].to_string();
    assert!(text.contains("seen"), "{text}");
    let total = json!({
        "input_tokens": 14, "output_tokens": 10,
        "cache_read_input_tokens": 6, "cache_creation_input_tokens": 4,
    });
    assert_eq!(record(&finished)["usage"], total);
}

#[test]
fn a_task_has_a_line_at_its_start_and_its_end_and_one_in_the_record() {
    let finished = whole_job().run().code(0);
    let started = the(&finished, "system task_started");
    let ended = the(&finished, "system task_finished");
    assert_eq!(started["command"], TASK);
    assert_eq!(started["task_id"], ended["task_id"]);
    assert_eq!(
        (&ended["status"], &ended["exit_code"], &ended["signal"]),
        (&json!("completed"), &json!(3), &json!(null))
    );
    let in_record = &record(&finished)["tasks"][0];
    for field in fields(in_record) {
        assert_eq!(in_record[field], ended[field], "{field}");
    }
}

#[test]
fn a_task_that_the_end_of_the_run_kills_has_its_line_too() {
    let finished = job()
        .reply(Reply::tool("background_run", json!({"command": "sleep 600"})))
        .reply(Reply::text("done"))
        .args(["--on-end", "kill"])
        .run()
        .code(0);
    assert_eq!(the(&finished, "system task_finished")["status"], "killed");
    check_kinds(
        &finished,
        &[
            "system init",
            "assistant tool_use",
            "user tool_result",
            "system task_started",
            "assistant text",
            "system task_finished",
            "result success",
        ],
    );
}

#[test]
fn the_result_of_a_task_that_the_model_is_told_is_a_message_of_the_user() {
    let mut session = job()
        .reply(Reply::tool(
            "background_run",
            json!({"command": "until [ -e go ]; do sleep 0.02; done; echo out"}),
        ))
        .reply(Reply::text("waiting"))
        .reply(Reply::text("done"))
        .spawn();
    session.close_stdin();
    session.server().wait_for_requests(2);
    session.dir().write("go", "");
    let finished = session.wait().code(0);
    let told = the(&finished, "user text");
    let text = told["message"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(finished.request(2).last_text(), text);
    assert!(text.contains("| out"), "{text}");
}

#[test]
fn a_retry_and_what_it_discards_have_lines() {
    let refused = Reply::error(529, "overloaded_error", "busy").header("retry-after", "0");
    let finished = job()
        .reply(refused)
        .reply(Reply::text("half a sentence that breaks off").cut_after(1100))
        .reply(Reply::text("whole"))
        .args(["--max-retries", "5"])
        .run()
        .code(0);
    let all = lines(&finished);
    let kinds: Vec<String> = all.iter().map(kind).collect();
    let expected = [
        "system init",
        "system api_retry",
        "system discarded",
        "system api_retry",
        "assistant text",
        "result success",
    ];
    assert_eq!(kinds, expected, "{}", finished.stdout);
    assert_eq!(
        fields(&all[1]),
        ["attempt", "error", "max_retries", "retry_delay_ms", "session_id", "subtype", "type"]
    );
    assert_eq!((&all[1]["attempt"], &all[1]["max_retries"]), (&json!(1), &json!(5)));
    let delay = all[1]["retry_delay_ms"].as_u64().unwrap();
    assert!((375..=500).contains(&delay), "{delay}");
    assert_eq!(all[3]["attempt"], 2);
    assert!(all[1]["error"].as_str().unwrap().contains("529"));
    assert_eq!(record(&finished)["result"], "whole");
}

#[test]
fn what_the_program_has_to_say_is_a_line() {
    let finished = job().env("XDG_STATE_HOME", "/proc/nowhere").reply(Reply::text("done")).run().code(0);
    let notice = the(&finished, "system notice");
    let text = notice["text"].as_str().unwrap();
    assert!(text.contains("the session is no longer saved"), "{text}");
}

#[test]
fn a_line_is_written_when_its_event_happens() {
    let gate = Gate::new();
    let mut session = job()
        .reply(Reply::tool("bash", json!({"command": "echo seen"})).gate(&gate))
        .reply(Reply::text("done").hold_after("done", &gate))
        .spawn();
    session.close_stdin();
    session.expect("\"init\"");
    session.server().wait_for_requests(1);
    gate.open();
    session.wait().code(0);

    let gate = Gate::new();
    let mut session = job()
        .reply(Reply::tool("bash", json!({"command": "echo seen"})))
        .reply(Reply::tool("background_run", json!({"command": "sleep 600"})))
        .reply(Reply::text("done").gate(&gate))
        .args(["--on-end", "kill"])
        .spawn();
    session.close_stdin();
    session.expect("tool_use");
    session.expect("tool_result");
    session.expect("\"task_started\"");
    gate.open();
    session.wait().code(0);
}

/// It ends while the model is silent, and whoever watches wants to know.
#[test]
fn the_end_of_a_task_has_its_line_while_the_others_are_waited_for() {
    let mut session = job()
        .reply(Reply::message(vec![
            Block::tool("background_run", json!({"command": "exit 7"})),
            Block::tool("background_run", json!({"command": "until [ -e go ]; do sleep 0.02; done"})),
        ]))
        .reply(Reply::text("waiting"))
        .reply(Reply::text("done"))
        .spawn();
    session.close_stdin();
    session.server().wait_for_requests(2);
    session.expect("\"task_finished\"");
    session.dir().write("go", "");
    session.wait().code(0);
}

#[test]
fn whatever_a_text_holds_a_line_stays_a_line() {
    let odd = "a\nb\r\u{2028}\u{85}\u{0}\u{1b}[31m \"quoted\" \\ é 🦀";
    let finished = job()
        .reply(Reply::tool("bash", json!({"command": "printf 'x\\ny\\r\\033[1m\\377'"})))
        .reply(Reply::text(odd))
        .run()
        .code(0);
    check_kinds(
        &finished,
        &["system init", "assistant tool_use", "user tool_result", "assistant text", "result success"],
    );
    assert_eq!(record(&finished)["result"], odd);
}

/// One object, with the same record.
#[test]
fn json_is_the_last_line_of_the_stream_alone() {
    let finished = whole_job();
    let stream = record(&finished.run().code(0));
    let object = Test::new()
        .print("go")
        .args(["--output-format", "json"])
        .reply(Reply::text("the answer"))
        .run()
        .code(0);
    assert_eq!(object.stdout.lines().count(), 1);
    assert_eq!(fields(&record(&object)), fields(&stream));
    assert_eq!(record(&object)["result"], stream["result"]);
}

/// What differs from run to run made the same: the ids of session and tasks, the times, and where among the
/// results of a message's calls a task ends.
fn normal(stdout: &str) -> Vec<String> {
    let mut ids = BTreeMap::new();
    let mut lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line)))
        .map(|line| timeless(line, &mut ids))
        .collect();
    lines.sort_by_key(|line| line["subtype"] == "task_finished");
    let named = |line: &Value| {
        let text = line.to_string();
        let text = ids.iter().fold(text, |text, (id, name)| text.replace(id, name));
        without_seconds(&text)
    };
    lines.iter().map(named).collect()
}

/// `after 0.1 s` of a notice, without the number.
fn without_seconds(text: &str) -> String {
    let mut parts = text.split(" after ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        format!("{text} after {rest}")
    })
}

fn timeless(mut value: Value, ids: &mut BTreeMap<String, String>) -> Value {
    if let Value::Object(fields) = &mut value {
        if let Some(time) = fields.get_mut("duration_ms") {
            *time = json!(0);
        }
        for name in ["session_id", "task_id"] {
            if let Some(id) = fields.get(name).and_then(Value::as_str) {
                ids.insert(id.to_owned(), name.to_owned());
            }
        }
    }
    match &mut value {
        Value::Object(fields) => fields.values_mut().for_each(|field| *field = timeless(field.take(), ids)),
        Value::Array(items) => items.iter_mut().for_each(|item| *item = timeless(item.take(), ids)),
        _ => {}
    }
    value
}

fn replay(finished: Finished, format: &str) -> Finished {
    finished.again().print("go").args(["--replay", "record.jsonl", "--output-format", format]).run().code(0)
}

#[test]
fn the_same_job_gives_the_same_bytes_under_replay_twice() {
    let mut finished = whole_job().args(["--record", "record.jsonl"]).run().code(0);
    for format in ["text", "json", "stream-json"] {
        let first = replay(finished, format);
        let first_stdout = first.stdout.clone();
        assert!(first_stdout.contains("the answer"), "{first_stdout}");
        finished = replay(first, format);
        if format == "text" {
            assert_eq!(first_stdout, finished.stdout);
        }
        assert_eq!(normal(&first_stdout), normal(&finished.stdout), "{format}");
    }
}
