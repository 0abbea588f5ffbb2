//! Somebody swaps a file or a folder of the workspace with a link, again and again, while the file tools work on it:
//! nothing outside is ever read or written.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::support::{Test, reply::Reply, stream::Block};

/// How often each tool is called while the race goes on.
const CALLS: usize = 100;

/// Exchanges two names in one step, so that there is always one of them.
struct Swapping {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Swapping {
    fn start(one: PathBuf, other: PathBuf) -> Swapping {
        let (stop, swaps) = (Arc::default(), Arc::default());
        let (stopped, counted): (Arc<AtomicBool>, Arc<AtomicU64>) = (Arc::clone(&stop), Arc::clone(&swaps));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Swapping { stop, swaps, thread }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.swaps.load(Ordering::Relaxed)
    }
}

/// Every name and content below a folder.
fn tree(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found: Vec<(PathBuf, String)> = fs::read_dir(folder)
        .unwrap()
        .flat_map(|entry| match entry.unwrap().path() {
            path if path.is_dir() => tree(&path),
            path => vec![(path.clone(), fs::read_to_string(&path).unwrap())],
        })
        .collect();
    found.sort();
    found
}

/// All file tools on `path`, while `swapped` in the workspace is exchanged with a link to `target` outside, where
/// `path` would lead to a file, too.
#[track_caller]
fn check(swapped: &str, target: &str, path: &str) {
    let test = Test::new().file("folder/file", "inside").file("folder/deep/file", "inside");
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("deep")).unwrap();
    fs::write(outside.path().join("file"), "outside").unwrap();
    fs::write(outside.path().join("deep/file"), "outside").unwrap();
    let before = tree(outside.path());
    let link = test.workspace().join("link");
    symlink(outside.path().join(target), &link).unwrap();
    let calls = (0..CALLS).flat_map(|n| {
        [
            Block::tool("read_file", json!({"path": path})),
            Block::tool("edit_file", json!({"path": path, "old_text": "side", "new_text": "side"})),
            Block::tool("edit_file", json!({"path": path, "old_text": "outside", "new_text": "edited"})),
            Block::tool("write_file", json!({"path": path, "content": "inside"})),
            Block::tool("write_file", json!({"path": format!("{path}-{n}/new"), "content": "inside"})),
        ]
    });
    let swapping = Swapping::start(test.workspace().join(swapped), link);
    let test = test.print("go").reply(Reply::message(calls.collect()));
    let finished = test.reply(Reply::text("done")).run().code(0);
    let swaps = swapping.end();
    assert!(swaps > 100, "it was swapped {swaps} times");
    let results = (0..CALLS * 5).map(|n| finished.request(1).tool_result(n));
    let results: Vec<(String, bool)> = results.collect();
    let worked = results.iter().filter(|(_, is_error)| !is_error).count();
    let failed = results.len() - worked;
    assert!(worked > 0 && failed > 0, "{worked} worked, {failed} failed");
    for (text, _) in &results {
        assert!(!text.contains("outside"), "{text}");
    }
    assert_eq!(tree(outside.path()), before, "what is outside has changed");
}

#[test]
fn a_folder_that_is_swapped_with_a_link_is_no_way_out() {
    check("folder", "", "folder/file");
    check("folder/deep", "deep", "folder/deep/file");
    check("folder", "", "folder/deep/file");
}

#[test]
fn a_file_that_is_swapped_with_a_link_is_no_way_out() {
    check("folder/file", "file", "folder/file");
}
