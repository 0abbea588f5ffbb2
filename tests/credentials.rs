//! The credential: no command sees it, and wherever its text turns up it is masked before it is sent, shown or kept.

use std::{fs, os::unix::process::CommandExt, path::Path, process::Command};

use serde_json::json;

use crate::support::{Test, copy_program, finished::Finished, reply::Reply, server::Server, stream::Block};

const KEY: &str = "sk-ant-a-secret-of-some-length";

/// Lets the model run one command.
fn command(command: &str) -> Test {
    Test::new()
        .env("ANTHROPIC_API_KEY", KEY)
        .print("go")
        .reply(Reply::tool("bash", json!({"command": command})))
        .reply(Reply::text("done"))
}

fn output(finished: &Finished) -> String {
    finished.request(1).tool_result(0).0
}

/// Everything that the program has written, but for what was in the workspace before.
fn written(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap().flatten();
    let texts = files.map(|file| match file.path() {
        path if path.is_dir() => written(&path),
        path => String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned(),
    });
    texts.collect()
}

/// The key is neither in what was sent and shown nor in what was kept; in its place stands a word.
#[track_caller]
fn check_masked(finished: &Finished) {
    let sent = finished.requests.iter().map(|request| &request.body);
    let sent: String = sent.map(|body| body.to_string()).collect();
    let kept = written(&finished.dir.state());
    let record = finished.dir.workspace().join("record.jsonl");
    let record = fs::read_to_string(record).unwrap_or_default();
    let all = [&finished.stdout, &finished.stderr, &sent, &kept, &record];
    for (n, text) in all.into_iter().enumerate() {
        assert!(!text.contains(&KEY[..20]), "place {n}: {text}");
    }
    let masked = all.iter().any(|text| text.contains("[credential]"));
    assert!(masked, "it was nowhere: {}", finished.stderr);
}

#[test]
fn the_environment_of_a_command_is_as_asked() {
    let test = || {
        command("env | grep -E '^(ANTHROPIC|MY_|OTHER)' | sort | tr '\\n' ' '")
            .env("MY_TOKEN", "t")
            .env("OTHER", "o")
    };
    let seen = |test: Test| {
        let text = output(&test.run().code(0));
        text.split(' ').filter(|word| !word.starts_with("ANTHROPIC_BASE_URL")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(seen(test()), "MY_TOKEN=t OTHER=o");
    assert_eq!(seen(test().args(["--drop-env", "OTHER"])), "MY_TOKEN=t");
    assert_eq!(seen(test().arg("--scrub-env")), "OTHER=o");
    assert_eq!(seen(test().args(["--scrub-env", "--keep-env", "MY_TOKEN"])), "MY_TOKEN=t OTHER=o");
}

#[test]
fn the_key_in_a_file_or_an_output_is_masked_before_it_is_sent_or_kept() {
    let finished = Test::new()
        .env("ANTHROPIC_API_KEY", KEY)
        .file("leak.txt", format!("key={KEY}\n"))
        .print("go")
        .reply(Reply::tool("read_file", json!({"path": "leak.txt"})))
        .reply(Reply::tool("bash", json!({"command": "cat leak.txt"})))
        .reply(Reply::tool("background_run", json!({"command": "cat leak.txt"})))
        .reply(Reply::text("waiting"))
        .reply(Reply::text("done"))
        // The task may have ended before the model says that it waits.
        .allow_unused()
        .run()
        .code(0);
    for request in &finished.requests {
        assert!(!request.body.to_string().contains(KEY), "{}", request.body);
    }
    assert_eq!(finished.request(1).tool_result(0).0, "key=[credential]");
    assert!(!finished.stderr.contains(KEY) && !finished.stdout.contains(KEY));
    for (folder, count) in [("sessions", 1), ("tasks", 1)] {
        let files = fs::read_dir(finished.dir.state().join("meanwhile").join(folder)).unwrap();
        let texts: Vec<String> =
            files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        assert_eq!(texts.len(), count, "{folder}");
        for text in texts {
            assert!(text.contains("[credential]") && !text.contains(KEY), "{text}");
        }
    }
}

#[test]
fn a_credential_that_is_not_in_use_is_masked_too() {
    let finished = Test::new()
        .env("ANTHROPIC_AUTH_TOKEN", KEY)
        .file("leak.txt", format!("token={KEY}\n"))
        .print("go")
        .reply(Reply::tool("read_file", json!({"path": "leak.txt"})))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    assert_eq!(finished.request(1).tool_result(0).0, "token=[credential]");
}

#[test]
fn a_command_of_the_same_user_cannot_read_the_environment_of_the_program() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: it takes root to become another user");
        return;
    }
    let server = Server::start();
    // The parent of the shell is the supervisor; its parent is the program.
    let look = "agent=$(awk '{print $4}' /proc/$PPID/stat); cat /proc/$agent/environ; echo; head -c 1 /proc/$agent/mem; cat /proc/$agent/maps; echo; tr '\\0' '\\n' </proc/$PPID/environ";
    server.push(Reply::tool("bash", json!({"command": look})));
    server.push(Reply::text("done"));
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(12345), Some(12345)).unwrap();
    let program = home.path().join("meanwhile");
    copy_program(env!("CARGO_BIN_EXE_meanwhile"), &program);
    let output = Command::new(&program)
        .args(["-p", "go"])
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("ANTHROPIC_API_KEY", KEY), ("MODEL_ID", "m")])
        .env("ANTHROPIC_BASE_URL", server.url())
        .env("HOME", home.path())
        .current_dir(home.path())
        .stdin(std::process::Stdio::null())
        .uid(12345)
        .gid(12345)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen = server.requests()[1].tool_result(0).0;
    assert_eq!(seen.matches("Permission denied").count(), 3, "{seen}");
    // It would be masked: the variable's name gives it away all the same.
    assert!(!seen.contains("ANTHROPIC_API_KEY") && seen.contains("MODEL_ID=m"), "{seen}");
}

