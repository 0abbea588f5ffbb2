//! Every way in which a run of `-p` ends, in every format: its final record, its exit code, its last
//! sentence, and nothing left behind.

use std::fs;
use std::io::{self, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use wait_timeout::ChildExt;

use crate::support::finished::Finished;
use crate::support::gate::Gate;
use crate::support::reply::Reply;
use crate::support::session::Session;
use crate::support::tagged::{Mark, VARIABLE};
use crate::support::{Test, wait_until};

const FORMATS: [&str; 3] = ["text", "json", "stream-json"];

/// The fields of the final record, in the order of the alphabet.
const FIELDS: [&str; 13] = [
    "duration_ms",
    "error",
    "exit_code",
    "is_error",
    "limit",
    "num_turns",
    "permission_denials",
    "result",
    "session_id",
    "subtype",
    "tasks",
    "type",
    "usage",
];

const TASK_FIELDS: [&str; 7] = ["command", "duration_ms", "exit_code", "log", "signal", "status", "task_id"];

const USAGE_FIELDS: [&str; 4] =
    ["cache_creation_input_tokens", "cache_read_input_tokens", "input_tokens", "output_tokens"];

/// Two seconds between TERM and KILL, and time for a machine under load.
const GRACE: Duration = Duration::from_secs(2 + 8);

/// How a run is expected to end.
#[derive(Clone, Copy)]
struct End {
    code: i32,
    subtype: &'static str,
    limit: Option<&'static str>,
    /// A part of the last sentence on stderr; empty where there is none.
    sentence: &'static str,
    /// What became of its tasks.
    tasks: &'static [&'static str],
}

const DONE: End = End { code: 0, subtype: "success", limit: None, sentence: "", tasks: &[] };

fn failed(code: i32, sentence: &'static str) -> End {
    End { code, subtype: "error_during_execution", sentence, ..DONE }
}

fn limited(subtype: &'static str, option: &'static str) -> End {
    End { limit: Some(option), subtype, ..failed(4, option) }
}

const OUT_OF_TIME: End = End {
    code: 4,
    subtype: "error_max_time",
    limit: Some("--max-time"),
    sentence: "--max-time: the run took 1 s",
    tasks: &[],
};

impl End {
    fn with(self, tasks: &'static [&'static str]) -> End {
        End { tasks, ..self }
    }
}

/// The last line of stdout, whatever came before it.
#[track_caller]
pub fn record(finished: &Finished) -> Value {
    assert!(
        finished.stdout.ends_with('\n'),
        "the record is no whole line: `{}`\n{}",
        finished.stdout,
        finished.stderr
    );
    let line = finished.stdout.lines().last().unwrap();
    serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: `{line}`"))
}

