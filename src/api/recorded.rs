//! Recorded streams of the real API, cut in every way that a network may: the same reply comes out, or an error.
//!
//! The variable `MEANWHILE_RECORDINGS` names their folder; without it this is skipped, with a line that says so.

use std::{env, fs};

use serde_json::Value;

use super::{fold, reply::Reply};
use crate::error::Error;

fn fold<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Reply, Error> {
    fold::fold(chunks).0
}

/// Long streams are cut at every so many bytes, short ones at each.
const SHORT: usize = 2000;
const SAMPLES: usize = 50;

/// The streams in the folder, with their names.
fn streams() -> Vec<(String, String)> {
    let Some(folder) = env::var_os("MEANWHILE_RECORDINGS") else {
        eprintln!("skipped: MEANWHILE_RECORDINGS names no folder of recorded responses");
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
                Ok(reply) => assert!(cut.contains("message_stop") && reply == whole, "{name} after {count}"),
                Err(err) => assert!(matches!(err, Error::CutOff(_)), "{name} after {count}: {err}"),
            }
        }
    }
}
