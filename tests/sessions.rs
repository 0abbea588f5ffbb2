//! Sessions: kept as they grow, continued after any end, by one process at a time.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Test, dir::Dir, finished::Finished, random::Random, reply::Reply, stream::Block, wait_until,
};

fn files(dir: &Dir) -> Vec<PathBuf> {
    let folder = dir.state().join("meanwhile/sessions");
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn lines(dir: &Dir) -> Vec<Value> {
    let text = fs::read_to_string(&files(dir)[0]).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The texts that the user and the model have said, in order.
fn said(messages: &[Value]) -> Vec<String> {
    let blocks = messages.iter().flat_map(|message| message["content"].as_array().unwrap());
    blocks.filter_map(|block| block["text"].as_str()).map(str::to_owned).collect()
}

/// A session of one exchange.
fn one_exchange() -> Finished {
    let test = Test::new().print("one").reply(Reply::text("two"));
    test.run().code(0)
}

#[test]
fn a_session_is_continued_where_it_ended() {
    let first = one_exchange();
    let header = &lines(&first.dir)[0];
    assert_eq!((header["type"].as_str(), header["version"].as_u64()), (Some("session"), Some(2)));
    assert_eq!(header["model"], "test-model");
    let id = header["id"].as_str().unwrap().to_owned();
    let second = first.again().arg("-c").print("three").reply(Reply::text("four")).run().code(0);
    assert_eq!(said(second.request(0).messages()), ["one", "two", "three"]);
    let third =
        second.again().args(["--resume", &id[..6]]).print("five").reply(Reply::text("six")).run().code(0);
    assert_eq!(said(third.request(0).messages()), ["one", "two", "three", "four", "five"]);
    assert_eq!(files(&third.dir).len(), 1);
    let listed = third.again().arg("sessions").run().code(0);
    assert!(listed.stdout.contains(&id[..8]) && listed.stdout.contains("3 turns"), "{}", listed.stdout);
    assert!(listed.stdout.contains("one"), "{}", listed.stdout);
}

#[test]
fn a_session_that_cannot_be_opened_says_why() {
    let first = one_exchange();
    let path = files(&first.dir).remove(0);
    let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    let cases = [
        (text.replacen("\"version\":2", "\"version\":9", 1), "was written by a later version of meanwhile"),
        (text.replacen('{', "\0", 1), "is damaged: its first line can't be read"),
    ];
    let mut finished = first;
    for (damaged, why) in cases {
        fs::write(&path, &damaged).unwrap();
        finished = finished.again().args(["--resume", &id]).print("x").run().code(1).stderr_contains(why);
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
}

/// What `meanwhile sessions` prints of the only session, without its age and its id.
fn listed(finished: Finished) -> String {
    let folder = finished.dir.workspace().display().to_string();
    let line = finished.again().arg("sessions").run().code(0).stdout;
    let words: Vec<&str> = line.split_whitespace().filter(|word| *word != folder).collect();
    words[words.iter().position(|word| *word == "ago").unwrap() + 2..].join(" ")
}

#[test]
fn only_what_the_user_said_counts_as_a_turn() {
    let markup = Test::new().print("<b>Fix</b> this").reply(Reply::text("done")).run().code(0);
    assert_eq!(listed(markup), "1 turn <b>Fix</b> this");

    let continued = Test::new()
        .print("Write much.")
        .reply(Reply::text("one").stop("max_tokens"))
        .reply(Reply::tool("background_run", json!({"command": "true"})))
        .reply(Reply::text("It runs."))
        .reply(Reply::text("It has ended."))
        .allow_unused()
        .run()
        .code(0);
    assert_eq!(listed(continued), "1 turn Write much.");

    let mut session = Test::new().reply(Reply::text("no").stop("refusal")).reply(Reply::text("yes")).spawn();
    session.send_line("Do harm.");
    session.expect("refused");
    session.send_line("!echo a command");
    session.expect("a command");
    session.send_line("Do good.");
    session.expect("yes");
    session.close_stdin();
    assert_eq!(listed(session.wait().code(0)), "1 turn Do good.");
}

#[test]
fn turns_of_a_file_of_an_earlier_version_are_counted() {
    let first = one_exchange();
    let path = files(&first.dir).remove(0);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(",\"prompt\":0", "")).unwrap();
    assert_eq!(listed(first), "1 turn one");
}

#[test]
fn what_is_not_to_be_kept_is_not() {
    let finished = Test::new().arg("--no-session").print("one").reply(Reply::text("two")).run().code(0);
    assert!(files(&finished.dir).is_empty());
    let finished = finished.again().arg("-c").print("three").run().code(1);
    finished.stderr_contains("no session to continue in");
    Test::new().args(["--resume", "zzz"]).print("x").run().code(1).stderr_contains("`zzz`");
    Test::new().arg("sessions").run().code(0).stdout("No sessions.\n");
}

#[test]
fn a_message_is_on_disk_before_it_is_sent_and_only_for_the_user() {
    let test = Test::new();
    let state = test.home().join("state/meanwhile/sessions");
    let folder = state.clone();
    let finished = test
        .print("the task")
        .reply(Reply::with(move |_| {
            let file = fs::read_dir(&state).unwrap().next().unwrap().unwrap().path();
            assert!(fs::read_to_string(file).unwrap().contains("the task"));
            Reply::text("done")
        }))
        .run()
        .code(0);
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&files(&finished.dir)[0]), mode(&folder)), (0o600, 0o700));
}

