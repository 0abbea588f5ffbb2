//! Many tasks and much output: nothing is lost, and the program's memory does not grow with either.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::support::gate::Gate;
use crate::support::reply::Reply;
use crate::support::request::Request;
use crate::support::stream::Block;
use crate::support::tagged::{Mark, VARIABLE};
use crate::support::{Test, wait_until};

const MIB: u64 = 1024 * 1024;

/// The most memory that a process has had so far, in bytes.
pub fn peak_memory(pid: Pid) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_pid());
    let status = fs::read_to_string(path).expect("the program runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a number of kilobytes") * 1024
}

/// How many children the main thread has, ended or not: a supervisor is reaped once its result was sent.
fn children(pid: Pid) -> usize {
    let pid = pid.as_raw_pid();
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().count()
}

/// A number from the environment, for a longer run by hand.
fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name);
    text.map_or(default, |text| text.parse().expect("a whole number"))
}

#[track_caller]
fn assert_below(peak: u64, most: u64, what: &str) {
    println!("{what}: at most {} KiB", peak / 1024);
    let (peak, most) = (peak / 1024, most / 1024);
    assert!(peak < most, "{what}: {peak} KiB, and {most} are too much");
}

/// All texts of the history that are no tool results, joined.
fn user_texts(request: &Request) -> String {
    let contents = request.messages().iter().map(|message| &message["content"]);
    let blocks = contents.filter_map(Value::as_array).flatten();
    let texts: Vec<&str> = blocks.filter_map(|block| block["text"].as_str()).collect();
    texts.join("\n")
}

const TASKS: usize = 1000;
/// Tasks of one group end together; the order of the groups is the test's.
const GROUPS: usize = 10;

/// Task `n` waits for a line from the pipe of its group.
fn waiting_task(n: usize) -> String {
    format!("read -r line < gate.{}; echo result {n}.", n % GROUPS)
}

/// The number of the task for each id, from the results of `background_run`.
fn started_tasks(request: &Request) -> BTreeMap<String, usize> {
    let contents = request.messages().iter().map(|message| &message["content"]);
    let blocks = contents.filter_map(Value::as_array).flatten();
    let results = blocks.filter(|block| block["type"] == "tool_result");
    let started = results.map(|block| match &block["content"] {
        Value::String(text) => text.clone(),
        parts => parts[0]["text"].as_str().unwrap_or_default().to_owned(),
    });
    started
        .map(|text| {
            let id = text.strip_prefix("Background task ");
            let id = id.unwrap_or_else(|| panic!("not started: {text}"))[..8].to_owned();
            let n = text.rsplit("result ").next().unwrap_or_default();
            (id, n.trim_end_matches('.').parse().expect(&text))
        })
        .collect()
}

/// What nearly every system gives a program unless it asks for more; here it may have been more.
fn allow_as_many_open_files_as_usual() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.current.map_or(Some(1024), |now| Some(now.min(1024)));
    setrlimit(Resource::Nofile, limit).expect("a limit can be lowered");
}

#[test]
fn a_command_has_the_usual_limit_of_open_files() {
    allow_as_many_open_files_as_usual();
    let hard = getrlimit(Resource::Nofile).maximum.expect("there is one");
    let finished = Test::new()
        .reply(Reply::tool("bash", json!({"command": "ulimit -S -n; ulimit -H -n"})))
        .reply(Reply::text("done"))
        .print("go")
        .run()
        .code(0);
    let (limits, _) = finished.request(1).tool_result(0);
    assert_eq!(limits, format!("1024\n{hard}"));
}

