//! A running command: a thread of its own reads its output, keeps its deadline and reports its end.
//!
//! One mechanism ends a command, whatever the reason: its lifeline closes (see `supervisor`).
//! Dropping the last `Process` of a command ends it too.

use std::{
    ffi::OsStr,
    fs, io,
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use rustix::process::{Pid, Signal};

use super::{children::Children, log::Log, output::Output, sandbox::Sandbox, supervisor, watcher::Watcher};
use crate::{secrets::Secrets, threads};

/// The kernel takes no longer argument (MAX_ARG_STRLEN, execve(2)).
const LONGEST_COMMAND: usize = 128 * 1024 - 1;

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It reached its time limit.
    TimedOut(Duration),
    /// Somebody asked for its end.
    Killed,
    /// It could not be started or watched.
    Failed(String),
}

/// The end of a command, or of its shell.
#[derive(Debug, Clone)]
pub struct End {
    pub exit: Exit,
    pub duration: Duration,
    /// How many of its descendants still live.
    pub left: u32,
}

/// What a command's thread reports; `ShellEnded` only when something is left that lives on.
#[derive(Debug)]
pub enum Change {
    ShellEnded(End),
    Gone(End),
}

/// A change of the command with this id.
#[derive(Debug)]
pub struct Event {
    pub id: String,
    pub change: Change,
}

/// What is to be run.
pub struct Start<'a> {
    pub id: &'a str,
    pub command: &'a str,
    pub folder: &'a Path,
    /// Variables that the command must not see.
    pub hidden: &'a [String],
    /// Its limit of open files; None for no other than this program's.
    pub open_files: Option<u64>,
    /// Everything of the command is ended after this time.
    pub limit: Duration,
    pub log: Option<Log>,
    pub children: &'a Arc<Children>,
    pub sandbox: &'a Sandbox,
    /// Texts that are masked in its output.
    pub secrets: &'a Secrets,
}

/// A command that was started.
pub struct Process {
    shared: Arc<Shared>,
}

/// Ends a command from another thread. It does not keep it alive.
pub struct Killer(Weak<Shared>);

impl Killer {
    /// Nothing happens when the command has ended.
    pub fn kill(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.end(Exit::Killed);
        }
    }
}

/// What a command's thread and the main thread share.
pub(super) struct Shared {
    pub lifeline: UnixStream,
    pub started: Instant,
    state: Mutex<State>,
}

pub(super) struct State {
    pub output: Output,
    pub log: Option<Log>,
    /// Where the log is, once it is closed.
    pub log_path: Option<PathBuf>,
    /// Not reaped yet while it is here.
    pub supervisor: Option<Child>,
    /// Why it was ended, if it did not end by itself.
    pub ended_by: Option<Exit>,
}

impl Process {
    /// Starts the command and its thread; its changes go to `events`. Fails when the system refuses
    /// another process or thread, or the command is too long.
    pub fn start(mut start: Start, events: Sender<Event>) -> io::Result<Process> {
        if start.command.len() > LONGEST_COMMAND {
            let n = start.command.len();
            let text = format!(
                "the command is {n} bytes long, {LONGEST_COMMAND} are possible: write it to a file and run that"
            );
            return Err(io::Error::new(io::ErrorKind::ArgumentListTooLong, text));
        }
        let (lifeline, supervisors_end) = UnixStream::pair()?;
        let (output, write_end) = io::pipe()?;
        let supervisor = supervise(&start, supervisors_end, write_end)?;
        let shared = Arc::new(Shared {
            lifeline,
            started: Instant::now(),
            state: Mutex::new(State {
                output: Output::default(),
                log: start.log.take(),
                log_path: None,
                supervisor: Some(supervisor),
                ended_by: None,
            }),
        });
        let watcher = Watcher::new(&start, Arc::clone(&shared), output, events);
        threads::start(&format!("task-{}", start.id), || watcher.watch())?;
        Ok(Process { shared })
    }

    /// Ends the command with everything that it started: TERM, a grace of two seconds, KILL. Returns at once.
    pub fn kill(&self) {
        self.shared.end(Exit::Killed);
    }

    pub fn killer(&self) -> Killer {
        Killer(Arc::downgrade(&self.shared))
    }

    /// Its output so far.
    pub fn text(&self) -> String {
        self.shared.state().output.text()
    }

    /// What it printed since the last call.
    pub fn take_new(&self) -> String {
        self.shared.state().output.take_new()
    }

    /// How many characters of its output `text` leaves out.
    pub fn left_out(&self) -> u64 {
        self.shared.state().output.left_out()
    }

    /// How long it has been running.
    pub fn age(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Where the whole output is, if it is in a file.
    pub fn log(&self) -> Option<PathBuf> {
        let state = self.shared.state();
        let open = state.log.as_ref().and_then(|log| log.path());
        open.map(Path::to_owned).or_else(|| state.log_path.clone())
    }

    /// From now on the log is a file, however small the output is.
    pub fn keep_log(&self) {
        if let Some(log) = &mut self.shared.state().log {
            log.create();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl State {
    /// Takes the next bytes of the output.
    pub fn write(&mut self, bytes: &[u8]) {
        self.output.write(bytes);
        if let Some(log) = &mut self.log {
            log.write(bytes);
        }
    }
}

impl Shared {
    /// A panic in the thread poisons the lock, but leaves an output that can still be read.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has asked for its end.
    pub fn is_ended(&self) -> bool {
        self.state().ended_by.is_some()
    }

    /// Closes the lifeline; the first reason stays.
    pub fn end(&self, why: Exit) {
        let state = &mut *self.state();
        state.ended_by.get_or_insert(why);
        // A command may have stopped it. As PID 1 the reaper may have reaped it, and its number be another's.
        if let Some(supervisor) = &state.supervisor
            && std::process::id() != 1
        {
            let _ = rustix::process::kill_process(Pid::from_child(supervisor), Signal::CONT);
        }
        // It fails when the supervisor has ended already.
        let _ = self.lifeline.shutdown(Shutdown::Write);
    }
}

/// Starts the supervisor with the lifeline as its standard input.
fn supervise(start: &Start, lifeline: UnixStream, output: io::PipeWriter) -> io::Result<Child> {
    let mut supervisor = Command::new(own_program()?);
    supervisor
        .arg0("meanwhile")
        .arg(supervisor::ARGUMENT)
        .arg(start.open_files.map_or(String::new(), |limit| limit.to_string()))
        .args(start.sandbox.to_arguments())
        .arg(start.command)
        .current_dir(start.folder)
        .stdin(OwnedFd::from(lifeline))
        .stdout(output.try_clone()?)
        .stderr(output);
    for name in start.hidden {
        supervisor.env_remove(name);
    }
    start.children.spawn(&mut supervisor)
}

/// The file of this program: the link of `/proc` serves even after the file was replaced; without
/// `/proc` the kernel still says under which name it was started (AT_EXECFN, getauxval(3)).
fn own_program() -> io::Result<PathBuf> {
    let link = Path::new("/proc/self/exe");
    if fs::exists(link).unwrap_or(false) {
        return Ok(link.to_owned());
    }
    let name = Path::new(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()));
    std::path::absolute(name)
}
