//! Session files: whatever has become of one, it gives an error or a history that can be sent.

use std::{collections::HashSet, fs, path::Path};

use serde_json::{Value, json};

use super::{
    check,
    inputs::{damage, once_in, one, shuffle},
    random::Random,
};
use crate::{
    api::{
        message::{Block, Role},
        reply::Usage,
    },
    session::{
        compaction,
        store::{Store, Which},
        transcript::{Keeping, Transcript},
    },
};

const ID: &str = "0a1b";

const WORDS: [&str; 26] = [
    "\n",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "\"role\":\"user\"",
    "\"role\":\"assistant\"",
    "\"type\":\"text\"",
    "\"type\":\"tool_use\"",
    "\"type\":\"tool_result\"",
    "\"id\":\"t1\"",
    "\"tool_use_id\":\"t1\"",
    "\"input\":{}",
    "null",
    "\"\"",
    "18446744073709551615",
    "-1",
    "1e999",
    "{\"type\":\"cleared\"}\n",
    "\\ud800",
    "\"keep\":3",
    "\"messages\":2",
    "\"content\":\"text\"",
    "\"content\":[]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// A session as the program writes one: turns with calls, a failed request, a pause, a summary, a way back.
fn write_session(random: &mut Random, store: &Store) {
    let file = store.create(ID, Path::new("/work"), "model").unwrap();
    let mut transcript = Transcript::default();
    transcript.keep(Keeping::In(file));
    let (mut mark, mut calls) = (transcript.mark(), 0);
    for turn in 0..2 + random.below(6) {
        transcript.push_user(vec![Block::text(&format!("task {turn}"))]);
        if once_in(random, 4) {
            transcript.push_assistant(vec![Block::text("thinking aloud")]);
        }
        for _ in 0..random.below(3) {
            exchange(random, &mut transcript, &mut calls);
        }
        transcript.push_assistant(vec![Block::text("done")]);
        match random.below(8) {
            0 => transcript.roll_back(std::mem::replace(&mut mark, transcript.mark())),
            1 => transcript.shorten(random.below(4) as usize),
            2 => compact(random, &mut transcript),
            3 => transcript.task_started("b1", "sleep 9"),
            4 => transcript.task_delivered("b1"),
            5 => transcript.add_usage(&Usage { input: 7, ..Usage::default() }),
            _ => mark = transcript.mark(),
        }
    }
}

/// Calls and their results. Now and then the program has ended before these.
fn exchange(random: &mut Random, transcript: &mut Transcript, calls: &mut usize) {
    let ids: Vec<String> = (0..1 + random.below(2)).map(|n| format!("t{}", *calls + n as usize)).collect();
    *calls += ids.len();
    let call =
        |id: &String| json!({"type": "tool_use", "id": id, "name": "bash", "input": {"command": "ls"}});
    let uses = ids.iter().map(|id| Block::from_value(call(id)).unwrap());
    transcript.push_assistant([Block::text("let me see")].into_iter().chain(uses).collect());
    let long = "x".repeat(once_in(random, 6) as usize * 2500);
    let results = ids.iter().map(|id| Block::tool_result(id, &long, false));
    match once_in(random, 6) {
        true => transcript.repair(),
        false => transcript.push_user(results.collect()),
    }
}

fn compact(random: &mut Random, transcript: &mut Transcript) {
    if let Some(keep) = compaction::kept(&transcript.messages(), once_in(random, 2)) {
        transcript.compact("what was said", keep);
    }
}

fn damaged(random: &mut Random, file: Vec<u8>) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = file.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    // A header that can't be read is tried less often than the lines behind it.
    let header = if once_in(random, 8) { Vec::new() } else { lines.remove(0) };
    if once_in(random, 2) {
        shuffle(random, &mut lines, 4);
    }
    let mut rest = lines.concat();
    if once_in(random, 2) {
        damage(random, &mut rest, &WORDS, 6);
    }
    if once_in(random, 8) {
        let deep = "[".repeat(random.below(200) as usize);
        rest.extend(format!("{{\"role\":\"user\",\"content\":{deep}\n").bytes());
    }
    [header, rest].concat()
}

/// What `main` does with a session that is gone on with. None when it can't be opened.
fn load(store: &Store) -> Option<Transcript> {
    let (file, lines) = store.open(Which::Id(ID)).ok()?;
    let mut transcript = Transcript::load(lines).ok()?;
    transcript.keep(Keeping::In(file));
    transcript.repair();
    Some(transcript)
}

/// Roles alternate from the user's on, every call is answered in the next message, and nothing else is answered.
fn assert_can_be_sent(transcript: &Transcript) {
    let mut open: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    for (index, json) in transcript.messages().iter().enumerate() {
        let message = json.decode();
        assert_eq!(message.encode(), *json);
        let json = json.as_str();
        let expected = [Role::User, Role::Assistant][index % 2];
        assert_eq!(message.role, expected, "message {index}: {json}");
        let ids = |kind: &str, name: &str| {
            let blocks = message.content.iter().filter(|block| block.kind() == kind);
            blocks.map(|block| block.str(name).expect("it has an id").to_owned()).collect::<Vec<_>>()
        };
        let mut results = ids("tool_result", "tool_use_id");
        results.sort();
        open.sort();
        assert_eq!(results, open, "message {index}: {json}");
        open = ids("tool_use", "id");
        assert!(open.is_empty() || message.role == Role::Assistant, "{json}");
        for call in message.content.iter().filter(|block| block.kind() == "tool_use") {
            let fields = serde_json::to_string(call.fields()).unwrap();
            assert!(known.insert(fields), "a call twice: {json}");
            assert!(call.get("input").is_some_and(Value::is_object), "{json}");
        }
    }
    assert!(open.is_empty(), "{open:?} are not answered");
}

fn with_store(test: impl FnOnce(&Store)) {
    let folder = tempfile::tempdir().unwrap();
    test(&Store { folder: folder.path().to_owned() });
}

#[test]
fn a_session_is_loaded_as_it_was() {
    check("a_session_is_loaded_as_it_was", 20, |random| {
        with_store(|store| {
            write_session(random, store);
            let (_, lines) = store.open(Which::Id(ID)).unwrap();
            let as_written = Transcript::load(lines).unwrap();
            let loaded = load(store).unwrap();
            assert_eq!(loaded.messages(), as_written.messages());
            assert_can_be_sent(&loaded);
        })
    });
}

#[test]
fn a_damaged_session_gives_an_error_or_a_history() {
    check("a_damaged_session_gives_an_error_or_a_history", 50, |random| {
        with_store(|store| {
            write_session(random, store);
            let path = store.folder.join(format!("{ID}.jsonl"));
            let file = damaged(random, fs::read(&path).unwrap());
            fs::write(&path, file).unwrap();
            assert!(store.list().len() <= 1);
            let Some(mut loaded) = load(store) else {
                return;
            };
            assert_can_be_sent(&loaded);
            // The conversation goes on, and another run finds what this one had.
            loaded.push_user(vec![Block::text(one(random, &["go on", "more"]))]);
            let mark = loaded.mark();
            loaded.push_assistant(vec![Block::text("as you wish")]);
            if once_in(random, 2) {
                loaded.roll_back(mark);
            }
            assert_can_be_sent(&loaded);
            let (messages, usage) = (loaded.messages(), loaded.usage);
            drop(loaded);
            let again = load(store).expect("it was opened before");
            assert_eq!(again.messages(), messages);
            assert_eq!(again.usage, usage);
        })
    });
}
