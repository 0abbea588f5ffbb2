//! The parent of every command: this same binary, started again with a hidden first argument.
//!
//! It owns the whole tree below the shell, since orphans are handed to it (child subreaper), and ends
//! the tree when its standard input, the lifeline, closes: whoever held the other end, and however it
//! came to close. It signals only its own children that it has not reaped yet, and the shell's process
//! group while the shell is among them, so no pid is ever signalled that may have been reused.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    orphans::{children, descendants},
    sandbox::Sandbox,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{DumpableBehavior, Pid, Resource, Signal, WaitOptions, WaitStatus},
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The hidden first argument; the limit of open files that the command gets, its sandbox and its text follow.
pub const ARGUMENT: &str = "supervise-command";

/// How long a process has between TERM and KILL.
pub const GRACE: Duration = Duration::from_secs(2);

/// How often children that were sent KILL are looked for again: orphans arrive as their parents die.
const KILL_ROUND: Duration = Duration::from_millis(5);

/// The kernel's score for killing is raised by half of its range, so that a command which eats the
/// memory is picked and not the agent (proc_pid_oom_score_adj(5)).
const OOM_SCORE: &str = "500";

/// Runs a command under supervision, as the arguments after the first say; returns when nothing of it
/// lives any more.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let open_files = arguments.next().and_then(|limit| limit.to_str()?.parse().ok());
    let sandbox = Sandbox::from_arguments(&mut arguments);
    let command = arguments.next().unwrap_or_default();
    if let Some(limit) = open_files {
        set_open_files(limit);
    }
    match Supervisor::start(command, sandbox.unwrap_or_default()) {
        Ok(mut supervisor) => supervisor.watch(),
        Err(reason) => report_failure(&reason),
    }
    ExitCode::SUCCESS
}