/// The names of the fields of an object, in the order of the alphabet.
pub fn fields(value: &Value) -> Vec<&str> {
    let object = value.as_object().into_iter().flatten();
    let mut names: Vec<&str> = object.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

/// How the record says it ended: what is the same in every run of the same job.
#[track_caller]
fn check_record(record: &Value, end: &End) {
    assert_eq!(fields(record), FIELDS, "{record:#}");
    let found = json!({
        "type": record["type"], "subtype": record["subtype"], "is_error": record["is_error"],
        "exit_code": record["exit_code"], "limit": record["limit"],
    });
    let expected = json!({
        "type": "result", "subtype": end.subtype, "is_error": end.code != 0,
        "exit_code": end.code, "limit": end.limit,
    });
    assert_eq!(found, expected, "{record:#}");
    assert_eq!(record["error"].is_string(), end.code != 0, "{record:#}");
    for number in ["num_turns", "duration_ms"] {
        assert!(record[number].is_u64(), "{number} in {record:#}");
    }
    for text in ["result", "session_id"] {
        assert!(record[text].is_string(), "{text} in {record:#}");
    }
    assert_eq!(fields(&record["usage"]), USAGE_FIELDS, "{record:#}");
    let tasks = record["tasks"].as_array().expect("a list of tasks");
    let statuses: Vec<&str> = tasks.iter().map(|task| task["status"].as_str().unwrap_or_default()).collect();
    // Where time is short, a task may not even have been started.
    let expected = match end.limit {
        Some("--max-time") => &end.tasks[..end.tasks.len().min(statuses.len())],
        _ => end.tasks,
    };
    assert_eq!(statuses, expected, "{record:#}");
    for task in tasks {
        assert_eq!(fields(task), TASK_FIELDS, "{record:#}");
    }
}

/// A failure has one last sentence on stderr, which is the record's; success has none.
#[track_caller]
fn check_sentence(stderr: &str, error: Option<&str>, end: &End) {
    let last = stderr.lines().last().unwrap_or_default();
    if end.code == 0 {
        assert!(!last.starts_with("meanwhile: "), "{stderr}");
        return;
    }
    assert!(stderr.ends_with('\n'), "a whole line: {stderr}");
    assert!(
        last.starts_with("meanwhile: ") && last.contains(end.sentence),
        "`{}` must be the last sentence of\n{stderr}",
        end.sentence
    );
    let times = stderr.lines().filter(|line| *line == last).count();
    assert_eq!(times, 1, "it is said once: {stderr}");
    // What a terminal would obey is shown in another form.
    if let Some(error) = error.filter(|error| !error.contains(char::is_control)) {
        assert_eq!(last, format!("meanwhile: {error}"));
    }
}

#[track_caller]
fn check_end(finished: &Finished, format: &str, end: &End) {
    let Finished { stdout, stderr, code, command_line, .. } = finished;
    assert_eq!(*code, Some(end.code), "{command_line}\n--- stdout:\n{stdout}\n--- stderr:\n{stderr}");
    if format == "text" {
        assert!(end.code == 0 || stdout.is_empty(), "{stdout}");
        return check_sentence(stderr, None, end);
    }
    let record = record(finished);
    check_record(&record, end);
    check_sentence(stderr, record["error"].as_str(), end);
    for line in stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"));
        let is_last = line == record;
        assert_eq!(line["type"] == "result", is_last, "{stdout}");
    }
    assert!(format == "stream-json" || stdout.lines().count() == 1);
}

/// Runs the same job in every format, at the same time, with an empty stdin.
#[track_caller]
fn check(end: End, make: impl Fn() -> Test) {
    check_while(end, make, Session::close_stdin);
}

/// The same, and does something to the program while it runs.
#[track_caller]
fn check_while(end: End, make: impl Fn() -> Test, act: impl Fn(&mut Session)) {
    let start = |format: &'static str| {
        let mark = Mark::new();
        let test = make().env(VARIABLE, mark.text()).allow_unused();
        let session = test.args(["--output-format", format]).spawn();
        (format, mark, session)
    };
    for (format, mark, mut session) in FORMATS.map(start) {
        act(&mut session);
        let finished = session.wait();
        check_end(&finished, format, &end);
        assert_none_left(&mark);
    }
}

#[track_caller]
fn assert_none_left(mark: &Mark) {
    if let Err(left) = mark.wait_for_end(GRACE) {
        panic!("left behind: {left:#?}");
    }
}

fn task(reply: Reply) -> Test {
    Test::new().args(["--max-retries=0"]).print("go").reply(reply)
}

fn slow(command: &str) -> Reply {
    Reply::tool("background_run", json!({"command": command}))
}

fn foreground(command: &str) -> Reply {
    Reply::tool("bash", json!({"command": command}))
}

fn later() -> Reply {
    Reply::error(429, "rate_limit_error", "later").header("retry-after", "50")
}

/// Waits until the program handles SIGTERM: from its start on, it takes a moment.
#[track_caller]
fn wait_until_it_listens(pid: Pid) {
    let path = format!("/proc/{}/status", pid.as_raw_pid());
    wait_until("the program listens for signals", || {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & (1 << (Signal::TERM.as_raw() - 1)) != 0)
    });
}

#[track_caller]
fn wait_for_file(session: &Session, name: &str) {
    let path = session.dir().workspace().join(name);
    wait_until(name, || path.exists());
}

#[track_caller]
fn mkfifo(test: &Test, name: &str) {
    let path = test.workspace().join(name);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("the workspace takes a FIFO");
}

#[test]
fn success() {
    check(DONE, || task(Reply::text("answer")));
    check(DONE, || task(foreground("false")).reply(Reply::text("it failed")));
}

