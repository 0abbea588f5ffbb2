//! What a container may lack, and the duties of PID 1.

use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use wait_timeout::ChildExt;

use crate::{
    bare::{bare_root, run_in},
    support::{
        Test, copy_program,
        gate::Gate,
        reply::Reply,
        server::Server,
        tagged::{Mark, VARIABLE},
        until, wait_until,
    },
};

/// How long a machine under load may take for what takes a moment.
const DEADLINE: Duration = Duration::from_secs(20);

/// Between two looks at `/proc`.
const INTERVAL: Duration = Duration::from_millis(10);

/// A server that asks for a command and for a file, and what was answered to both.
fn ask_for_both() -> Server {
    let server = Server::start();
    server.push(Reply::tool("bash", json!({"command": "echo from the shell"})));
    server.push(Reply::tool("write_file", json!({"path": "made.txt", "content": "text"})));
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
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
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
    assert_eq!(fs::read_to_string(root.path().join("made.txt")).unwrap(), "text");
    assert_eq!(stderr.matches("/proc is missing").count(), 1, "{stderr}");
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
    server.push(Reply::tool("background_run", json!({"command": "sleep 7654 & sleep 7654", "timeout": 0.3})));
    server.push(Reply::text("waiting"));
    server.push(Reply::text("done"));
    let (code, stdout, stderr) = run(root.path(), &server, &[]);
    assert_eq!((code, stdout.as_str()), (Some(0), "done\n"), "{stderr}");
    assert!(server.requests()[2].last_text().contains("Error: Timeout (0.3s)"));
    let left = Command::new("sh").args(["-c", "pgrep -f '^sleep 7654'"]).output().unwrap();
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
    assert_eq!(stderr.matches("the session is no longer saved").count(), 1, "{stderr}");
}

/// `unshare` with a PID namespace of its own, in which the program is PID 1; None where that is not allowed.
fn as_pid_1(server: &Server, home: &std::path::Path, script_before: &str) -> Option<Command> {
    let allowed = Command::new("unshare").args(["-pf", "--mount-proc", "true"]).output().ok()?;
    if !allowed.status.success() {
        eprintln!("skipped: no PID namespace here: {}", String::from_utf8_lossy(&allowed.stderr));
        return None;
    }
    let program = env!("CARGO_BIN_EXE_meanwhile");
    let mut command = Command::new("unshare");
    command
        .args(["-pf", "--mount-proc", "--kill-child", "sh", "-c"])
        .arg(format!("{script_before}exec '{program}' -p go --no-session"))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", home)
        .envs(variables(server))
        .current_dir(home)
        .process_group(0)
        .stdin(Stdio::null());
    Some(command)
}

/// Orphans that wait for a FIFO, started before the program is, as by an entrypoint in shell.
fn orphans(count: usize) -> String {
    format!("mkfifo fifo; i=0; while [ $i -lt {count} ]; do (read line < fifo &); i=$((i+1)); done; ")
}

/// Lets them end, and counts who is a zombie until nobody is, or until the tool's time is over.
const END_ORPHANS: &str = "\
    zombies() { grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l; }
    living() { grep -l '^PPid:.1$' /proc/[0-9]*/status 2>/dev/null | wc -l; }
    living
    : > fifo
    while [ $(living) -gt 1 ] || [ $(zombies) -gt 0 ]; do sleep 0.1; done
    echo $(zombies) zombies";

#[test]
fn as_pid_1_it_reaps_a_thousand_orphans() {
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    let call = json!({"command": END_ORPHANS, "timeout": 60});
    server.push(Reply::tool("bash", call));
    server.push(Reply::text("done"));
    let Some(mut command) = as_pid_1(&server, home.path(), &orphans(1000)) else {
        return;
    };
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let seen = server.requests()[1].tool_result(0).0;
    let (orphans, zombies) = seen.split_once('\n').expect("two lines");
    // The supervisor of the command is a child of PID 1 as well.
    assert!(orphans.parse::<u32>().unwrap() >= 1000, "{seen}");
    assert_eq!(zombies, "0 zombies");
}

