//! Finding processes by their place in the tree, and ending what a supervisor that was killed has left.

use std::{fs, io, path::Path};

use rustix::process::{Pid, Signal, WaitOptions};

/// Looks again so often: children of what was ended come into sight one level at a time.
pub const MOST_ROUNDS: usize = 100;

/// The children of this process; of one of several threads only what it started itself.
pub fn children() -> io::Result<Vec<Pid>> {
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(list) => Ok(pids(&list).collect()),
        // The file needs CONFIG_PROC_CHILDREN (proc_pid_task(5)).
        Err(_) => children_of(rustix::process::getpid()),
    }
}

/// Everything that lives below this process, which has one thread.
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

/// Ends the members of a session whose leader, a supervisor, was killed: being orphans they are now
/// children of this process, which is a subreaper. One that has left the session is not found.
pub fn end_session(leader: Pid) {
    for _ in 0..MOST_ROUNDS {
        let children = children_of(rustix::process::getpid()).unwrap_or_default();
        let in_session =
            |child: &Pid| *child != leader && rustix::process::getsid(Some(*child)) == Ok(leader);
        let left: Vec<Pid> = children.into_iter().filter(in_session).collect();
        if left.is_empty() {
            return;
        }
        for child in left {
            let _ = rustix::process::kill_process(child, Signal::KILL);
            let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
        }
    }
}

fn pids(list: &str) -> impl Iterator<Item = Pid> {
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
}

/// The children of `parent`, from the fourth field of every process's `stat`.
pub fn children_of(parent: Pid) -> io::Result<Vec<Pid>> {
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
    match found.is_empty() && !Path::new("/proc/self").exists() {
        true => Err(io::ErrorKind::NotFound.into()),
        false => Ok(found),
    }
}
