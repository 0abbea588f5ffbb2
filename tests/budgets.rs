//! What the program may cost on any machine: crates, threads, memory of a long session. Sizes of the binary
//! are in `binary`, memory of tasks and their output in `load`; times are for `make bench`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rustix::process::Pid;
use serde_json::json;

use crate::support::gate::Gate;
use crate::support::plain;
use crate::support::reply::Reply;
use crate::support::session::Session;
use crate::support::stream::{Block, Message};
use crate::support::{Test, wait_until};

/// Each is code that somebody has to trust; the table in `Cargo.toml` says what for.
const MOST_CRATES: usize = 64;

#[test]
fn the_tree_of_crates_is_small() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(["--edges", "normal", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    // `name version`; what follows tells of repetitions and paths.
    let crates: BTreeSet<Vec<&str>> = tree
        .lines()
        .map(|line| line.split(' ').take(2).collect())
        .filter(|words: &Vec<&str>| words.len() == 2)
        .collect();
    assert!(crates.len() > 10, "the tree is empty:\n{tree}");
    assert!(crates.len() <= MOST_CRATES, "{} crates, {MOST_CRATES} are allowed:\n{tree}", crates.len());
}

/// Everything that is sent before the user has said much is paid for with each new conversation.
#[test]
fn the_first_request_is_smaller_than_6_kb() {
    let finished = Test::new().print("go").reply(Reply::text("done")).run().code(0);
    let length: usize = finished.request(0).header("content-length").unwrap().parse().unwrap();
    assert!(length < 6000, "it has {length} bytes");
}

fn threads(pid: Pid) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())).expect("it runs");
    let names = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let mut names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn it_has_three_threads_at_rest_and_one_more_while_it_waits_for_a_reply() {
    const AT_REST: [&str; 3] = ["input", "meanwhile", "signals"];
    let slow = Gate::new();
    let echo = || Block::tool("bash", json!({"command": "echo hello"}));
    let mut session = Test::new()
        .reply(Reply::message((0..8).map(|_| echo()).collect()))
        .reply(Reply::text("done").gate(&slow))
        .spawn();
    session.expect("meanwhile > ");
    let pid = session.pid();
    // A thread that has just started has the name of the one that started it.
    wait_until("three threads", || threads(pid) == AT_REST);
    session.send_line("go");
    session.server().wait_for_requests(2);
    // The threads of the commands, and of the request before, end when they have nothing left to do.
    wait_until("a single thread more", || threads(pid) == ["input", "meanwhile", "request", "signals"]);
    slow.open();
    session.expect("meanwhile > ");
    wait_until("rest", || threads(pid) == AT_REST);
    session.close_stdin();
    session.wait().code(0);
}

#[test]
fn a_thousand_turns_cost_no_more_memory_than_their_history() {
    const TURNS: usize = 1000;
    /// Lists of messages, and what an allocator loses between the pieces of a history: half of this was seen.
    const SLACK: usize = 2 * 1024 * 1024;
    let server = plain::Server::start();
    let mut session = Test::new()
        .env("ANTHROPIC_BASE_URL", format!("http://{}", server.address))
        .file("small.txt", "a small file\n")
        .print("go")
        .spawn();
    session.close_stdin();
    let mut first = None;
    let mut request = server.next();
    for turn in 0..TURNS {
        if turn == 10 {
            first = Some((request.length, peak(session.pid())));
        }
        let call = Block::tool("read_file", json!({"path": "small.txt"}));
        request.answer(&plain::message(&Message::new(vec![call])));
        request = server.next();
    }
    let early = first.expect("there were as many turns");
    end_grown_by_its_history(session, request, early, SLACK);
}

/// Ends a session whose memory may have grown by what its history has, since this was its length and this its
/// memory, and so many bytes.
#[track_caller]
fn end_grown_by_its_history(
    session: Session,
    mut request: plain::Request,
    (length, memory): (usize, usize),
    slack: usize,
) {
    let grown = peak(session.pid()) - memory;
    let allowed = request.length - length + slack;
    request.answer(&plain::message(&Message::new(vec![Block::text("done")])));
    session.wait().code(0).stdout("done\n");
    assert!(grown <= allowed, "its memory has grown by {grown} bytes, {allowed} are allowed");
}

#[test]
fn a_reply_of_2_mb_costs_its_text_and_8_mb_at_most() {
    const LINE: &str = "a line of \"text\", of a moderate length\n";
    /// The text is held twice: in the history and for the screen. For a moment there is one copy more.
    const SLACK: usize = 8_000_000;
    let server = plain::Server::start();
    let mut session = Test::new()
        .env("ANTHROPIC_BASE_URL", format!("http://{}", server.address))
        .file("small.txt", "a small file\n")
        .print("go")
        .spawn();
    session.close_stdin();
    let call = || Block::tool("read_file", json!({"path": "small.txt"}));
    let mut request = server.next();
    request.answer(&plain::message(&Message::new(vec![call()])));
    request = server.next();
    let before = (request.length, peak(session.pid()));
    let mut events = Message::new(vec![Block::text("So:"), call()]).events(&"test-model".into());
    let first = events.iter().position(|event| event.contains("text_delta"));
    let delta = json!({"type": "text_delta", "text": LINE.repeat(10)});
    let data = json!({"type": "content_block_delta", "index": 0, "delta": delta});
    let more = vec![format!("data: {data}\n\n"); 5000];
    let at = first.expect("it has a text");
    events.splice(at..at, more);
    request.answer(&plain::chunked(&events));
    end_grown_by_its_history(session, server.next(), before, SLACK);
}

/// The most memory that it has had so far, in bytes.
fn peak(pid: Pid) -> usize {
    crate::load::peak_memory(pid) as usize
}
