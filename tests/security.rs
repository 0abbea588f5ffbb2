//! Attacks on what is not to be touched, read or sent, and what comes of them.

use std::{fs, os::unix::process::CommandExt, process::Command};

use serde_json::json;

use crate::support::{Test, finished::Finished, reply::Reply, server::Server};

const KEY: &str = "sk-ant-a-secret-of-some-length";

/// Lets the model run one command.
fn command(command: &str) -> Test {
    Test::new()
        .print("go")
        .reply(Reply::tool("bash", json!({"command": command})))
        .reply(Reply::text("done"))
}

fn output(finished: &Finished) -> String {
    finished.request(1).tool_result(0).0
}

const WRITES: &str = "echo x > in.txt && echo inside; echo x > \"$TMPDIR/t\" && echo temp; \
    : > /dev/null && echo device; echo x > \"$HOME/evil\" && echo outside; \
    (setsid sh -c 'echo x > \"$HOME/evil\" && echo outside'); mv in.txt \"$HOME/evil\" 2>/dev/null && echo moved; \
    (: > \"$HOME/victim\") && echo emptied; cat \"$HOME/victim\"";

/// False, after a line that says so, where the kernel has no Landlock.
fn has_landlock() -> bool {
    let finished = command("true")
        .args(["--sandbox", "read-only"])
        .run()
        .code(0);
    let missing = output(&finished).contains("this kernel lacks Landlock");
    if missing {
        eprintln!("skipped: {}", output(&finished));
    }
    !missing
}

#[track_caller]
fn check_writes(mode: &str, expected: &[&str]) {
    let test = command(WRITES).args(["--sandbox", mode]);
    fs::write(test.home().join("victim"), "victim\n").unwrap();
    let finished = test.run().code(0);
    let text = output(&finished);
    let words = [
        "inside", "temp", "device", "outside", "moved", "emptied", "victim",
    ];
    let said: Vec<&str> = text.lines().filter(|line| words.contains(line)).collect();
    assert_eq!(said, expected, "{text}");
}

#[test]
fn a_sandboxed_command_writes_only_where_it_may() {
    if !has_landlock() {
        return;
    }
    check_writes("workspace", &["inside", "temp", "device", "victim"]);
    check_writes(
        "workspace,best-effort",
        &["inside", "temp", "device", "victim"],
    );
    check_writes("read-only", &["device", "victim"]);
    check_writes(
        "off",
        &[
            "inside", "temp", "device", "outside", "outside", "moved", "emptied",
        ],
    );
}

#[test]
fn a_read_only_sandbox_holds_for_the_file_tools_too() {
    let finished = Test::new()
        .args(["--sandbox", "read-only"])
        .file("old.txt", "old")
        .print("go")
        .reply(Reply::tool(
            "write_file",
            json!({"path": "new.txt", "content": "x"}),
        ))
        .reply(Reply::tool(
            "edit_file",
            json!({"path": "old.txt", "old_text": "old", "new_text": "new"}),
        ))
        .reply(Reply::tool("read_file", json!({"path": "old.txt"})))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    for n in [1, 2] {
        let (text, is_error) = finished.request(n).tool_result(0);
        assert!(
            is_error && text.contains("the sandbox is read-only"),
            "{text}"
        );
    }
    assert_eq!(finished.request(3).tool_result(0).0, "old");
}

#[test]
fn an_added_folder_is_open_to_both_and_others_are_not() {
    let added = tempfile::tempdir().unwrap();
    let path = added.path().display().to_string();
    let finished = Test::new()
        .args(["--add-dir", &path, "--sandbox", "workspace,best-effort"])
        .print("go")
        .reply(Reply::tool(
            "write_file",
            json!({"path": format!("{path}/a.txt"), "content": "x"}),
        ))
        .reply(Reply::tool(
            "bash",
            json!({"command": format!("echo y > {path}/b.txt; cat {path}/*.txt")}),
        ))
        .reply(Reply::tool("read_file", json!({"path": "/etc/passwd"})))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    assert_eq!(finished.request(1).tool_result(0).0, "Wrote 1 bytes");
    assert_eq!(finished.request(2).tool_result(0).0, "xy");
    assert_eq!(
        finished.request(3).tool_result(0).0,
        "Error: Path escapes workspace: /etc/passwd"
    );
}

#[test]
fn the_log_of_a_task_can_be_read_but_not_written() {
    let finished = Test::new()
        .print("go")
        .reply(Reply::tool(
            "bash",
            json!({"command": "yes line | head -n 30000; echo the end"}),
        ))
        .reply(Reply::with(|request| {
            let text = request.tool_result(0).0;
            let log = text
                .rsplit_once("(the whole output is in ")
                .unwrap()
                .1
                .trim_end_matches(')');
            Reply::message(vec![
                crate::support::stream::Block::tool(
                    "read_file",
                    json!({"path": log, "offset": 30001}),
                ),
                crate::support::stream::Block::tool(
                    "write_file",
                    json!({"path": log, "content": "x"}),
                ),
            ])
        }))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    assert_eq!(finished.request(2).tool_result(0).0, "the end");
    assert!(
        finished
            .request(2)
            .tool_result(1)
            .0
            .starts_with("Error: Path escapes workspace")
    );
}

