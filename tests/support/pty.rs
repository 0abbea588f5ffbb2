//! The program on a real terminal of 80 by 24: its own session, its own controlling terminal.

use std::io::{self, Read, Write};
use std::process::{Child, Command};
use std::sync::Arc;

use pty_process::Size;
use pty_process::blocking::{self, Pty};

/// Our side of a terminal. It hangs up when its last holder is gone, the reading thread included.
#[derive(Clone)]
pub struct Terminal(Arc<Pty>);

impl Terminal {
    /// Starts the command with stdin, stdout and stderr on a new terminal.
    pub fn spawn(command: Command) -> (Child, Terminal) {
        let (pty, pts) = blocking::open().expect("a free terminal");
        let terminal = Terminal(Arc::new(pty));
        terminal.resize(24, 80);
        let child = blocking::Command::from(command).spawn(pts).expect("the program starts");
        (child, terminal)
    }

    /// Whether the terminal shows what is typed by itself.
    pub fn echoes(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&*self.0).expect("a terminal has modes");
        modes.local_modes.contains(rustix::termios::LocalModes::ECHO)
    }

    /// The program gets SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.0.resize(Size::new(rows, columns)).expect("a terminal can be resized");
    }
}

impl Read for Terminal {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}