/// What lives below `pid`, seen from outside its namespace: its children, and which of them are zombies.
fn children(pid: i32) -> (usize, usize) {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let statuses = entries.filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok());
    let parent = format!("PPid:\t{pid}\n");
    let children: Vec<String> = statuses.filter(|status| status.contains(&parent)).collect();
    let zombies = children.iter().filter(|status| status.contains("State:\tZ"));
    (children.len(), zombies.count())
}

#[test]
fn as_pid_1_without_proc_it_reaps_too() {
    let Some(root) = bare_root() else { return };
    if as_pid_1(&Server::start(), root.path(), "").is_none() {
        return;
    }
    symlink("busybox", root.path().join("bin/mkfifo")).unwrap();
    // Where busybox lets jobs in the background read from.
    fs::create_dir(root.path().join("dev")).unwrap();
    fs::write(root.path().join("dev/null"), "").unwrap();
    let mark = Mark::new();
    let gate = Gate::new();
    let server = Server::start();
    server.push(Reply::tool("bash", json!({"command": ": > fifo"})));
    server.push(Reply::text("done").gate(&gate));
    let script = format!("{}exec /meanwhile -p go --no-session", orphans(20));
    let mut child = Command::new("unshare")
        .args(["-pf", "--kill-child", "chroot"])
        .arg(root.path())
        .args(["/bin/sh", "-c", &script])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env(VARIABLE, mark.text())
        .envs(variables(&server))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_for_requests(2);
    // The one whose command line this is; its supervisors carry another.
    let program = mark
        .processes()
        .into_iter()
        .find_map(|(pid, line)| line.starts_with("/meanwhile -p").then_some(pid))
        .expect("the program runs");
    let start = Instant::now();
    while children(program) != (0, 0) && start.elapsed() < DEADLINE {
        std::thread::sleep(INTERVAL);
    }
    let left = children(program);
    gate.open();
    let status = child.wait_timeout(DEADLINE).unwrap();
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{stderr}");
    assert_eq!(left, (0, 0), "children and zombies of PID 1");
}

/// What PID 1 does with a signal, sent from outside like by a container's runtime.
#[test]
fn as_pid_1_it_ends_by_signals_with_what_it_runs() {
    for (signal, code, sentence) in
        [(Signal::TERM, 143, "interrupted by SIGTERM"), (Signal::INT, 130, "interrupted")]
    {
        for reply in [
            json!({"command": "touch up; sleep 600"}),
            json!({"command": "trap '' TERM INT; touch up; while :; do sleep 600; done"}),
        ] {
            let mark = Mark::new();
            let server = Server::start();
            let home = tempfile::tempdir().unwrap();
            server.push(Reply::tool("bash", reply));
            let Some(mut command) = as_pid_1(&server, home.path(), "") else {
                return;
            };
            let child = command
                .env(VARIABLE, mark.text())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let up = home.path().join("up");
            wait_until("the command runs", || up.exists());
            let processes = mark.processes();
            let program = processes
                .iter()
                .find_map(|(pid, line)| line.contains("-p go --no-session").then_some(*pid))
                .and_then(Pid::from_raw)
                .expect("the program runs");
            // `unshare` carries the same words; the program is its child.
            let inner = processes
                .keys()
                .copied()
                .filter(|pid| is_pid_1(*pid))
                .find_map(Pid::from_raw)
                .unwrap_or(program);
            kill_process(inner, signal).unwrap();
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{stderr}");
            assert!(stderr.ends_with(&format!("meanwhile: {sentence}\n")), "{stderr}");
            assert_eq!(mark.wait_for_end(DEADLINE).map(drop), Ok(()));
        }
    }
}

/// Whether this process has the number 1 in a namespace of its own.
fn is_pid_1(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| {
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        numbers.len() > 1 && numbers.last() == Some(&"1")
    })
}

#[test]
fn as_pid_1_a_command_may_end_it_as_well() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let server = Server::start();
        let home = tempfile::tempdir().unwrap();
        let command = format!("kill -{signal} 1; sleep 600");
        server.push(Reply::tool("bash", json!({"command": command})));
        let Some(mut command) = as_pid_1(&server, home.path(), "") else {
            return;
        };
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
    }
}