#[test]
fn the_api_refuses_or_answers_nonsense() {
    for (status, kind) in
        [(400, "invalid_request_error"), (401, "authentication_error"), (529, "overloaded_error")]
    {
        check(failed(3, "the API answered "), || task(Reply::error(status, kind, "no")));
    }
    check(failed(3, "it is empty"), || task(Reply::message(vec![])));
    check(failed(3, "the reply broke off"), || task(Reply::text("words").cut_after(500)));
    check(failed(3, ""), || task(Reply::raw(200, &[("content-type", "text/plain")], "hello")));
    check(failed(1, "the model refused to answer"), || task(Reply::text("no").stop("refusal")));
}

#[test]
fn the_api_cannot_be_reached() {
    check(failed(3, "failed to reach http://127.0.0.1:"), || task(Reply::close()));
    check(failed(3, "failed to reach http://127.0.0.1:1/"), || {
        task(Reply::close()).env("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    });
    check(failed(3, "failed to reach http://127.0.0.1:1/"), || {
        task(Reply::close()).env("ANTHROPIC_BASE_URL", "http://127.0.0.1:1").arg("--max-retries=1")
    });
}

/// Whatever a server says, the last sentence stays one line that a terminal can show.
#[test]
fn an_error_with_line_ends_and_escapes_is_one_harmless_sentence() {
    let message = "first\nsecond \u{1b}]0;title\u{7}";
    check(failed(3, "first"), || task(Reply::error(400, "invalid_request_error", message)));
    let finished = task(Reply::error(400, "invalid_request_error", message)).run();
    assert!(!finished.stderr.contains('\u{1b}'), "{:?}", finished.stderr);
}

#[test]
fn configuration_errors() {
    check(failed(2, "no model"), || Test::new().print("go").env_remove("MODEL_ID"));
    let elsewhere = || Test::new().print("go").env("ANTHROPIC_BASE_URL", "http://api.test");
    check(failed(2, "no credential"), || elsewhere().env_remove("ANTHROPIC_API_KEY"));
    check(failed(2, "ANTHROPIC_BASE_URL"), || Test::new().print("go").env("ANTHROPIC_BASE_URL", "nowhere"));
    check(failed(2, "failed to read file"), || Test::new().args(["-p", "--file", "missing.txt"]));
    check(failed(2, ".env"), || Test::new().print("go").file(".env", "MODEL_ID='open"));
}

#[test]
fn usage_errors() {
    check(failed(2, "no prompt"), || Test::new().arg("-p"));
    check(failed(2, "two prompts"), || Test::new().args(["-p", "one", "two"]));
    check(failed(2, "--nonsense"), || Test::new().print("go").arg("--nonsense"));
    check(failed(2, "--max-turns"), || Test::new().print("go").arg("--max-turns=0"));
}

#[test]
fn sessions_and_recordings_that_are_not_there() {
    check(failed(1, "session"), || Test::new().print("go").arg("-c"));
    check(failed(2, "missing.jsonl"), || Test::new().print("go").args(["--replay", "missing.jsonl"]));
    check(failed(3, ""), || {
        Test::new().print("go").file("empty.jsonl", "").args(["--replay", "empty.jsonl"])
    });
}

#[test]
fn the_limit_on_turns() {
    let end = limited("error_max_turns", "--max-turns");
    check(end, || task(foreground("true")).arg("--max-turns=1"));
    check(end.with(&["completed"]), || {
        task(slow("true")).reply(Reply::tool("check_background", json!({"wait": 30}))).arg("--max-turns=2")
    });
    check(DONE, || task(foreground("true")).reply(Reply::text("done")).arg("--max-turns=2"));
}

#[test]
fn the_limit_on_tokens() {
    let end = limited("error_max_total_tokens", "--max-total-tokens");
    let usage = json!({"input_tokens": 600, "output_tokens": 500});
    check(end, || task(foreground("true").usage(usage.clone())).arg("--max-total-tokens=1000"));
    check(DONE, || task(Reply::text("done").usage(usage.clone())).arg("--max-total-tokens=1000"));
    check(DONE, || {
        task(foreground("true").usage(usage.clone()))
            .reply(Reply::text("done"))
            .arg("--max-total-tokens=2000")
    });
}

#[test]
fn the_limit_on_time_holds_while_commands_run() {
    let timed = |reply| task(reply).arg("--max-time=1");
    check(OUT_OF_TIME, || timed(foreground("sleep 600")));
    check(OUT_OF_TIME.with(&["killed"]), || timed(slow("sleep 600")).reply(Reply::text("waiting")));
    check(OUT_OF_TIME.with(&["killed"]), || {
        timed(slow("sleep 600")).reply(Reply::tool("check_background", json!({"wait": 600})))
    });
}

#[test]
fn the_limit_on_time_holds_while_the_server_is_waited_for() {
    let gate = Gate::new();
    let timed = |reply| task(reply).arg("--max-time=1");
    check(OUT_OF_TIME, || timed(Reply::text("words").gate(&gate)));
    check(OUT_OF_TIME, || timed(Reply::text("words").hold_after("words", &gate)));
    check(OUT_OF_TIME, || timed(later()).arg("--max-retries=8").allow_unused());
    gate.open();
}

#[test]
fn the_limit_on_time_holds_while_input_is_waited_for() {
    let leave_open = |_: &mut Session| ();
    check_while(OUT_OF_TIME, || Test::new().args(["-p", "--max-time=1"]), leave_open);
}

#[test]
fn the_limit_on_time_holds_while_a_file_is_waited_for() {
    check(OUT_OF_TIME, || {
        let test = Test::new().args(["-p", "--max-time=1", "--file", "fifo"]);
        mkfifo(&test, "fifo");
        test
    });
}

/// An answer that stays in the pipe; `end` is told when its first byte has come out.
#[track_caller]
fn check_unread(option: &str, code: i32, end: impl Fn(&Child)) {
    let (mut stalled, stdout) = io::pipe().unwrap();
    let test = task(Reply::text(&"x".repeat(200_000))).arg(option);
    let mut command = test.command();
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    stalled.read_exact(&mut [0]).unwrap();
    end(&child);
    let ended = child.wait_timeout(Duration::from_secs(15)).unwrap();
    let _ = child.kill();
    assert_eq!(ended.and_then(|status| status.code()), Some(code));
}

#[test]
fn the_limit_on_time_holds_while_nobody_reads_the_answer() {
    check_unread("--max-time=1", 4, |_| ());
}

#[test]
fn a_signal_ends_a_program_whose_answer_nobody_reads() {
    check_unread("--quiet", 130, |child| {
        kill_process(Pid::from_child(child), Signal::INT).unwrap();
    });
}

const SIGNALS: [(Signal, i32); 3] = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)];

/// Every signal, at this point of the run.
#[track_caller]
fn check_signals(tasks: &'static [&'static str], make: impl Fn() -> Test, wait: impl Fn(&Session)) {
    for (signal, code) in SIGNALS {
        let end = failed(code, "interrupted").with(tasks);
        check_while(end, &make, |session| {
            session.close_stdin();
            wait(session);
            session.signal(signal);
        });
    }
}