/// From now on this process is the parent of what a killed supervisor leaves. Where the kernel refuses,
/// such orphans go to the next parent up.
pub fn adopt_orphans() {
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// From now on no other process of the user may read this one's memory or environment, where the
/// credential is (PR_SET_DUMPABLE, prctl(2)); root still may.
pub fn hide_memory() {
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Raises the limit of open files as far as the system allows, for a program that runs many commands at
/// once, and returns what it was: the limit for the commands, some of which would suffer from a high one
/// (select(2) knows no descriptor over 1023).
pub fn raise_open_files() -> Option<u64> {
    let limits = rustix::process::getrlimit(Resource::Nofile);
    set_open_files(limits.maximum.unwrap_or(u64::MAX));
    limits.current
}

fn set_open_files(soft: u64) {
    let mut limits = rustix::process::getrlimit(Resource::Nofile);
    limits.current = Some(soft);
    // A refusal leaves the limit as it is, which serves a smaller number of commands.
    let _ = rustix::process::setrlimit(Resource::Nofile, limits);
}

/// The other record: the shell could not be started.
fn report_failure(reason: &str) {
    if let Ok(lifeline) = rustix::stdio::stdin().try_clone_to_owned() {
        let _ = writeln!(UnixStream::from(lifeline), "failed {reason}");
    }
}

struct Supervisor {
    lifeline: UnixStream,
    /// Readable when a child has changed or a signal asked this process to end.
    changes: UnixStream,
    asked_to_end: Arc<AtomicBool>,
    /// None once it is reaped.
    shell: Option<Pid>,
    /// Without `/proc` the children can't be listed: the shell then shares this process's own group.
    can_list: bool,
    ending: Option<Ending>,
}

struct Ending {
    kill_at: Instant,
    told: HashSet<i32>,
}

impl Supervisor {
    /// Starts the shell; a reason when that can't be.
    fn start(command: OsString, sandbox: Sandbox) -> Result<Supervisor, String> {
        let mut supervisor =
            Supervisor::prepare().map_err(|err| format!("could not prepare for it: {err}"))?;
        sandbox.enforce()?;
        let shell = start_shell(command, supervisor.can_list);
        supervisor.shell = Some(shell.map_err(|err| format!("could not start `/bin/sh`: {err}"))?);
        // The command alone holds the output from here on, so that its end can be seen.
        let _ = rustix::stdio::dup2_stdout(&supervisor.lifeline);
        let _ = rustix::stdio::dup2_stderr(&supervisor.lifeline);
        Ok(supervisor)
    }

    fn prepare() -> io::Result<Supervisor> {
        // Started through `/proc/self/exe`, it would be called `exe` in every list of processes.
        let _ = rustix::thread::set_name(c"meanwhile");
        let lifeline = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
        // A new session: nothing in the tree has a terminal that it could stop or be stopped by.
        let _ = rustix::process::setsid();
        // Only an emulator refuses this (qemu-user does): orphans are then found by their group, or not at all.
        let adopts = rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_ok();
        let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
        let asked_to_end = Arc::new(AtomicBool::new(false));
        let (changes, handler) = UnixStream::pair()?;
        changes.set_nonblocking(true)?;
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
            signal_hook::flag::register(signal, Arc::clone(&asked_to_end))?;
            signal_hook::low_level::pipe::register(signal, handler.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, handler)?;
        let can_list = adopts && children().is_ok();
        Ok(Supervisor { lifeline, changes, asked_to_end, shell: None, can_list, ending: None })
    }

    /// Reaps until no child is left; ends the tree once the lifeline is closed.
    fn watch(&mut self) {
        while self.reap() {
            if let Some(ending) = &mut self.ending {
                ending.signal(self.shell, self.can_list);
            }
            self.wait_for_change();
        }
    }

    /// Reaps what has ended and reports the end of the shell; false when there is no child left.
    fn reap(&mut self) -> bool {
        let mut shell_ended = None;
        let some_left = loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == self.shell => shell_ended = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break true,
                // ECHILD; any other error leaves nothing to wait for either.
                Err(_) => break false,
            }
        };
        if let Some(status) = shell_ended {
            self.shell = None;
            self.report(status, some_left);
        }
        some_left
    }

    /// Writes the one record: how the shell ended, and how many descendants still live.
    fn report(&mut self, status: WaitStatus, some_left: bool) {
        let left = match some_left {
            true => descendants().len().max(1),
            false => 0,
        };
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("code {code} {left}\n"),
            (None, signal) => format!("signal {} {left}\n", signal.unwrap_or_default()),
        };
        let _ = self.lifeline.write_all(end.as_bytes());
    }

    fn wait_for_change(&mut self) {
        let ended = self.ending.is_some();
        let mut fds = vec![PollFd::new(&self.changes, PollFlags::IN)];
        if !ended {
            fds.push(PollFd::new(&self.lifeline, PollFlags::IN));
        }
        let timeout = self.ending.as_ref().map(Ending::next_round);
        let _ = rustix::event::poll(&mut fds, timeout.as_ref());
        let closed = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        let mut drained = [0; 64];
        while matches!((&self.changes).read(&mut drained), Ok(1..)) {}
        if !ended && (closed || self.asked_to_end.load(Ordering::Relaxed)) {
            self.ending = Some(Ending { kill_at: Instant::now() + GRACE, told: HashSet::new() });
        }
    }
}

impl Ending {
    /// TERM to every child that was not told yet; after the grace KILL to all of them.
    fn signal(&mut self, shell: Option<Pid>, can_list: bool) {
        let late = Instant::now() >= self.kill_at;
        let signal = if late { Signal::KILL } else { Signal::TERM };
        if !can_list {
            // This process is in the group as well: it handles TERM, and KILL is its own end too.
            if late || self.told.insert(0) {
                let _ = rustix::process::kill_current_process_group(signal);
            }
            return;
        }
        if let Some(shell) = shell
            && (late || !self.told.contains(&shell.as_raw_pid()))
        {
            let _ = rustix::process::kill_process_group(shell, signal);
        }
        for child in children().unwrap_or_default() {
            if self.told.insert(child.as_raw_pid()) || late {
                let _ = rustix::process::kill_process(child, signal);
            }
        }
    }

    /// How long until the next look at the children, if nothing happens before.
    fn next_round(&self) -> Timespec {
        let left = self.kill_at.saturating_duration_since(Instant::now());
        let wait = if left.is_zero() { KILL_ROUND } else { left };
        Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() }
    }
}

fn start_shell(command: OsString, own_group: bool) -> io::Result<Pid> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(nothing()?);
    if own_group {
        shell.process_group(0);
    }
    let child = shell.spawn()?;
    Ok(Pid::from_child(&child))
}

/// An input that ends at once. A bare chroot may have no `/dev/null`.
fn nothing() -> io::Result<Stdio> {
    match fs::File::open("/dev/null") {
        Ok(null) => Ok(null.into()),
        Err(_) => Ok(io::pipe()?.0.into()),
    }
}
