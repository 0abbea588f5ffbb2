//! Commands that print a lot, and many of them. Floor and program take turns.

use std::{
    io::{ErrorKind, Read},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    plain::Request,
    replies,
    stage::Stage,
    table::{Goal, Row, Unit},
};

/// A gigabyte from one tool call, from the end of the reply to the next request; and the memory.
pub fn gigabyte(stage: &Stage) -> [Row; 2] {
    const ROUNDS: usize = 5;
    const COMMAND: &str = "yes | head -c 1000000000";
    let call = replies::call("bash", json!({"command": COMMAND}));
    let done = replies::text("done");
    let (mut floor, mut program, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        read_all(COMMAND);
        floor.push(started.elapsed().as_secs_f64());

        let running = stage.start(&[]);
        let answered = stage.server.next().answer(&call);
        let mut request = stage.server.next();
        program.push((request.began - answered).as_secs_f64());
        peaks.push(running.peak());
        request.answer(&done);
        running.finish();
    }
    let time = Row {
        what: "1 GB of output in one call",
        unit: Unit::Milliseconds,
        floor,
        program,
        goal: Goal::Times(1.3),
        note: String::new(),
    };
    let memory = Row {
        what: "memory until then",
        unit: Unit::Megabytes,
        floor: Vec::new(),
        program: peaks,
        goal: Goal::Below(5e6),
        note: String::new(),
    };
    [time, memory]
}

/// Runs a command and reads what it prints, through a pipe as large as the program's.
fn read_all(command: &str) {
    const SIZE: usize = 256 * 1024;
    let (mut output, write_end) = std::io::pipe().expect("a pipe");
    rustix::pipe::fcntl_setpipe_size(&output, SIZE).expect("a pipe may be as large");
    let mut child = Command::new("/bin/sh").args(["-c", command]).stdout(write_end).spawn().expect("a shell");
    let mut buffer = vec![0; SIZE];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => break,
            Err(err) if err.kind() != ErrorKind::Interrupted => panic!("{err}"),
            _ => {}
        }
    }
    child.wait().expect("it is a child");
}

/// From the end of a reply with 100 calls of `background_run` to the next request; every result must come.
pub fn tasks(stage: &Stage) -> Row {
    const ROUNDS: usize = 8;
    const TASKS: usize = 100;
    let command = |n| format!("echo result {n}");
    let call = |n| ("background_run", json!({"command": command(n)}));
    let calls = replies::calls((0..TASKS).map(call));
    let done = replies::text("done");
    let (mut floor, mut program) = (Vec::new(), Vec::new());
    let mut fewest = TASKS;
    stage.server.keep_bodies(true);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let shells: Vec<Child> = (0..TASKS).map(|n| shell(&command(n))).collect();
        floor.push(started.elapsed().as_secs_f64());
        for shell in shells {
            shell.wait_with_output().expect("it is a child");
        }

        let running = stage.start(&["--max-background", "100"]);
        let answered = stage.server.next().answer(&calls);
        let mut request = stage.server.next();
        program.push((request.began - answered).as_secs_f64());
        fewest = fewest.min(delivered(stage, &mut request, &done, TASKS));
        running.finish();
    }
    stage.server.keep_bodies(false);
    Row {
        what: "100 background tasks started",
        unit: Unit::Milliseconds,
        floor,
        program,
        goal: Goal::Below(0.15),
        note: format!(", {fewest} of {TASKS} delivered"),
    }
}

fn shell(command: &str) -> Child {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdout(Stdio::piped());
    shell.spawn().expect("a shell")
}

/// How many results are in the history when the program has no more to say; `wanted` are waited for.
fn delivered(stage: &Stage, request: &mut Request, done: &[u8], wanted: usize) -> usize {
    const PATIENCE: Duration = Duration::from_secs(10);
    let count = |request: &Request| {
        let body = String::from_utf8_lossy(&request.body);
        body.matches("] completed: exit code 0 ").count()
    };
    let mut found = count(request);
    request.answer(done);
    while found < wanted
        && let Some(mut request) = stage.server.next_within(PATIENCE)
    {
        found = count(&request);
        request.answer(done);
    }
    found
}
