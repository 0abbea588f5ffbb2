//! The stage on which the real binary plays: a scripted server, folders of its own, a cleared
//! environment, a person at a pipe or at a terminal.
//!
//! Nothing here sleeps to let something happen: every wait is for an event, with a deadline.

// No single test needs all of it.
#![allow(dead_code)]

pub mod binding;
pub mod capture;
pub mod dir;
pub mod finished;
pub mod gate;
pub mod plain;
pub mod protocol;
pub mod pty;
pub mod random;
pub mod reply;
pub mod request;
pub mod response;
pub mod server;
pub mod session;
pub mod stream;
pub mod tagged;
pub mod tls;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use self::capture::Capture;
use self::dir::Dir;
use self::finished::Finished;
use self::pty::Terminal;
use self::reply::Reply;
use self::server::Server;
use self::session::{Input, Session};

/// One run of the program, to be described and then started.
pub struct Test {
    server: Server,
    dir: Dir,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    stdin: Option<String>,
    violations: Violations,
    unused: Unused,
}

/// What outlives the start of the program.
pub struct Scene {
    pub server: Server,
    pub dir: Dir,
    pub command_line: String,
    violations: Violations,
    unused: Unused,
}

/// Whether a request that the server refuses fails the test.
#[derive(PartialEq)]
enum Violations {
    Fail,
    Allowed,
}

/// Whether a reply that nobody asked for fails the test.
#[derive(PartialEq)]
enum Unused {
    Fail,
    Allowed,
}

impl Test {
    pub fn new() -> Test {
        Test::in_dir(Dir::new())
    }

    pub fn in_dir(dir: Dir) -> Test {
        let server = Server::start();
        let env = environment(&dir, &server);
        Test {
            server,
            dir,
            args: Vec::new(),
            env,
            stdin: None,
            violations: Violations::Fail,
            unused: Unused::Fail,
        }
    }

    /// Appends to the server's script.
    pub fn reply(self, reply: Reply) -> Test {
        self.server.push(reply);
        self
    }

    /// What the server answers whenever it is asked about a model, instead of 404.
    pub fn describe_model(self, describe: impl Fn() -> Reply + Send + 'static) -> Test {
        self.server.describe_model(describe);
        self
    }

