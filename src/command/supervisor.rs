//! The parent of every command: this same binary, started again with a hidden first argument.
//!
//! It owns the whole tree below the shell, since the kernel gives it all orphans (child subreaper). It ends the tree
//! when its standard input, the lifeline, closes for any reason. It signals only its own children that it has not
//! reaped yet, and the shell's process group while the shell is one of them, so it never signals a pid that may have
//! been reused.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::orphans::{children, descendants};
use super::sandbox::Sandbox;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Resource, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The hidden first argument. The limit of open files, the sandbox and the command follow it.
pub const ARGUMENT: &str = "supervise-command";

/// How long a process has between TERM and KILL.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long a supervisor may take to end a command: its grace period, and some rounds of KILL.
pub const BOUND: Duration = GRACE.saturating_add(Duration::from_secs(3));

/// How long to wait before looking again for children to kill: orphans arrive as their parents die.
const KILL_ROUND: Duration = Duration::from_millis(5);

/// Half of the range of the kernel's score, so that it kills a command that uses up the memory, and not the agent
/// (proc_pid_oom_score_adj(5)).
const OOM_SCORE: &str = "500";

/// Runs the command that the arguments after `ARGUMENT` describe. Returns when all of its processes have ended.
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

/// From now on orphans below this process become its children. Returns whether the kernel allows it; only an
/// emulator does not (qemu-user).
pub fn adopt_orphans() -> bool {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_ok()
}

/// From now on no other process of the user can read this one's memory and environment, which hold the credential
/// (PR_SET_DUMPABLE, prctl(2)). Root still can.
pub fn hide_memory() {
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Raises the limit of open files as far as the system allows, since the program runs many commands at once.
/// Returns the former limit, for the commands: some break with a higher one (select(2) takes no descriptor over 1023).
pub fn raise_open_files() -> Option<u64> {
    let former = open_files();
    set_open_files(rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX));
    former
}

/// The limit of open files of this process; None if there is none.
pub fn open_files() -> Option<u64> {
    rustix::process::getrlimit(Resource::Nofile).current
}

fn set_open_files(soft: u64) {
    let mut limits = rustix::process::getrlimit(Resource::Nofile);
    limits.current = Some(soft);
    // If the system refuses, fewer commands can run at once.
    let _ = rustix::process::setrlimit(Resource::Nofile, limits);
}

/// Reports that the shell could not be started.
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
    /// False without `/proc`, where children can't be listed: the shell then stays in this process's group.
    can_list: bool,
    ending: Option<Ending>,
}

struct Ending {
    kill_at: Instant,
    /// The children that were sent TERM.
    told: HashSet<i32>,
}

impl Supervisor {
    /// Starts the shell. Fails with a reason for the model.
    fn start(command: OsString, sandbox: Sandbox) -> Result<Supervisor, String> {
        let mut supervisor =
            Supervisor::prepare().map_err(|err| format!("failed to set up the supervisor: {err}"))?;
        sandbox.enforce()?;
        let shell = start_shell(command, supervisor.can_list);
        supervisor.shell = Some(shell.map_err(|err| format!("failed to start `/bin/sh`: {err}"))?);
        // From here on only the command holds the pipe of the output, so that its end of file comes.
        let _ = rustix::stdio::dup2_stdout(&supervisor.lifeline);
        let _ = rustix::stdio::dup2_stderr(&supervisor.lifeline);
        Ok(supervisor)
    }

    fn prepare() -> io::Result<Supervisor> {
        // Started through `/proc/self/exe`, it would show as `exe` in lists of processes.
        let _ = rustix::thread::set_name(c"meanwhile");
        let lifeline = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
        // A new session has no terminal that could stop the command, or that the command could read.
        let _ = rustix::process::setsid();
        // Otherwise orphans are found by their group, or not at all.
        let adopts = adopt_orphans();
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

    /// Reaps until no child is left. Ends the tree once the lifeline is closed.
    fn watch(&mut self) {
        while self.reap() {
            if let Some(ending) = &mut self.ending {
                ending.signal(self.shell, self.can_list);
            }
            self.wait_for_change();
        }
    }

    /// Reaps the children that have ended and reports the end of the shell. Returns whether a child is left.
    fn reap(&mut self) -> bool {
        let mut shell_ended = None;
        let some_left = loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == self.shell => shell_ended = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break true,
                // ECHILD: there are no children. After any other error, waiting makes no sense either.
                Err(_) => break false,
            }
        };
        if let Some(status) = shell_ended {
            self.shell = None;
            self.report(status, some_left);
        }
        some_left
    }

    /// Writes the record: how the shell ended, and how many descendants live on.
    fn report(&mut self, status: WaitStatus, some_left: bool) {
        let left = if some_left { descendants().len().max(1) } else { 0 };
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("code {code} {left}\n"),
            (None, signal) => format!("signal {} {left}\n", signal.unwrap_or_default()),
        };
        let _ = self.lifeline.write_all(end.as_bytes());
    }

    fn wait_for_change(&mut self) {
        let is_ending = self.ending.is_some();
        let mut fds = vec![PollFd::new(&self.changes, PollFlags::IN)];
        if !is_ending {
            fds.push(PollFd::new(&self.lifeline, PollFlags::IN));
        }
        let timeout = self.ending.as_ref().map(Ending::next_round);
        let _ = rustix::event::poll(&mut fds, timeout.as_ref());
        let closed = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        let mut drained = [0; 64];
        while matches!((&self.changes).read(&mut drained), Ok(1..)) {}
        if !is_ending && (closed || self.asked_to_end.load(Ordering::Relaxed)) {
            self.ending = Some(Ending { kill_at: Instant::now() + GRACE, told: HashSet::new() });
        }
    }
}

impl Ending {
    /// Sends TERM to every new child; after the grace period, KILL to all.
    fn signal(&mut self, shell: Option<Pid>, can_list: bool) {
        let late = Instant::now() >= self.kill_at;
        let signal = if late { Signal::KILL } else { Signal::TERM };
        if !can_list {
            // This process is in the group too: it handles TERM, and KILL ends it with the others.
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

    /// How long to wait until the next signals, if no child changes before.
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

/// An empty input. A bare chroot may have no `/dev/null`.
fn nothing() -> io::Result<Stdio> {
    match fs::File::open("/dev/null") {
        Ok(null) => Ok(null.into()),
        Err(_) => Ok(io::pipe()?.0.into()),
    }
}
