//! Attacks on what is not to be touched, read or sent, and what comes of them.

use std::{fs, os::unix::fs::symlink, process::Command, thread};

use landlock::{AccessFs, Ruleset, RulesetAttr};

use serde_json::json;

use crate::support::{Test, finished::Finished, reply::Reply, server::Server, stream::Block, wait_until};

/// Lets the model run one command.
fn command(command: &str) -> Test {
    Test::new().print("go").reply(Reply::tool("bash", json!({"command": command}))).reply(Reply::text("done"))
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
    let finished = command("true").args(["--sandbox", "read-only"]).run().code(0);
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
    let words = ["inside", "temp", "device", "outside", "moved", "emptied", "victim"];
    let said: Vec<&str> = text.lines().filter(|line| words.contains(line)).collect();
    assert_eq!(said, expected, "{text}");
}

#[test]
fn a_sandboxed_command_writes_only_where_it_may() {
    if !has_landlock() {
        return;
    }
    check_writes("workspace", &["inside", "temp", "device", "victim"]);
    check_writes("workspace,best-effort", &["inside", "temp", "device", "victim"]);
    check_writes("read-only", &["device", "victim"]);
    check_writes("off", &["inside", "temp", "device", "outside", "outside", "moved", "emptied"]);
}

#[test]
fn a_read_only_sandbox_holds_for_the_file_tools_too() {
    let finished = Test::new()
        .args(["--sandbox", "read-only"])
        .file("old.txt", "old")
        .print("go")
        .reply(Reply::tool("write_file", json!({"path": "new.txt", "content": "x"})))
        .reply(Reply::tool("edit_file", json!({"path": "old.txt", "old_text": "old", "new_text": "new"})))
        .reply(Reply::tool("read_file", json!({"path": "old.txt"})))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    for n in [1, 2] {
        let (text, is_error) = finished.request(n).tool_result(0);
        assert!(is_error && text.contains("the sandbox is read-only"), "{text}");
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
        .reply(Reply::tool("write_file", json!({"path": format!("{path}/a.txt"), "content": "x"})))
        .reply(Reply::tool("bash", json!({"command": format!("echo y > {path}/b.txt; cat {path}/*.txt")})))
        .reply(Reply::tool("read_file", json!({"path": "/etc/passwd"})))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    assert_eq!(finished.request(1).tool_result(0).0, "Wrote 1 bytes");
    assert_eq!(finished.request(2).tool_result(0).0, "xy");
    assert_eq!(finished.request(3).tool_result(0).0, "Error: Path escapes workspace: /etc/passwd");
}

#[test]
fn the_log_of_a_task_can_be_read_but_not_written() {
    let finished = Test::new()
        .print("go")
        .reply(Reply::tool("bash", json!({"command": "yes line | head -n 30000; echo the end"})))
        .reply(Reply::with(|request| {
            let text = request.tool_result(0).0;
            let log = text.rsplit_once("(the whole output is in ").unwrap().1.trim_end_matches(')');
            Reply::message(vec![
                Block::tool("read_file", json!({"path": log, "offset": 30001})),
                Block::tool("write_file", json!({"path": log, "content": "x"})),
            ])
        }))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    assert_eq!(finished.request(2).tool_result(0).0, "the end");
    assert!(finished.request(2).tool_result(1).0.starts_with("Error: Path escapes workspace"));
}

#[test]
fn a_command_without_network_reaches_nobody() {
    if !has_landlock() || Command::new("bash").arg("--version").output().is_err() {
        return;
    }
    let server = Server::start();
    let address = server.url().replace("http://", "").replace(':', "/");
    let connect =
        format!("bash -c 'exec 3<>/dev/tcp/{}' 2>/dev/null && echo connected", address.trim_end_matches('/'));
    assert_eq!(output(&command(&connect).run().code(0)), "connected");
    let cut_off = output(&command(&connect).arg("--no-network").run().code(0));
    assert!(!cut_off.contains("connected"), "{cut_off}");
}

#[test]
fn nothing_else_of_the_state_folder_can_be_read() {
    let first = Test::new().print("go").reply(Reply::text("done"));
    let finished = first.run().code(0);
    let state = finished.dir.state().join("meanwhile");
    let session = fs::read_dir(state.join("sessions")).unwrap().next();
    let session = session.unwrap().unwrap().path();
    let tasks = state.join("tasks");
    fs::create_dir_all(tasks.join("below")).unwrap();
    for name in ["history", "tasks/notes.txt", "tasks/below/x.log"] {
        fs::write(state.join(name), "private").unwrap();
    }
    symlink("/etc/passwd", tasks.join("a.log")).unwrap();
    symlink(&session, tasks.join("b.log")).unwrap();
    let made = Command::new("mkfifo").arg(tasks.join("c.log")).status();
    assert!(made.unwrap().success());
    fs::write(tasks.join("d.log"), "a log").unwrap();
    let names = [
        "history",
        "tasks/notes.txt",
        "tasks/below/x.log",
        "tasks/../history",
        "tasks/a.log",
        "tasks/b.log",
        "tasks",
        ".",
    ];
    let paths = names.map(|name| state.join(name).display().to_string());
    let mut paths = paths.to_vec();
    paths.push(session.display().to_string());
    let refused = paths.len();
    for name in ["c.log", "d.log"] {
        paths.push(tasks.join(name).display().to_string());
    }
    let read = |path: &String| Block::tool("read_file", json!({"path": path}));
    let calls = paths.iter().map(read).collect();
    let test = finished.again().print("go").reply(Reply::message(calls));
    let finished = test.reply(Reply::text("done")).run().code(0);
    let answer = |n| finished.request(1).tool_result(n).0;
    for (n, path) in paths[..refused].iter().enumerate() {
        assert_eq!(answer(n), format!("Error: Path escapes workspace: {path}"));
    }
    assert!(answer(refused).ends_with("c.log is not a regular file"));
    assert_eq!(answer(refused + 1), "a log");
}

#[test]
fn a_sandbox_that_cannot_be_set_up_runs_nothing() {
    if !has_landlock() {
        return;
    }
    // The kernel takes 16 layers and no more; a thread hands its layers down to what it starts.
    let in_layers = || {
        for _ in 0..16 {
            let layer = Ruleset::default().handle_access(AccessFs::MakeBlock);
            let layer = layer.and_then(Ruleset::create).unwrap();
            layer.restrict_self().unwrap();
        }
        for options in [vec!["--sandbox", "workspace"], vec!["--sandbox", "read-only"], vec!["--no-network"]]
        {
            for tool in ["bash", "background_run"] {
                let finished = Test::new()
                    .args(options.clone())
                    .print("go")
                    .reply(Reply::tool(tool, json!({"command": "touch made"})))
                    .reply(Reply::text("done"))
                    .allow_unused()
                    .reply(Reply::text("done"))
                    .run()
                    .code(0);
                let last = finished.requests.last().unwrap().body.to_string();
                assert!(last.contains("the sandbox can't be enforced"), "{last}");
                assert!(!finished.dir.workspace().join("made").exists());
            }
        }
    };
    thread::spawn(in_layers).join().unwrap();
}

#[test]
fn a_task_in_the_background_and_a_command_of_the_user_are_in_the_sandbox_too() {
    if !has_landlock() {
        return;
    }
    let evil = |file| format!("echo x > \"$HOME/evil\"; echo x > {file}");
    let mut session = Test::new()
        .args(["--sandbox", "workspace"])
        .reply(Reply::tool("background_run", json!({"command": evil("one")})))
        .reply(Reply::text("started"))
        .spawn();
    session.send_line("go");
    session.expect("started");
    let workspace = session.dir().workspace();
    wait_until("the task has run", || workspace.join("one").exists());
    session.send_line(&format!("!{}", evil("other")));
    wait_until("the command has run", || workspace.join("other").exists());
    session.close_stdin();
    let finished = session.wait().code(0);
    assert!(!finished.dir.home().join("evil").exists());
}
