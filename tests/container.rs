//! What a container may lack, and the duties of PID 1.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    bare::{bare_root, run_in},
    binary::static_binary,
    support::{Test, reply::Reply, server::Server},
};

/// A server that asks for a command and for a file, and what was answered to both.
fn ask_for_both() -> Server {
    let server = Server::start();
    server.push(Reply::tool(
        "bash",
        json!({"command": "echo from the shell"}),
    ));
    server.push(Reply::tool(
        "write_file",
        json!({"path": "made.txt", "content": "text"}),
    ));
    server.push(Reply::tool("read_file", json!({"path": "made.txt"})));
    server.push(Reply::text("done"));
    server
}

fn variables(server: &Server) -> Vec<(&'static str, String)> {
    vec![
        ("ANTHROPIC_API_KEY", "test-key".into()),
        ("MODEL_ID", "test-model".into()),
        ("ANTHROPIC_BASE_URL", server.url()),
    ]
}

fn run(root: &std::path::Path, server: &Server, extra: &[&str]) -> (Option<i32>, String, String) {
    let variables = variables(server);
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    run_in(root, &variables, &[&["-p", "go"], extra].concat())
}

#[test]
fn with_nothing_but_the_binary_the_file_tools_work_and_bash_says_what_is_missing() {
    let Some(root) = bare_root() else { return };
    fs::remove_dir_all(root.path().join("bin")).unwrap();
    let server = ask_for_both();
    let (code, stdout, stderr) = run(root.path(), &server, &[]);
    assert_eq!((code, stdout.as_str()), (Some(0), "done\n"), "{stderr}");
    let requests = server.requests();
    let (text, is_error) = requests[1].tool_result(0);
    assert!(is_error && text.contains("/bin/sh"), "{text}");
    assert_eq!(requests[2].tool_result(0).0, "Wrote 4 bytes");
    assert_eq!(requests[3].tool_result(0).0, "text");
    assert_eq!(
        fs::read_to_string(root.path().join("made.txt")).unwrap(),
        "text"
    );
    assert_eq!(stderr.matches("no /proc").count(), 1, "{stderr}");
}

#[test]
fn with_a_shell_and_nothing_else_commands_work() {
    let Some(root) = bare_root() else { return };
    let server = ask_for_both();
    let (code, stdout, stderr) = run(root.path(), &server, &[]);
    assert_eq!((code, stdout.as_str()), (Some(0), "done\n"), "{stderr}");
    assert_eq!(server.requests()[1].tool_result(0).0, "from the shell");
}

