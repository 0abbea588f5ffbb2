//! From one request to the next. Floor and program take turns, so that a machine which is busy for a while
//! is busy for both.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    client,
    plain::Request,
    replies,
    stage::{Running, Stage},
    table::{Goal, Row, Unit, seconds},
};

/// From the start of the process to the first byte of its first request; its memory until then.
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
        ((request.began - started).as_secs_f64(), peak)
    };
    let (mut floor, mut program) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(run(&mut client::command(stage, 100, 1)));
        program.push(run(stage.command(&stage.binary).args(["-p", "go"])));
    }
    let (floor_times, floor_peaks) = floor.into_iter().unzip();
    let (times, peaks) = program.into_iter().unzip();
    [
        Row {
            what: "start to first request",
            unit: Unit::Milliseconds,
            floor: floor_times,
            program: times,
            goal: Goal::Below(4e-3),
            note: String::new(),
        },
        Row {
            what: "memory until then",
            unit: Unit::Megabytes,
            floor: floor_peaks,
            program: peaks,
            goal: Goal::Below(3.5e6),
            note: String::new(),
        },
    ]
}

/// From the end of a reply that calls `echo` to the first byte of the next request.
pub fn echo(stage: &Stage) -> Row {
    const ROUNDS: usize = 5;
    const TURNS: usize = 20;
    let call = replies::call("bash", json!({"command": "echo hello"}));
    let done = replies::text("done");
    let (mut floor, mut program) = (Vec::new(), Vec::new());
    let mut is_one_connection = true;
    for _ in 0..ROUNDS {
        let client = echo_client(stage, TURNS);
        let (times, mut request) = turns(stage, &done, TURNS, |request| request.began);
        floor.extend(times);
        request.answer(&done);
        client.join().expect("the client has not failed");

        let running = stage.start(&[]);
        let (times, mut request) = turns(stage, &call, TURNS, |request| request.began);
        program.extend(times);
        is_one_connection &= request.nth == TURNS + 1;
        request.answer(&done);
        running.finish();
    }
    Row {
        what: "a turn with `echo` in `bash`",
        unit: Unit::Milliseconds,
        floor: seconds(&floor),
        program: seconds(&program),
        goal: Goal::Below(3e-3),
        note: match is_one_connection {
            true => ", one connection".into(),
            false => ", **more than one connection**".into(),
        },
    }
}

/// `sh -c echo` and one request for each turn, without anything around them.
fn echo_client(stage: &Stage, turns: usize) -> thread::JoinHandle<()> {
    let address = stage.server.address.clone();
    thread::spawn(move || {
        let mut connection = client::Connection::open(&address, 100);
        connection.exchange();
        for _ in 0..turns {
            let echo = Command::new("/bin/sh").args(["-c", "echo hello"]).output();
            assert_eq!(echo.expect("a shell").stdout, b"hello\n");
            connection.exchange();
        }
    })
}

/// From the end of a reply to the last byte of the next request, when that is 6.3 MB long; and the memory.
/// The history comes about as it does in a long session: from the results of many tools.
pub fn long_history(stage: &Stage) -> [Row; 2] {
    const ROUNDS: usize = 4;
    const TURNS: usize = 10;
    const HISTORY: usize = 6_300_000;
    const LINE: &str = "a line of \"source code\", of a moderate length\n";
    // Nearly as much as `read_file` returns at once.
    stage.dir.write("large.txt", LINE.repeat(48_000 / LINE.len()));
    stage.dir.write("small.txt", "small\n");
    let large = replies::call("read_file", json!({"path": "large.txt"}));
    let small = replies::call("read_file", json!({"path": "small.txt"}));
    let done = replies::text("done");
    let (mut floor, mut program, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    let mut history = 0;
    for _ in 0..ROUNDS {
        let client = Running::spawn(&mut client::command(stage, HISTORY, TURNS + 1));
        let (times, mut request) = turns(stage, &done, TURNS, |request| request.ended);
        floor.extend(times);
        request.answer(&done);
        client.finish();

        let running = stage.start(&["--context-window", "100000000"]);
        let growth = HISTORY / 51_000;
        turns(stage, &large, growth, |request| request.ended).1.answer(&large);
        let (times, mut request) = turns(stage, &small, TURNS, |request| request.ended);
        program.extend(times);
        peaks.push(running.peak());
        history = request.length;
        request.answer(&done);
        running.finish();
    }
    let time = Row {
        what: "a turn at 6.3 MB of history",
        unit: Unit::Milliseconds,
        floor: seconds(&floor),
        program: seconds(&program),
        goal: Goal::Below(12e-3),
        note: format!(", {:.2} MB", history as f64 / 1e6),
    };
    let memory = Row {
        what: "memory until then",
        unit: Unit::Megabytes,
        floor: Vec::new(),
        program: peaks,
        goal: Goal::Below(history as f64 + 5e6),
        note: String::new(),
    };
    [time, memory]
}

/// A reply of 100,000 deltas, from its first byte to the next request; and the memory.
pub fn deltas(stage: &Stage) -> [Row; 2] {
    const ROUNDS: usize = 5;
    const COUNT: usize = 100_000;
    stage.dir.write("small.txt", "small\n");
    let reply = replies::deltas(COUNT);
    let done = replies::text("done");
    let (mut floor, mut program, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    let mut run = |command: &mut Command, times: &mut Vec<f64>| {
        let running = Running::spawn(command);
        let mut request = stage.server.next();
        let started = Instant::now();
        request.answer(&reply);
        request = stage.server.next();
        times.push((request.began - started).as_secs_f64() / COUNT as f64);
        peaks.push(running.peak());
        request.answer(&done);
        running.finish();
    };
    for _ in 0..ROUNDS {
        run(&mut client::command(stage, 100, 2), &mut floor);
        run(stage.command(&stage.binary).args(["-p", "go"]), &mut program);
    }
    // Every second one is that of the client.
    let peaks = peaks.into_iter().skip(1).step_by(2).collect();
    let time = Row {
        what: "a delta of 20 bytes, of 100,000",
        unit: Unit::Microseconds,
        floor,
        program,
        goal: Goal::Below(10e-6),
        note: String::new(),
    };
    let memory = Row {
        what: "memory after 2 MB of text in deltas",
        unit: Unit::Megabytes,
        floor: Vec::new(),
        program: peaks,
        goal: Goal::Below(20.0 * COUNT as f64 + 8e6),
        note: String::new(),
    };
    [time, memory]
}

/// Takes the next request, and answers so many with `reply`: from the end of each reply to the request after
/// it. Returns the last request, which has no answer yet.
fn turns(
    stage: &Stage,
    reply: &[u8],
    count: usize,
    arrival: fn(&Request) -> Instant,
) -> (Vec<Duration>, Request) {
    let mut request = stage.server.next();
    let mut times = Vec::new();
    for _ in 0..count {
        let answered = request.answer(reply);
        request = stage.server.next();
        times.push(arrival(&request) - answered);
    }
    (times, request)
}