#[test]
fn a_thousand_results_come_once_each_in_order_of_completion() {
    const IN_A_MESSAGE: usize = 100;
    allow_as_many_open_files_as_usual();
    let mark = Mark::new();
    let last = Gate::new();
    let mut test =
        Test::new().env(VARIABLE, mark.text()).args(["--max-background", &TASKS.to_string()]).print("go");
    let pipes: Vec<PathBuf> =
        (0..GROUPS).map(|group| test.workspace().join(format!("gate.{group}"))).collect();
    assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
    for first in (0..TASKS).step_by(IN_A_MESSAGE) {
        let run = |n| Block::tool("background_run", json!({"command": waiting_task(n)}));
        let calls = (first..first + IN_A_MESSAGE).map(run).collect();
        test = test.reply(Reply::message(calls));
    }
    let mut session = test.reply(Reply::text("waiting")).reply(Reply::text("done").gate(&last)).spawn();
    session.close_stdin();
    let requests = session.server().wait_for_requests(TASKS / IN_A_MESSAGE + 1);
    assert_eq!(started_tasks(requests.last().unwrap()).len(), TASKS);
    assert_eq!(children(session.pid()), TASKS, "all run at once");
    // Not the order in which they were started.
    let order: Vec<usize> = (0..GROUPS).rev().collect();
    let mut left = TASKS;
    for &group in &order {
        // Open for both, so that it neither blocks nor ends before its readers have come.
        let mut pipe = fs::OpenOptions::new().read(true).write(true).open(&pipes[group]).unwrap();
        pipe.write_all("\n".repeat(TASKS / GROUPS).as_bytes()).unwrap();
        left -= TASKS / GROUPS;
        wait_until("the end of a group", || children(session.pid()) == left);
    }
    let requests = session.server().wait_for_requests(TASKS / IN_A_MESSAGE + 2);
    let peak = peak_memory(session.pid());
    last.open();
    session.wait().code(0).stdout("done\n");

    let request = requests.last().unwrap();
    let started = started_tasks(request);
    assert_eq!(started.len(), TASKS);
    let text = user_texts(request);
    let mut told = Vec::new();
    for notice in text.split("\n[bg:").skip(1) {
        let n = started[&notice[..8]];
        assert!(
            notice[8..].starts_with("] completed: exit code 0 ")
                && notice.contains(&format!("\n| result {n}.")),
            "{notice}"
        );
        told.push(n);
    }
    let groups: Vec<usize> = told.iter().map(|n| n % GROUPS).collect();
    let expected: Vec<usize> = order.iter().flat_map(|group| [*group; TASKS / GROUPS]).collect();
    assert_eq!(groups, expected, "in order of completion");
    told.sort_unstable();
    assert_eq!(told, (0..TASKS).collect::<Vec<_>>(), "each once");
    // Some 25 KiB a task; more depends on the allocator.
    assert_below(peak, 64 * MIB, "1,000 tasks at once");
}

fn logs(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state.join("meanwhile/tasks")).unwrap();
    entries.flatten().map(|entry| entry.path()).collect()
}

/// `MEANWHILE_LOAD_MB` sets how much each task prints; 15 million unless set.
#[test]
fn sixteen_tasks_that_print_a_lot_cost_little_memory() {
    const AT_ONCE: usize = 16;
    let bytes = setting("MEANWHILE_LOAD_MB", 15) * 1_000_000;
    let last = Gate::new();
    // All of them start to print when the pipe is opened.
    let command = format!("read -r line < start; yes | head -c {bytes}");
    let call = || Block::tool("background_run", json!({"command": command}));
    let test = Test::new();
    let pipe = test.workspace().join("start");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut session = test
        .reply(Reply::message((0..AT_ONCE).map(|_| call()).collect()))
        .reply(Reply::text("waiting"))
        .reply(Reply::text("done").gate(&last))
        .print("go")
        .spawn();
    session.close_stdin();
    session.server().wait_for_requests(2);
    let mut start = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    start.write_all("\n".repeat(AT_ONCE).as_bytes()).unwrap();
    // The last request comes when all of them have ended.
    wait_until_requests(&session, 3);
    let peak = peak_memory(session.pid());
    last.open();
    let finished = session.wait().code(0);
    // The output is 240 MB; how much of a megabyte a task takes depends on the allocator.
    assert_below(peak, 32 * MIB, "16 tasks that print");
    let notice = finished.request(2).last_text();
    assert_eq!(notice.matches("] completed: exit code 0 ").count(), AT_ONCE);
    let sizes = logs(&finished.dir.state());
    let sizes: Vec<u64> = sizes.iter().map(|log| fs::metadata(log).unwrap().len()).collect();
    assert_eq!(sizes.len(), AT_ONCE);
    if bytes <= 64 * MIB {
        assert_eq!(sizes, [bytes; AT_ONCE]);
    } else {
        assert!(sizes.iter().all(|size| *size <= 64 * MIB), "{sizes:?}");
    }
}

