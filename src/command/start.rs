//! Starts the supervisor of a command: this same program, with the command as its argument.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use super::children::Children;
use super::log::{Log, Logs};
use super::sandbox::Sandbox;
use super::supervisor;
use crate::secrets::Secrets;

/// The kernel takes no longer argument (MAX_ARG_STRLEN, execve(2)).
const LONGEST_COMMAND: usize = 128 * 1024 - 1;

/// What every command has in common.
pub struct Settings {
    pub folder: PathBuf,
    /// Variables that no command may see.
    pub hidden: Vec<String>,
    /// The limit of open files; None keeps the limit of this program.
    pub open_files: Option<u64>,
    /// None if there is no folder for logs.
    pub logs: Option<Arc<Logs>>,
    pub children: Arc<Children>,
    pub sandbox: Sandbox,
    /// Texts that are masked in every output and log.
    pub secrets: Secrets,
}

/// A command to start.
pub struct Start<'a> {
    pub id: &'a str,
    pub command: &'a str,
    /// The command and everything it started are ended after this time.
    pub limit: Duration,
    pub log: Option<Log>,
}

impl Start<'_> {
    /// Starts the supervisor with the lifeline as its standard input. Fails if the command is too long or the
    /// system refuses another process.
    pub(super) fn supervise(
        &self,
        settings: &Settings,
        lifeline: UnixStream,
        stdout: io::PipeWriter,
        stderr: io::PipeWriter,
    ) -> io::Result<Child> {
        if self.command.len() > LONGEST_COMMAND {
            let text = format!(
                "the command is {} bytes long, and the limit is {LONGEST_COMMAND}: write it to a file and run that",
                self.command.len()
            );
            return Err(io::Error::new(io::ErrorKind::ArgumentListTooLong, text));
        }
        let mut supervisor = Command::new(own_program()?);
        supervisor
            .arg0("meanwhile")
            .arg(supervisor::ARGUMENT)
            .arg(settings.open_files.map_or(String::new(), |limit| limit.to_string()))
            .args(settings.sandbox.to_arguments())
            .arg(self.command)
            .current_dir(&settings.folder)
            .stdin(OwnedFd::from(lifeline))
            .stdout(stdout)
            .stderr(stderr);
        for name in &settings.hidden {
            supervisor.env_remove(name);
        }
        settings.children.spawn(&mut supervisor)
    }
}

/// The file of this program. The link in `/proc` works even after the file was replaced; without `/proc`
/// the kernel still knows the name that it was started under (AT_EXECFN, getauxval(3)).
fn own_program() -> io::Result<PathBuf> {
    let link = Path::new("/proc/self/exe");
    if fs::exists(link).unwrap_or(false) {
        return Ok(link.to_owned());
    }
    let name = Path::new(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()));
    std::path::absolute(name)
}
