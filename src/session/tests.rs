//! A session file whose disk failed, or whose program was killed, gives an error or a history that can be sent.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::compaction::{self, SHORT_RESULT};
use super::store::{Store, Which};
use super::transcript::{Keeping, Transcript};
use crate::api::message::{Block, Encoded, Message, Role};
use crate::api::reply::Usage;
use crate::api::request::Prefix;
use crate::error::Result;

const ID: &str = "0a1b";

/// A turn of the session that is written.
#[derive(Debug, Clone)]
struct Turn {
    /// How many calls each reply makes, how long the results are, and whether the program is killed before them.
    exchanges: Vec<(usize, usize, bool)>,
    after: After,
}

/// What happens after a turn.
#[derive(Debug, Clone)]
enum After {
    Nothing,
    BackToMark,
    Marked,
    Shortened(usize),
    Compacted(bool),
    TaskStarted,
    TaskDelivered,
    Used,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let after = prop_oneof![
        Just(After::Nothing),
        Just(After::BackToMark),
        Just(After::Marked),
        (0..4_usize).prop_map(After::Shortened),
        any::<bool>().prop_map(After::Compacted),
        Just(After::TaskStarted),
        Just(After::TaskDelivered),
        Just(After::Used),
    ];
    let length = prop_oneof![9 => Just(10_usize), 1 => Just(2500)];
    let exchanges = vec((1..3_usize, length, prop::bool::weighted(0.1)), 0..3);
    vec((exchanges, after).prop_map(|(exchanges, after)| Turn { exchanges, after }), 1..6)
}

/// Writes a session as the program does, and returns it as it was at its end.
fn write(store: &Store, turns: Vec<Turn>) -> Transcript {
    let prefix = prefix();
    let file = store.create(ID, Path::new("/work"), "model", &prefix).unwrap();
    let mut transcript = Transcript::new(Keeping::In(file));
    transcript.begin(&prefix);
    let (mut mark, mut calls) = (transcript.mark(), 0);
    for Turn { exchanges, after } in turns {
        transcript.push_user(vec![Block::text("a task")], Some(0));
        for (count, length, is_killed) in exchanges {
            let ids: Vec<String> = (calls..calls + count).map(|call| format!("t{call}")).collect();
            calls += count;
            let call = |id| json!({"type": "tool_use", "id": id, "name": "bash", "input": {"command": "ls"}});
            reply(&mut transcript, ids.iter().map(|id| Block::from_value(call(id)).unwrap()).collect());
            if is_killed {
                drop(transcript);
                transcript = resume(store).unwrap();
                mark = transcript.mark();
                continue;
            }
            for id in ids {
                transcript.push_user(vec![Block::tool_result(&id, &"x".repeat(length), false)], None);
            }
        }
        reply(&mut transcript, vec![Block::text("done")]);
        match after {
            After::Nothing => {}
            After::BackToMark => {
                transcript.roll_back(mark);
                mark = transcript.mark();
            }
            After::Marked => mark = transcript.mark(),
            After::Shortened(keep) => drop(transcript.shorten(keep, SHORT_RESULT)),
            After::Compacted(inside_turn) => {
                if let Some(keep) = compaction::kept(&transcript.messages(), inside_turn) {
                    transcript.compact("what was said", keep);
                }
            }
            After::TaskStarted => transcript.task_started("b1", "sleep 9"),
            After::TaskDelivered => transcript.task_delivered("b1"),
            After::Used => transcript.add_usage(&Usage { input: 7, ..Usage::default() }),
        }
    }
    transcript
}

/// A reply that begins with thinking, which is bound to everything before it.
fn reply(transcript: &mut Transcript, mut content: Vec<Block>) {
    let signature = binding(&transcript.messages());
    let thinking = json!({"type": "thinking", "thinking": "", "signature": signature});
    content.insert(0, Block::from_value(thinking).unwrap());
    transcript.push_reply(Message::assistant(content).encode());
}