/// With a deadline for runs by hand, too.
fn wait_until_requests(session: &crate::support::session::Session, n: usize) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while session.server().requests().len() < n {
        assert!(std::time::Instant::now() < deadline, "no request {n}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn no_kind_of_output_makes_memory_grow() {
    let cases = [
        ("lines", "yes | head -c 12000000"),
        ("one line", "head -c 12000000 /dev/zero | tr '\\0' x"),
        ("zeros", "head -c 4000000 /dev/zero"),
        ("noise", "head -c 4000000 /dev/urandom"),
        ("a string that does not end", "printf '\\033]'; yes | tr -d '\\n' | head -c 4000000"),
        ("a progress bar", "yes 0123456789 | tr '\\n' '\\r' | head -c 4000000"),
        ("wide characters", "yes \u{1f980} | tr -d '\\n' | head -c 12000000"),
        // Bytes that only continue a character that never began.
        ("no beginnings", "head -c 12000000 /dev/zero | tr '\\0' '\\200'"),
    ];
    let mut test = Test::new();
    for (_, command) in cases {
        test = test.reply(Reply::tool("bash", json!({"command": command})));
    }
    let last = Gate::new();
    let mut session = test.reply(Reply::text("done").gate(&last)).print("go").spawn();
    session.close_stdin();
    let mut too_much = Vec::new();
    for (n, (what, _)) in cases.iter().enumerate() {
        let requests = session.server().wait_for_requests(n + 2);
        let (text, is_error) = requests[n + 1].tool_result(0);
        assert!(!is_error && text.chars().count() <= 50_000, "{what}");
        let peak = peak_memory(session.pid());
        if peak >= 16 * MIB {
            too_much.push(format!("{what}: {} KiB", peak / 1024));
        }
    }
    last.open();
    session.wait().code(0);
    assert_eq!(too_much, [""; 0], "peaks of 16 MiB and more");
}

#[test]
fn a_result_says_how_much_was_left_out_whatever_the_bytes() {
    let command = "head -c 1000000 /dev/zero | tr '\\0' '\\200'";
    let finished = Test::new()
        .reply(Reply::tool("bash", json!({"command": command})))
        .reply(Reply::text("done"))
        .print("go")
        .run()
        .code(0);
    let (text, _) = finished.request(1).tool_result(0);
    let end: String = text.chars().rev().take(200).collect();
    assert!(
        text.contains("left out") && text.contains("(the whole output is in "),
        "{}",
        end.chars().rev().collect::<String>()
    );
}

#[test]
fn a_log_ends_at_its_limit_with_a_line_that_says_so() {
    // 70,888,896 bytes.
    let finished = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "seq 1 9000000"})))
        .reply(Reply::text("waiting"))
        .reply(Reply::text("done"))
        .print("go")
        .run()
        .code(0);
    let found = logs(&finished.dir.state());
    assert_eq!(found.len(), 1, "{found:?}");
    let log = String::from_utf8(fs::read(&found[0]).unwrap()).unwrap();
    let end = "\n... (the log ends here, at its size limit) ...\n";
    let output = log.strip_suffix(end).expect("a line that says it");
    let (whole, _) = output.rsplit_once('\n').unwrap();
    assert!(whole.lines().zip(1..).all(|(line, n)| line.parse() == Ok(n)), "the output from its start on");
    assert!(log.len() as u64 >= 63 * MIB, "{} bytes", log.len());
    assert!(log.len() as u64 <= 64 * MIB, "{} bytes", log.len());
}
