//! Cache markers: where they stand, and for how long they ask.

use serde_json::{Value, json};

use crate::support::Test;
use crate::support::finished::Finished;
use crate::support::reply::Reply;
use crate::support::request::Request;
use crate::support::stream::Block;

/// Every marker in a request, with its place.
fn markers(request: &Request) -> Vec<(String, Value)> {
    let body = &request.body;
    let blocks = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut places =
        vec![("system".to_owned(), blocks(&body["system"])), ("tools".into(), blocks(&body["tools"]))];
    let messages = request.messages().iter().enumerate();
    places.extend(messages.map(|(n, message)| (format!("message {n}"), blocks(&message["content"]))));
    let marked = places.iter().flat_map(|(place, blocks)| {
        let last = blocks.len() - 1;
        let marked =
            blocks.iter().enumerate().filter_map(|(n, block)| Some((n, block.get("cache_control")?)));
        marked.map(move |(n, marker)| {
            assert_eq!(n, last, "only the last block of {place} is marked");
            (place.clone(), marker.clone())
        })
    });
    marked.collect()
}

/// Two calls in one reply, two more, and the end.
fn conversation(test: Test) -> Finished {
    let calls = || Reply::message(vec![bash("true"), bash("true")]);
    test.reply(calls()).reply(calls()).reply(Reply::text("done")).print("go").run().code(0)
}

fn bash(command: &str) -> Block {
    Block::tool("bash", json!({"command": command}))
}

#[track_caller]
fn check(finished: &Finished, marker: Value) {
    let places = [
        vec!["system", "tools", "message 0"],
        vec!["system", "tools", "message 0", "message 2"],
        vec!["system", "tools", "message 2", "message 4"],
    ];
    for (n, places) in places.iter().enumerate() {
        let expected: Vec<_> = places.iter().map(|place| (place.to_string(), marker.clone())).collect();
        assert_eq!(markers(finished.request(n)), expected, "request {n}");
    }
}

#[test]
fn the_message_that_was_cached_last_is_marked_again() {
    check(&conversation(Test::new()), json!({"type": "ephemeral"}));
    check(&conversation(Test::new().args(["--cache-ttl", "5m"])), json!({"type": "ephemeral"}));
}

#[test]
fn an_hour_is_asked_for_in_every_marker() {
    check(&conversation(Test::new().args(["--cache-ttl", "1h"])), json!({"type": "ephemeral", "ttl": "1h"}));
}
