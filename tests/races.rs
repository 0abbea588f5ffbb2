//! The file tools never read or write outside the workspace, even while a file or a folder in it is swapped with a
//! link again and again.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::support::{Test, random::Random, reply::Reply, stream::Block};

/// How often each tool is called in one race.
const CALLS: usize = 20;
/// The longest pause between two swaps, in turns of an empty loop: some calls have to get through.
const LONGEST_PAUSE: u64 = 100_000;

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
            let mut random = Random::new(1);
            while !stopped.load(Ordering::Relaxed) {
                (0..random.below(LONGEST_PAUSE)).for_each(|_| std::hint::spin_loop());
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

/// Calls all file tools on `path`, again and again, while `swapped` in the workspace is exchanged with a link to
/// `target` outside, where `path` would lead to a file, too. Ends when some calls have worked and others have met the
/// link.
#[track_caller]
fn check(swapped: &str, target: &str, path: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seen = Seen::default();
    while seen.worked == 0 || seen.met_the_link == 0 || seen.swaps < 100 {
        assert!(Instant::now() < deadline, "only one side of the race was seen: {seen:?}");
        race(swapped, target, path, &mut seen);
    }
}

/// What happened in the races so far.
#[derive(Debug, Default)]
struct Seen {
    swaps: u64,
    worked: usize,
    met_the_link: usize,
}

#[track_caller]
fn race(swapped: &str, target: &str, path: &str, seen: &mut Seen) {
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
            Block::tool("edit_file", json!({"path": path, "old_text": "side", "new_text": "sides"})),
            Block::tool("edit_file", json!({"path": path, "old_text": "outside", "new_text": "edited"})),
            Block::tool("write_file", json!({"path": path, "content": "inside"})),
            Block::tool("write_file", json!({"path": format!("{path}-{n}/new"), "content": "inside"})),
        ]
    });
    let swapping = Swapping::start(test.workspace().join(swapped), link);
    let test = test.print("go").reply(Reply::message(calls.collect()));
    let finished = test.reply(Reply::text("done")).run().code(0);
    seen.swaps += swapping.end();
    for n in 0..CALLS * 5 {
        let (text, is_error) = finished.request(1).tool_result(n);
        assert!(!text.contains("outside"), "{text}");
        seen.worked += usize::from(!is_error);
        seen.met_the_link += usize::from(is_error && !text.contains("Text not found"));
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