#[test]
fn signals_while_the_server_is_waited_for() {
    let gate = Gate::new();
    let first_request = |session: &Session| drop(session.server().wait_for_requests(1));
    check_signals(&[], || task(Reply::text("x").gate(&gate)), first_request);
    check_signals(&[], || task(Reply::text("some words").hold_after("words", &gate)), first_request);
    check_signals(
        &[],
        || task(later()).arg("--max-retries=8"),
        |session| session.sees_stderr("trying again"),
    );
    gate.open();
}

#[test]
fn signals_while_commands_run() {
    let up = |session: &Session| wait_for_file(session, "up");
    check_signals(&[], || task(foreground("touch up; sleep 600")), up);
    check_signals(
        &["killed"],
        || task(slow("touch up; sleep 600")).reply(Reply::text("waiting")),
        |session| {
            up(session);
            session.server().wait_for_requests(2);
        },
    );
    check_signals(
        &["killed", "completed"],
        || {
            task(slow("sleep 600"))
                .reply(slow("exit 3"))
                // Its result may have been told before this request: then there is nothing to wait for.
                .reply(Reply::tool("check_background", json!({"wait": 2})))
                .reply(foreground("touch up; sleep 600"))
        },
        up,
    );
}

#[test]
fn signals_while_input_is_waited_for() {
    for (signal, code) in SIGNALS {
        let end = failed(code, "interrupted");
        check_while(
            end,
            || Test::new().arg("-p"),
            |session| {
                wait_until_it_listens(session.pid());
                session.signal(signal);
            },
        );
    }
}

