//! Attacks on what is not to be touched, read or sent, and what comes of them.

use std::{fs, process::Command};

use serde_json::json;

use crate::support::{Test, finished::Finished, reply::Reply, server::Server};

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
