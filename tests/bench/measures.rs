//! What is measured, each against a floor that does nothing but what has to be done. Floor and program take
//! turns, so that a machine which is busy for a while is busy for both.

use std::{
    fs, io,
    io::Read,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    client, replies,
    stage::{Running, Stage},
    table::{Goal, Row, Unit, seconds},
};

/// A history of this size is a long session: some 1.5 million tokens.
const HISTORY: usize = 6_300_000;
/// What a `read_file` of a large file adds to it.
const FILE: usize = 48_000;

/// From the start of the process to the first byte of its first request.
pub fn start(stage: &Stage) -> [Row; 2] {
    const ROUNDS: usize = 40;
    let done = replies::text("done");
    let run = |command: &mut Command| {
        let started = Instant::now();
        let running = Running::spawn(command);
        let mut request = stage.server.next();
        let peak = running.peak();
        request.answer(&done);
        running.finish();
        (request.began - started, peak)
    };
    let (mut floor, mut program) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(run(&mut client::command(stage, 100, 1)));
        program.push(run(stage.command(&stage.binary).args(["-p", "go"])));
    }
    let row = |what, unit, side: fn(&(Duration, f64)) -> f64, goal| Row {
        what,
        unit,
        floor: floor.iter().map(side).collect(),
        program: program.iter().map(side).collect(),
        goal: Goal::Below(goal),
        note: String::new(),
    };
    [
        row("start to first request", Unit::Milliseconds, |(time, _)| time.as_secs_f64(), 4e-3),
        row("its memory (peak)", Unit::Megabytes, |(_, peak)| *peak, 3.5e6),
    ]
}

/// From the end of a reply that calls `echo` to the next request.
pub fn echo(stage: &Stage) -> Row {
    const ROUNDS: usize = 6;
    const TURNS: usize = 20;
    let call = replies::call("bash", json!({"command": "echo hello"}));
    let done = replies::text("done");
    let (mut floor, mut program) = (Vec::new(), Vec::new());
    let mut connections = 1;
    for _ in 0..ROUNDS {
        floor.extend(echo_floor(stage, TURNS, &done));
        let running = stage.start(&[]);
        let mut request = stage.server.next();
        let first = request.connection;
        for _ in 0..TURNS {
            let answered = request.answer(&call);
            request = stage.server.next();
            program.push(request.began - answered);
        }
        connections = connections.max(request.connection - first + 1);
        request.answer(&done);
        running.finish();
    }
    Row {
        what: "a turn with `echo` in `bash`",
        unit: Unit::Milliseconds,
        floor: seconds(&floor),
        program: seconds(&program),
        goal: Goal::Below(3e-3),
        note: format!(", {connections} connection"),
    }
}

/// `sh -c echo` and one request each, without anything around them.
fn echo_floor(stage: &Stage, turns: usize, done: &[u8]) -> Vec<Duration> {
    let address = stage.server.address.clone();
    let (go, wait) = std::sync::mpsc::channel();
    let client = thread::spawn(move || {
        let mut connection = client::Connection::open(&address, 100);
        while let Ok(started) = wait.recv() {
            let output = Command::new("sh").args(["-c", "echo hello"]).output();
            assert_eq!(output.expect("a shell").stdout, b"hello\n");
            connection.exchange();
            let _: Instant = started;
        }
    });
    let mut times = Vec::new();
    for _ in 0..turns {
        let started = Instant::now();
        go.send(started).expect("the client runs");
        let mut request = stage.server.next();
        times.push(request.began - started);
        request.answer(done);
    }
    drop(go);
    client.join().expect("the client ends");
    times
}

/// From the end of a reply to the last byte of the next request, when that is 6.3 MB long; and the memory.
pub fn long_history(stage: &Stage) -> [Row; 2] {
    const ROUNDS: usize = 4;
    const TURNS: usize = 10;
    let line = "a line of some source code, of a moderate length\n";
    stage.dir.write("large.txt", line.repeat(FILE / line.len()));
    stage.dir.write("small.txt", "small\n");
    let large = replies::call("read_file", json!({"path": "large.txt"}));
    let small = replies::call("read_file", json!({"path": "small.txt"}));
    let done = replies::text("done");
    let (mut floor, mut program, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    let mut history = 0;
    for _ in 0..ROUNDS {
        let client = Running::spawn(&mut client::command(stage, HISTORY, TURNS + 1));
        floor.extend(turns(stage, stage.server.next(), &done, TURNS));
        client.finish();
        let running = stage.start(&[]);
        let mut request = stage.server.next();
        while request.length < HISTORY {
            request.answer(&large);
            request = stage.server.next();
        }
        history = request.length;
        program.extend(turns(stage, request, &small, TURNS));
        peaks.push(running.peak());
        // It waits for an answer that nobody needs.
        drop(running);
    }
    let time = Row {
        what: "a turn at 6.3 MB of history",
        unit: Unit::Milliseconds,
        floor: seconds(&floor),
        program: seconds(&program),
        goal: Goal::Below(12e-3),
        note: String::new(),
    };
    let memory = Row {
        what: "its memory (peak)",
        unit: Unit::Megabytes,
        floor: Vec::new(),
        program: peaks,
        goal: Goal::Below(history as f64 + 5e6),
        note: String::new(),
    };
    [time, memory]
}