#[test]
fn damaged_lines_are_left_out_and_said() {
    let first = one_exchange();
    let path = files(&first.dir).remove(0);
    let text = fs::read_to_string(&path).unwrap();
    let damaged = text.replace("\"two\"", "\"two\u{0}") + "\u{fffd}\n";
    fs::write(&path, damaged).unwrap();
    let second = first.again().arg("-c").print("go on").reply(Reply::text("done")).run().code(0);
    second.stderr_contains("skipped 2 unreadable lines of the session file\n");
}

#[test]
fn the_latest_session_of_the_folder_is_gone_on_with() {
    let first = one_exchange();
    let here = files(&first.dir).remove(0);
    let other = here.with_file_name("00000000-0000-4000-8000-000000000000.jsonl");
    let text = fs::read_to_string(&here).unwrap();
    let cwd = first.dir.workspace().display().to_string();
    fs::write(&other, text.replace(&cwd, "/elsewhere")).unwrap();
    // What has such a name and is no file is no session, whatever its time.
    fs::create_dir(here.with_file_name("folder.jsonl")).unwrap();
    let fifo = here.with_file_name("fifo.jsonl");
    let made = std::process::Command::new("mkfifo").arg(fifo).status();
    assert!(made.unwrap().success());
    let second = first.again().arg("-c").print("go on").reply(Reply::text("done")).run().code(0);
    assert_eq!(second.request(0).messages().len(), 3);
    assert!(fs::read_to_string(&here).unwrap().contains("go on"));
    let list = second.again().arg("sessions").run().code(0).stdout;
    assert!(list.contains("/elsewhere"), "{list}");
}

#[test]
fn a_torn_last_line_and_open_calls_are_mended() {
    let first = one_exchange();
    let path = files(&first.dir).remove(0);
    let call = r#"{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"bash","input":{}}]}"#;
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"more\"}]}\n");
    text.push_str(&format!("{call}\n{{\"role\":\"user\",\"conte"));
    fs::write(&path, text).unwrap();
    let second = first.again().arg("-c").print("go on").reply(Reply::text("done")).run().code(0);
    let (answer, is_error) = second.request(0).tool_result(0);
    assert!(is_error && answer.contains("result lost"), "{answer}");
    let third = second.again().arg("-c").print("again").reply(Reply::text("fine")).run().code(0);
    assert_eq!(third.request(0).messages().len(), 7);
}

#[test]
fn calls_to_which_a_server_gives_the_same_id_are_all_kept() {
    let first = one_exchange();
    let path = files(&first.dir).remove(0);
    let mut text = fs::read_to_string(&path).unwrap();
    let call = json!({"type": "tool_use", "id": "call_0", "name": "bash", "input": {"command": "date"}});
    for result in ["12:00", "12:01"] {
        let result = json!({"type": "tool_result", "tool_use_id": "call_0", "content": result});
        for (role, block) in [("assistant", &call), ("user", &result)] {
            text += &format!("{}\n", json!({"role": role, "content": [block]}));
        }
    }
    fs::write(&path, text).unwrap();
    // The server of the tests does not take such calls back.
    let second = first.again().allow_violations().arg("-c").print("go on").run().code(3);
    let sent = second.request(0).body["messages"].to_string();
    assert_eq!(sent.matches("tool_use_id").count(), 2, "{sent}");
    assert!(sent.contains("12:00") && sent.contains("12:01"), "{sent}");
}

#[test]
fn tasks_that_were_lost_are_told_once() {
    let mut session = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "sleep 100"})))
        .reply(Reply::text("it runs now"))
        .spawn();
    session.send_line("one");
    session.expect("it runs now");
    session.signal(Signal::KILL);
    let first = session.wait();
    let second = first.again().arg("-c").print("two").reply(Reply::text("ok")).run().code(0);
    let told = second.request(0).body.to_string();
    assert!(told.contains("its result is lost: sleep 100"), "{told}");
    let third = second.again().arg("-c").print("three").reply(Reply::text("ok")).run().code(0);
    assert_eq!(third.request(0).body.to_string().matches("is lost").count(), 1);
}