#[test]
fn any_user_runs_it_with_a_folder_of_his_own() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: it takes root to be somebody else");
        return;
    }
    const UID: u32 = 12345;
    let server = ask_for_both();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(UID), Some(UID)).unwrap();
    // The folder of the build may be closed to others.
    let program = folder.path().join("meanwhile");
    copy_program(env!("CARGO_BIN_EXE_meanwhile"), &program);
    let output = Command::new(program)
        .args(["-p", "go"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(variables(&server))
        .current_dir(folder.path())
        .uid(UID)
        .gid(UID)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(server.requests()[1].tool_result(0).0, "from the shell");
    assert_eq!(server.requests()[3].tool_result(0).0, "text");
}

#[test]
fn without_a_shell_a_task_in_the_background_says_what_is_missing_too() {
    let Some(root) = bare_root() else { return };
    fs::remove_dir_all(root.path().join("bin")).unwrap();
    let server = Server::start();
    server.push(Reply::tool("background_run", json!({"command": "echo never"})));
    server.push(Reply::text("first"));
    server.push(Reply::text("done"));
    let (code, stdout, stderr) = run(root.path(), &server, &["--output-format", "json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let told = server.requests().iter().skip(1).any(|request| request.last_text().contains("/bin/sh"));
    assert!(told, "{stdout}");
    let record: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(record["tasks"][0]["status"], "error");
}

/// Read-only, nothing but the binary, no `/proc`, nobody in particular: all of it at once.
#[test]
fn the_barest_of_all_containers_still_answers() {
    let Some(root) = bare_root() else { return };
    fs::remove_dir_all(root.path().join("bin")).unwrap();
    let server = ask_for_both();
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind {0} && \
         exec chroot --userspec=12345:12345 {0} /meanwhile -p go",
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
    if stderr.contains("unshare:") || stderr.contains("mount:") {
        eprintln!("skipped: no mount namespace here: {stderr}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n");
}

/// With a terminal, but without anything that says which.
#[test]
fn a_terminal_without_a_name_will_do() {
    let mut session = Test::new().reply(Reply::text("Hello.")).env_remove("TERM").spawn_pty();
    session.expect("meanwhile > ");
    session.send_line("hi");
    session.expect("Hello.");
    session.close_stdin();
    session.wait().code(0);
}

#[test]
fn a_locale_that_is_not_there_changes_nothing() {
    for locale in ["", "C", "xx_YY.nonsense"] {
        let finished = Test::new()
            .env("LC_ALL", locale)
            .env("LANG", locale)
            .print("é 🦀")
            .reply(Reply::tool("bash", json!({"command": "printf 'é\\n'"})))
            .reply(Reply::text("ü 🦀"))
            .run()
            .code(0)
            .stdout("ü 🦀\n");
        assert_eq!(finished.request(0).last_text(), "é 🦀");
        assert_eq!(finished.request(1).tool_result(0).0, "é");
    }
}

#[test]
fn a_working_directory_that_is_gone_is_named() {
    let test = Test::new().print("go");
    let folder = test.workspace().join("gone");
    fs::create_dir(&folder).unwrap();
    let direct = test.command();
    let output = Command::new("sh")
        .args(["-c", "rmdir \"$PWD\" && exec \"$0\" -p go"])
        .arg(direct.get_program())
        .envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("working directory"), "{stderr}");
}

#[test]
fn the_temp_folder_and_home_may_be_missing() {
    let test = Test::new();
    let go = test.workspace().join("go");
    let finished = test
        .env("TMPDIR", "/nowhere")
        .env_remove("HOME")
        .env_remove("XDG_STATE_HOME")
        .print("go")
        .reply(Reply::tool("background_run", json!({"command": until("go", "background")})))
        // The task ends after this request, so that its result is in the next.
        .reply(Reply::with(move |_| {
            fs::write(go, "").unwrap();
            Reply::text("first")
        }))
        .reply(Reply::text("done"))
        .run()
        .code(0)
        .stdout("done\n");
    assert!(finished.request(2).last_text().contains("| background"));
}