#[test]
fn a_command_without_network_reaches_nobody() {
    if !has_landlock() || Command::new("bash").arg("--version").output().is_err() {
        return;
    }
    let server = Server::start();
    let address = server.url().replace("http://", "").replace(':', "/");
    let connect = format!(
        "bash -c 'exec 3<>/dev/tcp/{}' 2>/dev/null && echo connected",
        address.trim_end_matches('/')
    );
    assert_eq!(output(&command(&connect).run().code(0)), "connected");
    let cut_off = output(&command(&connect).arg("--no-network").run().code(0));
    assert!(!cut_off.contains("connected"), "{cut_off}");
}

#[test]
fn the_environment_of_a_command_is_as_asked() {
    let test = || {
        command("env | grep -E '^(ANTHROPIC|MY_|OTHER)' | sort | tr '\\n' ' '")
            .env("ANTHROPIC_API_KEY", KEY)
            .env("MY_TOKEN", "t")
            .env("OTHER", "o")
            .env_remove("ANTHROPIC_BASE_URL_UNUSED")
    };
    let seen = |test: Test| {
        let text = output(&test.run().code(0));
        text.split(' ')
            .filter(|word| !word.starts_with("ANTHROPIC_BASE_URL"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(seen(test()), "MY_TOKEN=t OTHER=o");
    assert_eq!(seen(test().args(["--drop-env", "OTHER"])), "MY_TOKEN=t");
    assert_eq!(seen(test().arg("--scrub-env")), "OTHER=o");
    assert_eq!(
        seen(test().args(["--scrub-env", "--keep-env", "MY_TOKEN"])),
        "MY_TOKEN=t OTHER=o"
    );
}

#[test]
fn the_key_in_a_file_or_an_output_is_masked_before_it_is_sent_or_kept() {
    let finished = Test::new()
        .env("ANTHROPIC_API_KEY", KEY)
        .file("leak.txt", format!("key={KEY}\n"))
        .print("go")
        .reply(Reply::tool("read_file", json!({"path": "leak.txt"})))
        .reply(Reply::tool("bash", json!({"command": "cat leak.txt"})))
        .reply(Reply::tool(
            "background_run",
            json!({"command": "cat leak.txt"}),
        ))
        .reply(Reply::text("waiting"))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    for request in &finished.requests {
        assert!(!request.body.to_string().contains(KEY), "{}", request.body);
    }
    assert_eq!(finished.request(1).tool_result(0).0, "key=[credential]");
    assert!(!finished.stderr.contains(KEY) && !finished.stdout.contains(KEY));
    for (folder, count) in [("sessions", 1), ("tasks", 1)] {
        let files = fs::read_dir(finished.dir.state().join("meanwhile").join(folder)).unwrap();
        let texts: Vec<String> = files
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        assert_eq!(texts.len(), count, "{folder}");
        for text in texts {
            assert!(
                text.contains("[credential]") && !text.contains(KEY),
                "{text}"
            );
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
    let look = "agent=$(awk '{print $4}' /proc/$PPID/stat); cat /proc/$agent/environ; echo; tr '\\0' '\\n' </proc/$PPID/environ";
    server.push(Reply::tool("bash", json!({"command": look})));
    server.push(Reply::text("done"));
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(home.path(), Some(12345), Some(12345)).unwrap();
    let program = home.path().join("meanwhile");
    fs::copy(env!("CARGO_BIN_EXE_meanwhile"), &program).unwrap();
    let output = Command::new(&program)
        .args(["-p", "go"])
        .env_clear()
        .envs([
            ("PATH", "/usr/bin:/bin"),
            ("ANTHROPIC_API_KEY", KEY),
            ("MODEL_ID", "m"),
        ])
        .env("ANTHROPIC_BASE_URL", server.url())
        .env("HOME", home.path())
        .current_dir(home.path())
        .stdin(std::process::Stdio::null())
        .uid(12345)
        .gid(12345)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen = server.requests()[1].tool_result(0).0;
    assert!(seen.contains("Permission denied"), "{seen}");
    // It would be masked: the variable's name gives it away all the same.
    assert!(
        !seen.contains("ANTHROPIC_API_KEY") && seen.contains("MODEL_ID=m"),
        "{seen}"
    );
}

#[test]
fn what_a_file_or_a_command_prints_cannot_move_the_cursor() {
    let finished = Test::new()
        .file("evil.txt", "a\u{1b}]0;owned\u{7}b\u{202e}c\u{9b}2J")
        .print("go")
        .reply(Reply::tool("read_file", json!({"path": "evil.txt"})))
        .reply(Reply::text("\u{1b}[2Jgone \u{2066}hidden"))
        .run()
        .code(0);
    let shown = format!("{}{}", finished.stdout, finished.stderr);
    assert!(
        finished
            .stderr
            .contains("a\\u{1b}]0;owned\\u{7}b\\u{202e}c\\u{9b}2J"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains('\u{1b}'), "{shown}");
}
