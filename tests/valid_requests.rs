//! Whatever the server answers and whenever the user interrupts: every request keeps the rules of the protocol.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Test, gate::Gate, random::Random, reply::Reply, session::Session, stream::Block};

/// One of the things that a server may answer; true when it is one that waits for an interruption.
fn answer(random: &mut Random, gate: &Gate) -> (Reply, bool) {
    let quick = || Block::tool("bash", json!({"command": "echo x"}));
    let reply = match random.below(18) {
        0 => Reply::text("words"),
        1 => Reply::message(vec![Block::text("first"), quick(), quick()]),
        2 => Reply::tool("background_run", json!({"command": "echo background"})),
        3 => Reply::tool("check_background", json!({"wait": 0.05})),
        4 => Reply::tool("no_such_tool", json!({})),
        5 => Reply::tool("bash", json!({"timeout": "x"})),
        6 => Reply::message(vec![Block::thinking("hm"), quick()]),
        7 => Reply::message(vec![Block::thinking("hm")]).stop("max_tokens"),
        8 => Reply::message(vec![Block::text(" \n"), Block::signed("hm", "")]),
        9 => Reply::text("cut ").stop("max_tokens"),
        10 => Reply::message(vec![Block::text("cut"), quick()]).stop("max_tokens"),
        11 => Reply::text("no").stop("refusal"),
        12 => Reply::error(400, "invalid_request_error", "no"),
        13 => Reply::text("some words that are cut off").cut_after(500 + random.below(600) as usize),
        14 => Reply::close(),
        15 => Reply::message(vec![]),
        16 => {
            return (Reply::text("some words to wait in").hold_after("words", gate), true);
        }
        _ => {
            return (Reply::tool("bash", json!({"command": "echo waiting; sleep 60"})), true);
        }
    };
    (reply, false)
}

/// Sends lines until the script is used up; where the program waits, the user interrupts.
fn play(session: &mut Session, script: &[bool]) {
    const PROMPT: &str = "meanwhile > ";
    session.expect(PROMPT);
    while session.server().requests().len() < script.len() {
        session.send_line("go");
        while !session.sees(PROMPT, Duration::from_millis(100)) {
            let answered = session.server().requests().len();
            if answered > 0 && script.get(answered - 1) == Some(&true) {
                session.signal(Signal::INT);
            }
        }
    }
}

#[test]
fn every_request_is_valid() {
    let cases = std::env::var("MEANWHILE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    for seed in 0..cases {
        let mut random = Random::new(seed);
        let gate = Gate::new();
        let mut test = Test::new().arg("--max-retries=0").allow_unused();
        let mut script = Vec::new();
        for _ in 0..12 {
            let (reply, waits) = answer(&mut random, &gate);
            test = test.reply(reply);
            script.push(waits);
        }
        for _ in 0..40 {
            test = test.reply(Reply::text("done"));
        }
        let mut session = test.spawn();
        play(&mut session, &script);
        session.close_stdin();
        // `wait` fails when the server has refused a request.
        session.wait().code(0);
        gate.open();
    }
}