#[test]
fn without_proc_a_command_still_ends_with_its_group() {
    let Some(root) = bare_root() else { return };
    let server = Server::start();
    server.push(Reply::tool(
        "background_run",
        json!({"command": "sleep 7654 & sleep 7654", "timeout": 0.3}),
    ));
    server.push(Reply::text("waiting"));
    server.push(Reply::text("done"));
    let (code, stdout, stderr) = run(root.path(), &server, &[]);
    assert_eq!((code, stdout.as_str()), (Some(0), "done\n"), "{stderr}");
    assert!(
        server.requests()[2]
            .last_text()
            .contains("Error: Timeout (0.3s)")
    );
    let left = Command::new("sh")
        .args(["-c", "pgrep -f '^sleep 7654'"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn any_user_without_home_or_terminal_or_locale_can_run_it() {
    let Some(root) = bare_root() else { return };
    let server = ask_for_both();
    let folder = root.path().join("work");
    fs::create_dir(&folder).unwrap();
    let output = Command::new("chroot")
        .args(["--userspec=12345:12345"])
        .arg(root.path())
        .args(["/meanwhile", "-p", "go"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(variables(&server))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(server.requests()[1].tool_result(0).0, "from the shell");
    // The root belongs to root.
    let (text, is_error) = server.requests()[2].tool_result(0);
    assert!(is_error && text.contains("Permission denied"), "{text}");
}

#[test]
fn on_a_read_only_root_it_runs_and_says_what_it_cannot_keep() {
    let Some(root) = bare_root() else { return };
    let server = ask_for_both();
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind {0} && exec chroot {0} /meanwhile -p go",
        root.path().display()
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(variables(&server))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("unshare") || stderr.contains("mount:") {
        eprintln!("skipped: no mount namespace here: {stderr}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(server.requests()[1].tool_result(0).0, "from the shell");
    let (text, is_error) = server.requests()[2].tool_result(0);
    assert!(is_error && text.contains("Read-only file system"), "{text}");
    assert_eq!(
        stderr.matches("the session is not kept").count(),
        1,
        "{stderr}"
    );
}

/// `unshare` with a PID namespace of its own, in which the program is PID 1; None where that is not allowed.
fn as_pid_1(server: &Server, home: &std::path::Path, script_before: &str) -> Option<Command> {
    let allowed = Command::new("unshare")
        .args(["-pf", "--mount-proc", "true"])
        .output()
        .ok()?;
    if !allowed.status.success() {
        eprintln!(
            "skipped: no PID namespace here: {}",
            String::from_utf8_lossy(&allowed.stderr)
        );
        return None;
    }
    let program = env!("CARGO_BIN_EXE_meanwhile");
    let mut command = Command::new("unshare");
    command
        .args(["-pf", "--mount-proc", "--kill-child", "sh", "-c"])
        .arg(format!(
            "{script_before}exec '{program}' -p go --no-session"
        ))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", home)
        .envs(variables(server))
        .current_dir(home)
        .process_group(0)
        .stdin(Stdio::null());
    Some(command)
}

#[test]
fn as_pid_1_it_reaps_a_thousand_orphans() {
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    // What PID 1 inherits when the shell that was there before it has started orphans.
    let before = "(i=0; while [ $i -lt 1000 ]; do (sleep 2 &) ; i=$((i+1)); done); ";
    let count = "grep -l sleep /proc/[0-9]*/comm 2>/dev/null | wc -l; sleep 2.5; n=0; \
                 while z=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l); \
                 [ $z -gt 0 ] && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.1; done; echo $z zombies";
    server.push(Reply::tool("bash", json!({"command": count})));
    server.push(Reply::text("done"));
    let Some(mut command) = as_pid_1(&server, home.path(), before) else {
        return;
    };
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let seen = server.requests()[1].tool_result(0).0;
    let (orphans, zombies) = seen.split_once('\n').unwrap();
    assert!(
        orphans.parse::<u32>().unwrap() >= 900,
        "there were only {orphans} orphans"
    );
    assert_eq!(zombies, "0 zombies");
}

#[test]
fn as_pid_1_it_ends_by_signals() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let server = Server::start();
        let home = tempfile::tempdir().unwrap();
        server.push(Reply::tool(
            "bash",
            json!({"command": format!("kill -{signal} 1; sleep 60")}),
        ));
        let Some(mut command) = as_pid_1(&server, home.path(), "") else {
            return;
        };
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
    }
}

#[test]
fn the_temp_folder_and_home_may_be_missing() {
    let finished = Test::new()
        .env("TMPDIR", "/nowhere")
        .env_remove("HOME")
        .env_remove("XDG_STATE_HOME")
        .print("go")
        .reply(Reply::tool(
            "background_run",
            json!({"command": "echo background"}),
        ))
        .reply(Reply::text("first"))
        .reply(Reply::text("done"))
        .run()
        .code(0)
        .stdout("done\n");
    assert!(finished.request(2).last_text().contains("| background"));
}

#[test]
fn the_doctor_tells_what_is_missing_and_sends_no_credential() {
    let Some(_) = static_binary() else { return };
    let server = Server::start();
    let test = Test::new()
        .env("ANTHROPIC_BASE_URL", server.url())
        .arg("doctor");
    let finished = test.run().code(0);
    for line in [
        "ok shell",
        "ok proc",
        "ok credential",
        "ok model",
        "ok dns",
        "ok endpoint",
    ] {
        assert!(
            finished.stdout.contains(line),
            "{line} in {}",
            finished.stdout
        );
    }
    let asked = server.requests();
    assert!(
        asked
            .iter()
            .all(|request| request.header("x-api-key").is_none()),
        "{asked:?}"
    );
    let missing = Test::new()
        .env_remove("ANTHROPIC_API_KEY")
        .env("ANTHROPIC_BASE_URL", "http://127.0.0.1:9");
    let finished = missing.arg("doctor").run().code(2);
    for line in ["!! credential", "!! endpoint", "ok model"] {
        assert!(
            finished.stdout.contains(line),
            "{line} in {}",
            finished.stdout
        );
    }
}

#[test]
fn help_fits_and_completions_are_accepted() {
    let help = Test::new().arg("--help").run().code(0).stdout;
    assert!(help.lines().count() <= 65, "{} lines", help.lines().count());
    assert!(
        help.lines().all(|line| line.chars().count() <= 100),
        "{help}"
    );
    let version = Test::new().arg("--version").run().code(0).stdout;
    assert!(version.starts_with("meanwhile 0."), "{version}");
    let script = Test::new()
        .args(["completions", "bash"])
        .run()
        .code(0)
        .stdout;
    let question = format!(
        "{script}\nCOMP_WORDS=(meanwhile --on-end k) COMP_CWORD=2; _meanwhile; echo \"${{COMPREPLY[@]}}\"\n\
         COMP_WORDS=(meanwhile --max-t) COMP_CWORD=1; _meanwhile; echo \"${{COMPREPLY[@]}}\""
    );
    match Command::new("bash").args(["-c", &question]).output() {
        Ok(output) => {
            let stdout = String::from_utf8_lossy(&output.stdout);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                stdout, "kill\n--max-turns --max-time --max-total-tokens\n",
                "{stderr}"
            );
        }
        Err(err) => eprintln!("skipped: no bash: {err}"),
    }
    let page = Test::new().arg("man").run().code(0).stdout;
    assert!(
        page.starts_with(".TH MEANWHILE 1") && page.contains("\\-\\-on\\-end"),
        "{page}"
    );
}

#[test]
fn the_same_job_under_replay_gives_the_same_bytes() {
    let first = Test::new()
        .args(["--record", "record.jsonl"])
        .print("go")
        .reply(Reply::tool("bash", json!({"command": "echo hello"})))
        .reply(Reply::text("the answer"))
        .run()
        .code(0);
    let replay = |finished: crate::support::finished::Finished| {
        finished
            .again()
            .args(["--replay", "record.jsonl", "--no-session"])
            .print("go")
            .run()
            .code(0)
    };
    let second = replay(first);
    let stdout = second.stdout.clone();
    let third = replay(second);
    assert_eq!(
        (stdout.as_str(), third.stdout.as_str()),
        ("the answer\n", "the answer\n")
    );
}

#[test]
fn colors_are_for_terminals_and_for_those_who_want_them() {
    let run = |test: Test| {
        let job = Reply::tool("bash", json!({"command": "true"}));
        test.print("go")
            .reply(job)
            .reply(Reply::text("done"))
            .run()
            .code(0)
            .stderr
    };
    assert!(!run(Test::new()).contains('\u{1b}'));
    assert!(run(Test::new().args(["--color", "always"])).contains("\u{1b}[1m> bash:\u{1b}[0m"));
    let session = |test: Test| {
        let mut session = test
            .env("TERM", "xterm")
            .reply(Reply::tool("no_such", json!({})))
            .reply(Reply::text("done"))
            .spawn_pty();
        session.send_line("go");
        session.expect("done");
        session.send_line("exit");
        session.wait().stdout
    };
    assert!(session(Test::new()).contains("\u{1b}[31m> no_such:"));
    assert!(!session(Test::new().env("NO_COLOR", "1")).contains("\u{1b}[31m"));
    assert!(!session(Test::new().args(["--color", "never"])).contains("\u{1b}[31m"));
}