#[test]
fn a_signal_while_a_file_is_waited_for() {
    let make = || {
        let test = Test::new().args(["-p", "--file", "fifo"]);
        mkfifo(&test, "fifo");
        test
    };
    check_while(failed(143, "interrupted"), make, |session| {
        wait_until_it_listens(session.pid());
        session.signal(Signal::TERM);
    });
}

/// Deaf to TERM, which it only notes; `up` once it is.
fn deaf(mark: &Mark) -> String {
    format!("trap 'touch told' TERM; {0} & touch up; while :; do wait; {0} & done", mark.sleep())
}

#[test]
fn a_second_signal_ends_at_once_and_what_is_deaf_does_not_survive() {
    for (first, second, code) in
        [(Signal::TERM, Signal::TERM, 143), (Signal::INT, Signal::INT, 130), (Signal::HUP, Signal::INT, 129)]
    {
        for (runs_in_background, tasks) in [(false, &[][..]), (true, &["running"][..])] {
            let ends_at_once = || ends_before_the_command(runs_in_background, first, second, code, tasks);
            // On a busy machine the end may be seen too late to tell.
            let is_seen = (0..10).any(|_| ends_at_once());
            assert!(is_seen, "{first:?}, {second:?}: it waits for the end of the command");
        }
    }
}

/// Whether the program has ended, after two signals, before a command that is deaf to TERM: that has a grace of two
/// seconds after the first signal.
#[track_caller]
fn ends_before_the_command(
    runs_in_background: bool,
    first: Signal,
    second: Signal,
    code: i32,
    tasks: &'static [&'static str],
) -> bool {
    let mark = Mark::new();
    let command = deaf(&mark);
    let reply = if runs_in_background { slow(&command) } else { foreground(&command) };
    let mut session = task(reply)
        .reply(Reply::tool("check_background", json!({"wait": 600})))
        .env(VARIABLE, mark.text())
        .args(["--output-format", "json"])
        .allow_unused()
        .spawn();
    session.close_stdin();
    wait_for_file(&session, "up");
    session.signal(first);
    wait_for_file(&session, "told");
    session.signal(second);
    let signalled = Instant::now();
    let finished = session.wait();
    let is_before = signalled.elapsed() < Duration::from_millis(1500) || !mark.processes().is_empty();
    check_end(&finished, "json", &failed(code, "interrupted").with(tasks));
    assert_none_left(&mark);
    is_before
}

/// The program with a stdout that somebody holds and nobody reads, full to its brim.
fn stalled(test: &Test) -> (io::PipeReader, Child) {
    let (reader, writer) = io::pipe().unwrap();
    let size = rustix::pipe::fcntl_getpipe_size(&reader).unwrap();
    let mut child = test
        .command()
        .args(["--output-format", "stream-json"])
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let full = || {
        let held = rustix::io::ioctl_fionread(&reader).unwrap_or_default();
        // A pipe holds pages; the last one may not be filled.
        held + 4096 >= size as u64
    };
    let pid = Pid::from_child(&child);
    wait_until("nothing more goes into stdout", || full() || child.try_wait().unwrap().is_some());
    wait_until_it_listens(pid);
    (reader, child)
}

#[test]
fn a_second_signal_ends_a_run_whose_output_nobody_takes() {
    let test = task(Reply::text(&"words ".repeat(40_000))).arg("--no-session");
    let (reader, mut child) = stalled(&test);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    // It may end here already; if not, it has nothing more to wait for.
    if child.wait_timeout(Duration::from_millis(300)).unwrap().is_none() {
        kill_process(pid, Signal::TERM).unwrap();
    }
    let status = child.wait_timeout(GRACE).unwrap();
    let _ = child.kill();
    let _ = child.wait();
    drop(reader);
    let status = status.expect("two signals end the program");
    assert!(
        status.code() == Some(143) || std::os::unix::process::ExitStatusExt::signal(&status) == Some(15),
        "{status:?}"
    );
}