    /// Writes a file into the workspace.
    #[track_caller]
    pub fn file(self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Test {
        self.dir.write(path, contents);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Test {
        self.env.insert(name.into(), value.as_ref().to_owned());
        self
    }

    pub fn env_remove(mut self, name: &str) -> Test {
        self.env.remove(OsStr::new(name));
        self
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Test {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args(self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Test {
        args.into_iter().fold(self, Test::arg)
    }

    /// `-p prompt`
    pub fn print(self, prompt: &str) -> Test {
        self.args(["-p", prompt])
    }

    /// What `run` gives the program to read; nothing if not called.
    pub fn stdin(mut self, text: &str) -> Test {
        self.stdin = Some(text.to_owned());
        self
    }

    pub fn allow_violations(mut self) -> Test {
        self.violations = Violations::Allowed;
        self
    }

    pub fn allow_unused(mut self) -> Test {
        self.unused = Unused::Allowed;
        self
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    pub fn workspace(&self) -> PathBuf {
        self.dir.workspace()
    }

    pub fn home(&self) -> PathBuf {
        self.dir.home()
    }

    /// Runs the program to its end; see `Session::wait` for what may go wrong.
    #[track_caller]
    pub fn run(mut self) -> Finished {
        let Some(text) = self.stdin.take() else {
            return self.start(Stdio::null()).wait();
        };
        let mut session = self.start(Stdio::piped());
        if let Input::Pipe(mut stdin) = session.take_input() {
            // A program that does not read must not hang its test; one that has gone is no error.
            thread::spawn(move || stdin.write_all(text.as_bytes()));
        }
        session.wait()
    }

    /// Starts the program with pipes, for a conversation.
    pub fn spawn(self) -> Session {
        self.start(Stdio::piped())
    }

    /// Starts the program on a terminal of 80 by 24. Its stderr goes there too.
    pub fn spawn_pty(self) -> Session {
        let (child, terminal) = Terminal::spawn(self.command());
        let screen = Capture::start(terminal.clone());
        Session::new(child, Input::Terminal(terminal), screen, Capture::empty(), self.into_scene())
    }

    /// Starts a shell with job control on a terminal, and the program in it.
    pub fn spawn_in_shell(self) -> Session {
        let program = self.command();
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-i")
            .env_clear()
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("PS1", "shell$ ")
            .current_dir(self.dir.workspace());
        let (child, mut terminal) = Terminal::spawn(shell);
        let screen = Capture::start(terminal.clone());
        let line = format!("{}\r", env!("CARGO_BIN_EXE_meanwhile"));
        terminal.write_all(line.as_bytes()).expect("the shell reads");
        Session::new(child, Input::Terminal(terminal), screen, Capture::empty(), self.into_scene())
    }

    /// Starts the program with this stdin.
    pub fn start(self, stdin: impl Into<Stdio>) -> Session {
        let mut command = self.command();
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let input = child.stdin.take().map_or(Input::Closed, Input::Pipe);
        let stdout = Capture::start(child.stdout.take().expect("stdout is piped"));
        let stderr = Capture::start(child.stderr.take().expect("stderr is piped"));
        Session::new(child, input, stdout, stderr, self.into_scene())
    }

    /// The program as it would be started, for a test that arranges more than stdin.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meanwhile"));
        command.args(&self.args).env_clear().envs(&self.env).current_dir(self.dir.workspace());
        command
    }

    fn into_scene(self) -> Scene {
        let args = self.args.iter().map(|arg| format!(" {arg:?}"));
        Scene {
            command_line: format!("meanwhile{}", args.collect::<String>()),
            server: self.server,
            dir: self.dir,
            violations: self.violations,
            unused: self.unused,
        }
    }
}

impl Scene {
    /// What the server has seen and should not have, or has not seen and should have.
    fn complaint(&self) -> Option<String> {
        let violations = self.server.violations();
        if self.violations == Violations::Fail && !violations.is_empty() {
            return Some(format!("the server refused requests:\n{}", violations.join("\n")));
        }
        let unused = self.server.unused();
        if self.unused == Unused::Fail && unused > 0 {
            return Some(format!("{unused} replies of the script were not asked for"));
        }
        None
    }
}

/// A command that ends when this file of the workspace exists, and then prints a word.
pub fn until(file: &str, word: &str) -> String {
    format!("until [ -e {file} ]; do sleep 0.02; done; echo {word}")
}

/// Waits until the condition holds; for what announces itself by no event, like a file or the end
/// of a process that is not our child.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    const INTERVAL: Duration = Duration::from_millis(5);
    const DEADLINE: Duration = Duration::from_secs(30);
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(INTERVAL);
    }
}

fn environment(dir: &Dir, server: &Server) -> BTreeMap<OsString, OsString> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    [
        ("PATH", path),
        ("HOME", dir.home().into()),
        ("XDG_STATE_HOME", dir.state().into()),
        ("TMPDIR", dir.tmp().into()),
        ("ANTHROPIC_API_KEY", "test-key".into()),
        ("MODEL_ID", "test-model".into()),
        ("ANTHROPIC_BASE_URL", server.url().into()),
    ]
    .map(|(name, value)| (name.into(), value))
    .into()
}

/// Copies a program. Another process does it: a child that a test starts meanwhile in another thread would inherit
/// the open copy, and the kernel does not run a file that is open for writing.
#[track_caller]
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let (from, to) = (from.as_ref(), to.as_ref());
    let status = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp {} {}: {status}", from.display(), to.display());
}
