//! What does not depend on how busy the machine is: instructions and system calls, where `valgrind` and
//! `strace` are installed.

use std::{
    fs,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal};
use serde_json::json;

use crate::{replies, stage::Stage};

pub fn print(stage: &Stage) {
    match is_there("valgrind") {
        true => print_instructions(stage),
        false => println!("No instruction counts: `valgrind` is not installed."),
    }
    match is_there("strace") {
        true => println!("- {} system calls from start to first request", system_calls(stage)),
        false => println!("No count of system calls: `strace` is not installed."),
    }
}

fn is_there(tool: &str) -> bool {
    let mut version = Command::new(tool);
    version.arg("--version").stdout(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

fn print_instructions(stage: &Stage) {
    const DELTAS: usize = 10_000;
    let millions = |count: u64| format!("{:.2} million instructions", count as f64 / 1e6);
    let version = callgrind(stage, &["--version"], &[]);
    let start = callgrind(stage, &["-p", "go"], &[]);
    let call = replies::call("read_file", json!({"path": "small.txt"}));
    let few = callgrind(stage, &["-p", "go"], &[call]);
    let many = callgrind(stage, &["-p", "go"], &[replies::deltas(DELTAS)]);
    println!("- {} for `meanwhile --version`", millions(version));
    println!("- {} from start to first request", millions(start));
    let each = many.saturating_sub(few) / DELTAS as u64;
    println!("- {each} instructions for a delta of 20 bytes, of 10,000");
}

/// The instructions until the program ends, or until the request after these replies.
fn callgrind(stage: &Stage, arguments: &[&str], replies: &[Vec<u8>]) -> u64 {
    let log = stage.dir.tmp().join("valgrind.log");
    let mut command = stage.command("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--log-file={}", log.display()))
        .arg(&stage.binary)
        .args(arguments);
    let mut child = command.spawn().expect("valgrind starts");
    if arguments.contains(&"-p") {
        let mut request = stage.server.next();
        for reply in replies {
            request.answer(reply);
            request = stage.server.next();
        }
        // The program does not handle it, so valgrind ends with its report.
        let pid = Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::USR1).expect("it runs");
    }
    child.wait().expect("it is a child");
    collected(&fs::read_to_string(log).expect("valgrind writes its log"))
}

/// The number behind `Collected :` in valgrind's report.
fn collected(report: &str) -> u64 {
    let count = report.split("Collected :").nth(1);
    let count = count.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    count.unwrap_or_else(|| panic!("valgrind reports no count:\n{report}"))
}

/// System calls of all threads, up to the one that sends the request.
fn system_calls(stage: &Stage) -> usize {
    let trace = stage.dir.tmp().join("trace");
    let mut command = stage.command("strace");
    command.args(["-f", "-o"]).arg(&trace).arg(&stage.binary);
    let mut child = command.args(["-p", "go"]).spawn().expect("strace starts");
    stage.server.next().answer(&replies::text("done"));
    child.wait().expect("it is a child");
    let trace = fs::read_to_string(trace).expect("strace writes its file");
    let calls = trace.lines().filter(|line| {
        let is_call = line.contains('(') && !line.contains(" resumed>");
        is_call && !line.contains("--- SIG")
    });
    1 + calls.take_while(|line| !line.contains("POST /")).count()
}