/// A reader that takes one line and leaves; exit code and stderr of the program.
fn read_one_line(test: &Test, format: &str) -> (Option<i32>, String, String) {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut child = test
        .command()
        .args(["--output-format", format])
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while let Ok(1) = reader.read(&mut byte) {
        line.push(byte[0]);
        if byte == *b"\n" {
            break;
        }
    }
    drop(reader);
    test.server().push(Reply::text("for nobody"));
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().unwrap();
    pipe.read_to_string(&mut stderr).unwrap();
    let status = child.wait_timeout(Duration::from_secs(60)).unwrap();
    let _ = child.kill();
    let _ = child.wait();
    let line = String::from_utf8(line).unwrap();
    (status.expect("it ends").code(), line, stderr)
}

#[test]
fn a_reader_who_leaves_ends_the_run_quietly_with_everything_it_started() {
    let mark = Mark::new();
    let gate = Gate::new();
    let test = Test::new()
        .env(VARIABLE, mark.text())
        .print("go")
        .reply(slow(&mark.sleep()))
        .reply(Reply::text("waiting").gate(&gate));
    gate.open();
    let (code, line, stderr) = read_one_line(&test, "stream-json");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["subtype"], "init");
    // Cut short, so not done; but there is nobody to tell.
    assert_eq!(code, Some(1), "{stderr}");
    assert!(!stderr.contains("meanwhile:"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(test.server().requests().len() < 3, "it went on for nobody");
    assert_none_left(&mark);
}

#[test]
fn a_stdout_that_takes_nothing_is_an_error() {
    for format in FORMATS {
        let test = task(Reply::text("answer"));
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = test
            .command()
            .args(["--output-format", format])
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{format}: {stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("meanwhile: failed to write to standard output: "), "{format}: {stderr}");
    }
}

/// As some programs hand it down to those that they start.
#[test]
fn the_record_is_whole_also_in_a_pipe_that_does_not_block() {
    let answer = "words ".repeat(50_000);
    for format in FORMATS {
        let test = task(Reply::text(&answer));
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let size = rustix::pipe::fcntl_getpipe_size(&reader).unwrap() as u64;
        let mut child = test
            .command()
            .args(["--output-format", format])
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Read late: a write comes upon the full pipe before.
        wait_until("stdout is full", || {
            let held = rustix::io::ioctl_fionread(&reader).unwrap_or_default();
            held + 4096 >= size || child.try_wait().unwrap().is_some()
        });
        let mut stdout = String::new();
        reader.read_to_string(&mut stdout).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{format}: {stderr}");
        let result = match format {
            "text" => stdout,
            _ => serde_json::from_str::<Value>(stdout.lines().last().unwrap()).unwrap()["result"]
                .as_str()
                .unwrap()
                .to_owned(),
        };
        assert_eq!(result.trim(), answer.trim(), "{format}");
    }
}

fn on_end(what: &'static str, command: &str) -> Test {
    task(slow(command)).reply(Reply::text("first")).args(["--on-end", what])
}

#[test]
fn on_end_wait_goes_on_until_nothing_is_left_to_say() {
    check(DONE.with(&["completed"]), || on_end("wait", "sleep 0.1; echo x").reply(Reply::text("second")));
    // A task that has failed is told of like any other.
    check(DONE.with(&["completed"]), || on_end("wait", "sleep 0.1; exit 3").reply(Reply::text("second")));
}

#[test]
fn on_end_kill_does_not_wait() {
    check(DONE.with(&["killed"]), || on_end("kill", "sleep 600"));
    check(DONE.with(&["completed"]), || {
        task(slow("echo x"))
            .reply(Reply::tool("check_background", json!({"wait": 30})))
            .reply(Reply::text("first"))
            .args(["--on-end", "kill"])
    });
}

#[test]
fn on_end_fail_fails_with_what_runs_or_has_failed() {
    let end = |sentence| failed(5, sentence);
    check(end("is still running: sleep 600").with(&["killed"]), || on_end("fail", "sleep 600"));
    let waited = |command| {
        task(slow(command))
            .reply(Reply::tool("check_background", json!({"wait": 30})))
            .reply(Reply::text("first"))
            .args(["--on-end", "fail"])
    };
    check(end("failed: exit code 3 after ").with(&["completed"]), || waited("exit 3"));
    check(end("failed: ended by signal 9, SIGKILL after ").with(&["completed"]), || waited("kill -9 $$"));
    check(end("failed: Error: Timeout (0.1s) after ").with(&["timeout"]), || {
        let call = json!({"command": "sleep 600", "timeout": 0.1});
        task(Reply::tool("background_run", call))
            .reply(Reply::tool("check_background", json!({"wait": 30})))
            .reply(Reply::text("first"))
            .args(["--on-end", "fail"])
    });
    check(DONE.with(&["completed"]), || waited("true"));
}

#[test]
fn the_last_thing_that_the_model_said_is_the_result() {
    let finished = on_end("wait", "sleep 0.1; echo x")
        .reply(Reply::text("second"))
        .args(["--output-format", "json"])
        .run()
        .code(0);
    let record = record(&finished);
    assert_eq!((&record["result"], &record["num_turns"]), (&json!("second"), &json!(3)));
    // What the three scripted replies have used.
    assert_eq!(
        record["usage"],
        json!({
            "input_tokens": 300, "output_tokens": 60,
            "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
        })
    );
    let files = fs::read_dir(finished.dir.state().join("meanwhile/sessions")).unwrap();
    let names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let id = record["session_id"].as_str().unwrap();
    assert!(names.iter().any(|name| name.contains(id)), "{names:?}");
}

/// Command, exit code and signal of the task that this command becomes, and its log.
#[track_caller]
fn check_task(command: &str, status: &str, exit_code: Value, signal: Value, log: &str) {
    let finished = task(Reply::tool("background_run", json!({"command": command, "timeout": 1})))
        .reply(Reply::tool("check_background", json!({"wait": 30})))
        .reply(Reply::text("done"))
        .args(["--output-format", "json"])
        .run()
        .code(0);
    let record = record(&finished);
    let task = &record["tasks"][0];
    let found = json!({
        "command": task["command"], "status": task["status"], "exit_code": task["exit_code"],
        "signal": task["signal"],
    });
    let expected = json!({
        "command": command, "status": status, "exit_code": exit_code, "signal": signal,
    });
    assert_eq!(found, expected, "{record:#}");
    assert_eq!(record["tasks"].as_array().unwrap().len(), 1);
    let id = task["task_id"].as_str().unwrap();
    assert!(finished.request(1).tool_result(0).0.contains(id));
    assert!(task["duration_ms"].is_u64(), "{record:#}");
    let path = task["log"].as_str().expect("a log");
    assert_eq!(fs::read_to_string(path).unwrap(), log, "{path}");
}

#[test]
fn the_record_has_a_line_for_each_task() {
    check_task("echo out; exit 3", "completed", json!(3), json!(null), "out\n");
    check_task("echo out", "completed", json!(0), json!(null), "out\n");
    check_task("kill -9 $$", "completed", json!(null), json!(9), "");
    check_task("echo a; sleep 600", "timeout", json!(null), json!(null), "a\n");
}

#[test]
fn the_record_of_a_run_that_failed_has_its_tasks_too() {
    let finished = task(slow("echo out; sleep 600"))
        .reply(slow("echo other"))
        .reply(Reply::error(400, "invalid_request_error", "no"))
        .args(["--output-format", "json"])
        .run()
        .code(3);
    let record = record(&finished);
    let commands: Vec<&Value> =
        record["tasks"].as_array().unwrap().iter().map(|task| &task["command"]).collect();
    assert_eq!(commands, ["echo out; sleep 600", "echo other"]);
    assert_eq!(record["num_turns"], 2);
    assert_eq!(record["usage"]["input_tokens"], 200);
}

/// What the shell moves to the background when the foreground's time is over is a task like any other.
#[test]
fn a_command_that_was_moved_to_the_background_has_its_line() {
    let call = json!({"command": "sleep 600", "timeout": 0.1});
    check(DONE.with(&["killed"]), || {
        task(Reply::tool("bash", call.clone())).reply(Reply::text("moved")).args(["--on-end", "kill"])
    });
}
