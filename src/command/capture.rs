//! Runs a command of the user's own to its end and keeps what it prints, standard output and error apart.

use std::io::{self, PipeReader, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::exit::Exit;
use super::shell_end::ShellEnd;
use super::start::{Settings, Start};
use super::supervisor::BOUND;
use crate::threads;

/// How much of each output is kept, in bytes.
const LONGEST: u64 = 64 * 1024;

/// How a command ended, and what it printed.
pub struct Captured {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` with `/bin/sh` and returns when it has ended, or was ended after `limit`, with all that it started.
/// Fails if the system refuses another process or thread.
pub fn capture(command: &str, limit: Duration, settings: &Settings) -> io::Result<Captured> {
    let (lifeline, supervisors_end) = UnixStream::pair()?;
    let (stdout, stdout_end) = io::pipe()?;
    let (stderr, stderr_end) = io::pipe()?;
    let start = Start { id: "", command, limit, log: None };
    let supervisor = start.supervise(settings, supervisors_end, stdout_end, stderr_end)?;
    let (stdout, stderr) = (read(stdout)?, read(stderr)?);
    let exit = wait(&lifeline, limit);
    // Ends what the command has left; only then the outputs end too.
    drop(lifeline);
    let until = Instant::now() + BOUND;
    let [stdout, stderr] = [stdout, stderr].map(|text| text.recv_deadline(until).unwrap_or_default());
    settings.children.reap(supervisor, BOUND);
    Ok(Captured { exit, stdout, stderr })
}

/// Reads the pipe to its end on a thread of its own.
fn read(pipe: PipeReader) -> io::Result<Receiver<String>> {
    let (sender, text) = crossbeam_channel::bounded(1);
    threads::start("capture", move || {
        let mut bytes = Vec::new();
        let mut pipe = pipe.take(LONGEST);
        let _ = pipe.read_to_end(&mut bytes);
        // A command that prints more must not stand still.
        let _ = io::copy(pipe.get_mut(), &mut io::sink());
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    })?;
    Ok(text)
}

/// Waits for the end of the shell.
fn wait(lifeline: &UnixStream, limit: Duration) -> Exit {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(lifeline, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Exit::TimedOut(limit),
            Ok(_) => {
                let end = ShellEnd::read(lifeline);
                return end.map_or(Exit::Failed("its supervisor was killed".into()), |end| end.exit);
            }
            // Interrupted by a signal.
            Err(_) => {}
        }
    }
}
