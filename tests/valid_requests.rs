//! Whatever the server answers, whenever the user interrupts, kills the program or goes on another day: every request
//! keeps the rules of the protocol, and no thinking in it is bound to something else.

use std::{fs, path::PathBuf, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pictures::pixel;
use crate::support::{
    Test, binding::ELSEWHERE, dir::Dir, finished::Finished, gate::Gate, random::Random, reply::Reply,
    session::Session, stream::Block, stream::unique_id,
};

const PROMPT: &str = "meanwhile > ";

/// One of the things that a server may answer.
fn answer(random: &mut Random) -> Reply {
    let quick = || Block::tool("bash", json!({"command": "echo x"}));
    let long = || Block::tool("bash", json!({"command": "head -c 8000 /dev/zero | tr '\\0' x"}));
    match random.below(34) {
        0 => Reply::text("words"),
        1 => Reply::message(vec![Block::text("first"), quick(), quick()]),
        2 => Reply::tool("background_run", json!({"command": "echo background"})),
        3 => Reply::tool("check_background", json!({"wait": 0.02})),
        4 => Reply::tool("no_such_tool", json!({})),
        5 => Reply::tool("bash", json!({"timeout": "x"})),
        6 => Reply::message(vec![
            Block::thinking("hm"),
            Block::text("so"),
            Block::Redacted,
            Block::thinking(""),
            quick(),
        ]),
        7 => Reply::message(vec![long(), quick(), long()]),
        8 => Reply::message(vec![Block::text("much"), long()]),
        9 => Reply::message(vec![quick(), Block::thinking("and"), quick()]),
        10 => Reply::message(vec![long()]),
        11 => Reply::message(vec![Block::Redacted, Block::text("words")]),
        12 => Reply::message(vec![Block::thinking("hm")]).stop("max_tokens"),
        13 => Reply::exactly(vec![Block::text(" \n"), Block::signed("hm", "")]),
        14 => Reply::message(vec![Block::text(" \n"), Block::thinking("hm"), Block::text("\t"), quick()]),
        15 => Reply::text("cut ").stop("max_tokens"),
        16 => Reply::message(vec![Block::text("cut"), quick()]).stop("max_tokens"),
        17 => Reply::text("no").stop("refusal"),
        18 => Reply::error(400, "invalid_request_error", "no"),
        19 => Reply::text("some words that are cut off").cut_after(500 + random.below(900) as usize),
        20 => Reply::close(),
        21 => Reply::message(vec![]),
        22 => Reply::message(vec![Block::signed("hm", ELSEWHERE), quick()]),
        23 => Reply::message(vec![Block::Raw(search())]).stop("pause_turn"),
        24 => Reply::message(vec![Block::Raw(search()), Block::thinking("hm"), quick()]),
        25 => Reply::text("half").stop("model_context_window_exceeded"),
        26 => Reply::error(413, "request_too_large", "too large"),
        27 => Reply::message(vec![Block::signed("unsigned", ""), Block::thinking("hm"), quick()]),
        28 | 29 => Reply::tool("read_file", json!({"path": "picture.png"})),
        _ => full(random, Reply::tool("bash", json!({"command": "echo more"}))),
    }
}

/// The history takes so much of the window, as far as the server counts.
fn full(random: &mut Random, reply: Reply) -> Reply {
    let tokens = random.below(20_000);
    reply.usage(json!({"input_tokens": tokens, "output_tokens": 20}))
}

fn search() -> Value {
    json!({"type": "server_tool_use", "id": unique_id("srvtoolu_01"), "name": "web_search", "input": {}})
}

/// An answer that waits for an interruption.
fn waiting(random: &mut Random, gate: &Gate) -> Reply {
    match random.below(2) {
        0 => Reply::text("some words to wait in").hold_after("words", gate),
        _ => Reply::tool("bash", json!({"command": "echo waiting; sleep 60"})),
    }
}

/// How many answers there are behind those that a run is about, for what is asked at its end.
const SPARE: usize = 60;

/// What the user types.
fn line(random: &mut Random, dir: &Dir) -> String {
    match random.below(24) {
        0 => "/compact".to_owned(),
        1 => "!echo mine".to_owned(),
        2 => "/model another-model".to_owned(),
        3 => "@AGENTS.md says what?".to_owned(),
        4 if random.below(3) == 0 => "/clear".to_owned(),
        5 => {
            let sessions = sessions(dir);
            let some = random.below(sessions.len().max(1) as u64) as usize;
            let id = sessions.get(some).and_then(|path| path.file_stem()?.to_str());
            format!("/resume {}", id.unwrap_or("none"))
        }
        _ => "go".to_owned(),
    }
}

fn sessions(dir: &Dir) -> Vec<PathBuf> {
    let folder = fs::read_dir(dir.state().join("meanwhile/sessions"));
    let mut paths: Vec<PathBuf> = folder.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// One start of the program: how many answers there are, and which of them wait; after how many answers it is killed.
struct Run {
    waits: Vec<bool>,
    kill: Option<usize>,
}

/// Sends lines until the script is used up; where the program waits, the user interrupts. Returns whether it was killed.
fn play(session: &mut Session, run: &Run, random: &mut Random) -> bool {
    session.expect(PROMPT);
    let mut interrupted = 0;
    // Not the number of requests: one that is refused gets none of them.
    let answered = |session: &Session| run.waits.len() + SPARE - session.server().unused();
    while answered(session) < run.waits.len() {
        let line = line(random, session.dir());
        session.send_line(&line);
        while !session.sees(PROMPT, Duration::from_millis(20)) {
            let answered = answered(session);
            if run.kill.is_some_and(|kill| answered >= kill) {
                session.signal(Signal::KILL);
                return true;
            }
            if answered > interrupted && run.waits.get(answered - 1) == Some(&true) {
                session.signal(Signal::INT);
                interrupted = answered;
            }
        }
    }
    false
}

/// A run at the prompt, or of one task, in the folders of the runs before.
fn one_run(mut test: Test, random: &mut Random, gate: &Gate) -> Finished {
    let is_task = random.below(4) == 0;
    let mut waits = Vec::new();
    for _ in 0..4 + random.below(9) {
        let waits_here = !is_task && random.below(9) == 0;
        let reply = if waits_here { waiting(random, gate) } else { answer(random) };
        waits.push(waits_here);
        test = test.reply(reply);
    }
    // Nobody waits in the last one.
    waits.push(false);
    for _ in 0..1 + SPARE {
        test = test.reply(Reply::text("done"));
    }
    if is_task {
        return test.print("go").run();
    }
    let kill = (random.below(3) == 0).then(|| 1 + random.below(waits.len() as u64) as usize);
    let mut session = test.spawn();
    if play(&mut session, &Run { waits, kill }, random) {
        return session.wait();
    }
    session.close_stdin();
    session.wait().code(0)
}

/// Several runs, mostly over one session. `wait` fails when a server has refused a request.
fn converse(seed: u64) {
    eprintln!("seed {seed}");
    let random = &mut Random::new(seed);
    let gate = Gate::new();
    let mut dir = Dir::new();
    dir.write("picture.png", pixel());
    for _ in 0..1 + random.below(4) {
        if random.below(2) == 0 {
            dir.write("AGENTS.md", format!("Rule {}.\n", random.below(100)));
        }
        let mut test = Test::in_dir(dir).arg("--max-retries=0").allow_unused();
        let continues = !sessions(test.dir()).is_empty() && random.below(6) > 0;
        test = if continues { test.arg("-c") } else { test };
        test = match random.below(3) {
            0 => test,
            1 => test.arg("--context-window=6000"),
            _ => test.arg("--context-window=20000"),
        };
        test = match random.below(12) {
            0 => test.arg("--thinking=2000"),
            1 => test.arg("--thinking=on"),
            2 => test.arg("--effort=low"),
            3 => test.arg("--cache-ttl=1h"),
            4 => test.arg("--web"),
            5 => test.describe_model(|| {
                Reply::json(&json!({"id": "test-model", "max_input_tokens": 9000, "max_tokens": 2000}))
            }),
            _ => test,
        };
        let finished = one_run(test, random, &gate);
        if finished.signal.is_some() && random.below(3) == 0 {
            break_off(&finished.dir, random);
        }
        dir = finished.dir;
    }
    gate.open();
}

/// The machine failed too: the end of a session's file was not written.
fn break_off(dir: &Dir, random: &mut Random) {
    if let Some(path) = sessions(dir).last() {
        let bytes = fs::read(path).unwrap();
        let first_line = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let kept = bytes.len().saturating_sub(random.below(200) as usize).max(first_line);
        fs::write(path, &bytes[..kept]).unwrap();
    }
}

/// A quarter of the conversations, so that several threads have some.
fn quarter(n: u64) {
    let rounds = std::env::var("MEANWHILE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    (0..rounds).filter(|seed| seed % 4 == n).for_each(converse);
}

#[test]
fn every_request_is_valid_in_the_first_quarter_of_the_conversations() {
    quarter(0);
}

#[test]
fn every_request_is_valid_in_the_second_quarter_of_the_conversations() {
    quarter(1);
}

#[test]
fn every_request_is_valid_in_the_third_quarter_of_the_conversations() {
    quarter(2);
}

#[test]
fn every_request_is_valid_in_the_last_quarter_of_the_conversations() {
    quarter(3);
}