#[test]
fn tasks_that_were_lost_are_told_after_runs_that_say_nothing() {
    let first = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "sleep 100"})))
        .reply(Reply::error(400, "invalid_request_error", "no"))
        .args(["--on-end", "kill"])
        .print("one")
        .run()
        .code(3);
    let second = first.again().arg("-c").stdin("q\n").run().code(0);
    let third = second.again().arg("-c").print("two").reply(Reply::text("no").stop("refusal")).run().code(1);
    let fourth = third.again().arg("-c").print("three").reply(Reply::text("ok")).run().code(0);
    let told = fourth.request(0).body["messages"].to_string();
    assert_eq!(told.matches("its result is lost").count(), 1, "{told}");
}

#[test]
fn results_that_exist_survive_a_kill_in_the_middle_of_a_reply() {
    let calls = [
        ("bash", json!({"command": "echo precious"})),
        ("check_background", json!({"task_id": "", "wait": 20})),
        ("bash", json!({"command": "touch up; sleep 100"})),
        ("bash", json!({"command": "echo never"})),
    ];
    let mut session = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "echo behind the scenes"})))
        .reply(Reply::with(move |request| {
            let (started, _) = request.tool_result(0);
            let id = started.split(' ').nth(2).unwrap().to_owned();
            let blocks = calls.into_iter().map(|(name, mut input)| {
                if input.get("task_id").is_some() {
                    input["task_id"] = json!(id);
                }
                Block::tool(name, input)
            });
            Reply::message(blocks.collect())
        }))
        .print("go")
        .spawn();
    session.close_stdin();
    let up = session.dir().workspace().join("up");
    wait_until("the third call", || up.exists());
    session.signal(Signal::KILL);
    let next = session.wait().again().arg("-c").print("go on").reply(Reply::text("done")).run().code(0);
    let request = next.request(0);
    let result = |n| request.tool_result(n);
    assert_eq!(result(0), ("precious".to_owned(), false));
    assert!(result(1).0.contains("behind the scenes"), "{:?}", result(1));
    for n in [2, 3] {
        assert!(result(n).0.contains("result lost"), "{:?}", result(n));
    }
    let told = request.messages().last().unwrap().to_string();
    assert!(!told.contains("background-results") && !told.contains("Background task"), "{told}");
}

#[test]
fn a_session_is_open_in_one_process_only() {
    let mut session = Test::new().reply(Reply::text("hello")).spawn();
    session.send_line("one");
    session.expect("hello");
    let pid = session.pid().as_raw_nonzero().to_string();
    let (state, workspace) = (session.dir().state(), session.dir().workspace());
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_meanwhile"))
        .args(["-c", "-p", "two"])
        .current_dir(workspace)
        .env("XDG_STATE_HOME", state)
        .envs([("ANTHROPIC_API_KEY", "k"), ("MODEL_ID", "m"), ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("is open in process {pid}")), "{stderr}");
    session.close_stdin();
    session.wait().code(0);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_said_once_and_ends_nothing() {
    let test = Test::new();
    fs::write(test.home().join("state"), "no folder").unwrap();
    let finished = test
        .print("one")
        .reply(Reply::tool("bash", json!({"command": "true"})))
        .reply(Reply::text("two"))
        .run()
        .code(0)
        .stdout("two\n");
    assert_eq!(finished.stderr.matches("the session is no longer saved").count(), 1, "{}", finished.stderr);
}

#[test]
fn after_kill_at_any_moment_nothing_acknowledged_is_missing() {
    let rounds = std::env::var("MEANWHILE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut random = Random::new(7);
    for round in 0..rounds {
        let mut test = Test::new().print("the task").allow_unused();
        for step in 0..30 {
            test = test.reply(Reply::tool("bash", json!({"command": format!("echo step-{step}")})));
        }
        let mut session = test.spawn();
        session.close_stdin();
        // Into the middle of some request, tool or write.
        let wanted = 1 + random.below(12) as usize;
        wait_until("some requests", || session.server().requests().len() >= wanted);
        let until = Instant::now() + Duration::from_micros(random.below(4000));
        while Instant::now() < until {}
        session.signal(Signal::KILL);
        let killed = session.wait();
        let acknowledged = killed.requests.last().unwrap().messages().to_vec();
        let next = killed.again().arg("-c").print("go on").reply(Reply::text("done")).run().code(0);
        let sent = next.request(0).messages();
        for (n, message) in acknowledged.iter().enumerate() {
            let (mut was, mut is) = (message.clone(), sent[n].clone());
            for side in [&mut was, &mut is] {
                for block in side["content"].as_array_mut().unwrap() {
                    block.as_object_mut().unwrap().remove("cache_control");
                }
            }
            let is = is["content"].as_array().unwrap();
            let was = was["content"].as_array().unwrap();
            assert!(is.starts_with(was), "round {round}, message {n}: {was:?} became {is:?}");
        }
    }
}
