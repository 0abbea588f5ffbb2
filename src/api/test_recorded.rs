//! Recorded streams of the real API: however a network cuts one, it gives the same reply, or an error.
//!
//! The variable `MEANWHILE_RECORDINGS` names their folder. Without it these tests say that they are skipped.

use std::{env, fs};

use serde_json::Value;

use super::{reply::Reply, test_wire::fold_pieces};
use crate::error::Error;

fn fold<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Reply, Error> {
    fold_pieces(chunks).0
}

/// A stream of at most so many bytes is cut at every byte.
const SHORT: usize = 2000;
/// A longer one is cut in so many places.
const SAMPLES: usize = 50;

/// The streams in the folder, with the names of their files.
pub fn streams() -> Vec<(String, String)> {
    let Some(folder) = env::var_os("MEANWHILE_RECORDINGS") else {
        eprintln!("skipped: MEANWHILE_RECORDINGS is not set to a folder of recorded responses");
        return Vec::new();
    };
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|e| e == "json"));
    let read = |path: std::path::PathBuf| {
        let recording: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let stream = recording["body_sse"].as_str()?.to_owned();
        Some((path.display().to_string(), stream))
    };
    files.filter_map(read).collect()
}

#[test]
fn streams_fold_into_the_same_reply_however_they_are_cut() {
    for (name, stream) in streams() {
        let bytes = stream.as_bytes();
        let whole = fold([bytes]).unwrap_or_else(|err| panic!("{name}: {err}"));
        let step = if bytes.len() <= SHORT { 1 } else { bytes.len() / SAMPLES };
        for border in (0..bytes.len()).step_by(step) {
            let cut = fold([&bytes[..border], &bytes[border..]]).unwrap();
            assert_eq!(cut, whole, "{name} cut at {border}");
        }
        assert_eq!(fold(bytes.chunks(1)).unwrap(), whole, "{name} a byte at a time");
        let crlf = stream.replace('\n', "\r\n");
        assert_eq!(fold(crlf.as_bytes().chunks(7)).unwrap(), whole, "{name} with CRLF");
        let busy = stream.replace("\n\n", "\n\n: comment\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n");
        assert_eq!(fold([busy.as_bytes()]).unwrap(), whole, "{name} with pings and comments");
    }
}

#[test]
fn a_stream_that_ends_early_is_no_reply() {
    for (name, stream) in streams() {
        let whole = fold([stream.as_bytes()]).unwrap();
        let events: Vec<&str> = stream.split_inclusive("\n\n").collect();
        let step = (events.len() / SAMPLES).max(1);
        for count in (0..events.len()).step_by(step) {
            let cut = events[..count].concat();
            match fold([cut.as_bytes()]) {
                Ok(reply) => assert!(cut.contains("message_delta") && reply == whole, "{name} after {count}"),
                Err(err) => assert!(matches!(err, Error::CutOff(_)), "{name} after {count}: {err}"),
            }
        }
    }
}
