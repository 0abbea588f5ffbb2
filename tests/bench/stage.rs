//! Folders and an environment of its own for what is measured, and a look at its memory.

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::{dir::Dir, plain::Server};

/// Names the program to be measured.
const VARIABLE: &str = "MEANWHILE_BENCH_BINARY";

pub struct Stage {
    pub server: Server,
    pub dir: Dir,
    pub binary: PathBuf,
}

/// A child that is ended and reaped, at the latest when it is dropped.
pub struct Running(Child);

impl Stage {
    pub fn new() -> Stage {
        let binary = std::env::var_os(VARIABLE).map(PathBuf::from);
        Stage {
            server: Server::start(),
            dir: Dir::new(),
            binary: binary.unwrap_or_else(|| panic!("{VARIABLE} names no program: use `make bench`")),
        }
    }

    /// A command in the folders of the stage that sees nothing else of this process.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.home())
            .env("XDG_STATE_HOME", self.dir.state())
            .env("TMPDIR", self.dir.tmp())
            .env("ANTHROPIC_API_KEY", "test-key")
            .env("MODEL_ID", "test-model")
            .env("ANTHROPIC_BASE_URL", format!("http://{}", self.server.address))
            .current_dir(self.dir.workspace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Starts the program on a task.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(&self.binary);
        Running::spawn(command.args(["-p", "go"]).args(arguments))
    }
}

impl Running {
    pub fn spawn(command: &mut Command) -> Running {
        Running(command.spawn().expect("it starts"))
    }

    /// The most memory that it has had so far, in bytes. Not what `wait4` tells at the end: that counts
    /// in the process which has forked it.
    pub fn peak(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<f64>().ok()).expect("a number") * 1024.0
    }

    /// Waits for its end, which must be a success.
    pub fn finish(mut self) {
        let status = self.0.wait().expect("it is a child");
        assert!(status.success(), "it has ended with {status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