#[test]
fn a_kept_credential_is_seen_by_commands_and_masked_all_the_same() {
    let see = "echo ${#ANTHROPIC_API_KEY} $ANTHROPIC_API_KEY";
    assert_eq!(output(&command(see).run().code(0)), "0");
    let finished = command(see).args(["--keep-env", "ANTHROPIC_API_KEY"]).run();
    assert_eq!(output(&finished), format!("{} [credential]", KEY.len()));
    check_masked(&finished.code(0));
}

#[test]
fn a_key_in_pieces_or_under_escapes_or_at_a_cut_is_masked() {
    let (start, end) = KEY.split_at(9);
    let pieces = format!("printf {start}; sleep 0.1; printf {end}; printf '{start}\\033[0m{end}'");
    let finished = command(&pieces).run().code(0);
    assert_eq!(output(&finished), "[credential][credential]");
    // The line is longer than a result, and the cut goes through the key.
    for before in [49_770, 49_780, 49_790] {
        let line = format!("{}{KEY}{}", "x".repeat(before), "y".repeat(500));
        let finished = Test::new()
            .env("ANTHROPIC_API_KEY", KEY)
            .file("long", line)
            .print("go")
            .reply(Reply::tool("read_file", json!({"path": "long"})))
            .reply(Reply::text("done"))
            .run()
            .code(0);
        let text = output(&finished);
        assert!(!text.contains(&KEY[..8]), "{}", &text[before - 10..]);
    }
}

#[test]
fn the_key_beside_an_edit_or_in_a_name_is_masked() {
    let edit = json!({"path": "env", "old_text": "a=1", "new_text": "a=2"});
    let write = json!({"path": "env", "content": "new"});
    let finished = Test::new()
        .env("ANTHROPIC_API_KEY", KEY)
        .file("env", format!("a=1\nkey={KEY}\n"))
        .file(KEY, "named so")
        .print("go")
        .args(["--output-format", "stream-json"])
        .reply(Reply::message(vec![
            Block::tool("edit_file", edit),
            Block::tool("write_file", write),
            Block::tool("bash", json!({"command": "ls; cat sk-*; cat ./sk-*/x"})),
        ]))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    check_masked(&finished);
}

#[test]
fn the_key_in_what_the_user_says_is_masked() {
    let test = || {
        let test = Test::new().env("ANTHROPIC_API_KEY", KEY);
        test.file("AGENTS.md", format!("Use {KEY}."))
            .file("task.txt", format!("Try {KEY}."))
            .reply(Reply::text("done"))
    };
    check_masked(&test().print(&format!("Is {KEY} right?")).run().code(0));
    check_masked(&test().args(["-p", "-f", "task.txt"]).run().code(0));
    let piped = test().print("explain").stdin(&format!("key={KEY}"));
    check_masked(&piped.run().code(0));
    let mut session = test().reply(Reply::text("done")).spawn();
    session.send_line("look at @task.txt");
    session.expect("done");
    session.send_line("!cat task.txt");
    session.expect("[credential]");
    session.send_line("and now");
    session.expect("done");
    session.send_line("/save saved.md");
    session.expect("saved.md");
    session.close_stdin();
    let finished = session.wait().code(0);
    check_masked(&finished);
    assert!(!finished.dir.read("saved.md").contains(KEY));
}

#[test]
fn a_key_that_the_server_repeats_is_masked_in_errors_recordings_and_transcripts() {
    let message = format!("invalid x-api-key: {KEY}");
    let html = [("content-type", "text/html"), ("request-id", KEY)];
    let replies = [
        (Reply::error(401, "authentication_error", &message), 3),
        (Reply::error(401, KEY, "no").header("request-id", KEY), 3),
        (Reply::raw(403, &html, &message), 3),
        (Reply::raw(200, &[("content-type", KEY)], ""), 3),
        (Reply::sse(&format!("data: {{\"error\":\"{KEY}\"\n\n")), 3),
        (
            Reply::sse(&format!(
                "data: {{\"type\":\"error\",\"error\":{{\"type\":\"x\",\"message\":\"{KEY}\"}}}}\n\n"
            )),
            3,
        ),
        (Reply::text(&message), 0),
    ];
    for (reply, code) in replies {
        let test = Test::new().env("ANTHROPIC_API_KEY", KEY);
        let options = ["-v", "--record", "record.jsonl", "--max-retries=0"];
        let finished = test.args(options).print("go").reply(reply).run();
        check_masked(&finished.code(code));
    }
}