/// The signature of thinking behind these messages.
fn binding(messages: &[Encoded]) -> String {
    let mut hasher = DefaultHasher::new();
    messages.iter().for_each(|message| message.as_str().hash(&mut hasher));
    hasher.finish().to_string()
}

fn prefix() -> Prefix {
    Prefix { system: "You are a test.".into(), tools: r#"[{"name":"bash"}]"#.into() }
}

fn resume(store: &Store) -> Result<Transcript> {
    Transcript::resume(store, Which::Id(ID))
}

/// Roles alternate from the user's on, each call has its result at the start of the next message, and nothing before
/// a thinking block has changed.
fn assert_can_be_sent(transcript: &Transcript) {
    let mut open: Vec<Value> = Vec::new();
    let messages = transcript.messages();
    for (index, encoded) in messages.iter().enumerate() {
        let Message { role, content } = encoded.decode();
        let json = encoded.as_str();
        assert_eq!(Message { role, content: content.clone() }.encode(), *encoded);
        for thinking in content.iter().filter(|block| block.is_thinking()) {
            assert_eq!(thinking.str("signature").unwrap(), binding(&messages[..index]), "{index}: {json}");
        }
        assert_eq!(role, [Role::User, Role::Assistant][index % 2], "message {index}: {json}");
        let ids = |kind: &str, name: &str| {
            let blocks = content.iter().filter(|block| block.kind() == kind);
            blocks.map(|block| block.get(name).unwrap().clone()).collect::<Vec<_>>()
        };
        let results = ids("tool_result", "tool_use_id");
        assert!(results.len() == open.len() && open.iter().all(|id| results.contains(id)), "{index}: {json}");
        assert!(
            content[..results.len()].iter().all(|block| block.kind() == "tool_result"),
            "{index}: {json}"
        );
        open = ids("tool_use", "id");
    }
    assert!(open.is_empty(), "{open:?} are not answered");
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store { folder: folder.path().to_owned() };
    (folder, store)
}

proptest! {
    #[test]
    fn a_session_is_loaded_as_it_was(turns in turns()) {
        let (_folder, store) = store();
        let written = write(&store, turns);
        let (messages, usage) = (written.messages(), written.usage);
        drop(written);
        let loaded = resume(&store).unwrap();
        prop_assert_eq!((loaded.messages(), loaded.usage), (messages, usage));
        assert_can_be_sent(&loaded);
    }

    /// Some of the file is zeros, and its end is missing.
    #[test]
    fn a_damaged_session_gives_an_error_or_a_history(
        turns in turns(),
        zeros in vec((any::<Index>(), 1..400_usize), 0..4),
        missing in prop_oneof![Just(0), 0..200_usize],
        goes_back in any::<bool>(),
    ) {
        let (_folder, store) = store();
        drop(write(&store, turns));
        let path = store.folder.join(format!("{ID}.jsonl"));
        let mut file = fs::read(&path).unwrap();
        for (start, length) in zeros {
            let start = start.index(file.len());
            file[start..].iter_mut().take(length).for_each(|byte| *byte = 0);
        }
        file.truncate(file.len().saturating_sub(missing));
        fs::write(&path, file).unwrap();
        prop_assert!(store.list().len() <= 1);
        let Ok(mut loaded) = resume(&store) else {
            return Ok(());
        };
        assert_can_be_sent(&loaded);
        // The conversation goes on, and another run finds what this one had.
        loaded.push_user(vec![Block::text("go on")], Some(0));
        let mark = loaded.mark();
        reply(&mut loaded, vec![Block::text("as you wish")]);
        if goes_back {
            loaded.roll_back(mark);
        }
        assert_can_be_sent(&loaded);
        let (messages, usage) = (loaded.messages(), loaded.usage);
        drop(loaded);
        let again = resume(&store).unwrap();
        prop_assert_eq!((again.messages(), again.usage), (messages, usage));
    }
}
