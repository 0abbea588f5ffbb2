//! Finds processes by their place in the tree of processes, and ends orphans.

use std::{fs, io, path::Path};

use rustix::process::{Pid, Signal, WaitOptions};

/// How often to look for orphans: when one ends, its own children become children of this process.
const MOST_ROUNDS: usize = 100;

/// The children of this process; in a process with several threads, only those of the calling thread.
pub fn children() -> io::Result<Vec<Pid>> {
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(list) => Ok(pids(&list).collect()),
        // The file needs CONFIG_PROC_CHILDREN (proc_pid_task(5)).
        Err(_) => children_of(rustix::process::getpid()),
    }
}

/// All descendants of this process, which must have one thread.
pub fn descendants() -> Vec<Pid> {
    let mut found = children().unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        for task in tasks.flatten() {
            match fs::read_to_string(task.path().join("children")) {
                Ok(list) => found.extend(pids(&list)),
                Err(_) => {
                    found.extend(children_of(pid).unwrap_or_default());
                    break;
                }
            }
        }
    }
    found
}

/// Ends the children of this process that are orphans, and reaps them. They are its children because it is a
/// subreaper.
pub fn end_children(is_orphan: impl Fn(&Pid) -> bool) {
    for _ in 0..MOST_ROUNDS {
        let mut orphans = children_of(rustix::process::getpid()).unwrap_or_default();
        orphans.retain(&is_orphan);
        if orphans.is_empty() {
            return;
        }
        for orphan in orphans {
            let _ = rustix::process::kill_process(orphan, Signal::KILL);
            let _ = rustix::process::waitpid(Some(orphan), WaitOptions::empty());
        }
    }
}

fn pids(list: &str) -> impl Iterator<Item = Pid> {
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
}

/// The children of `parent`, from the fourth field of every process's `stat`. Fails without `/proc`.
fn children_of(parent: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The second field is the command's name in parentheses and may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let parent_pid = after_name.split_ascii_whitespace().nth(1);
        if parent_pid.and_then(|pid| pid.parse().ok()) == Some(parent.as_raw_pid()) {
            found.extend(entry.file_name().to_str().into_iter().flat_map(pids));
        }
    }
    if found.is_empty() && !Path::new("/proc/self").exists() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(found)
}
