//! A reply made ready: what goes over the wire, step by step, each step flushed.

use std::io::{self, Write};
use std::time::Duration;

use super::gate::Gate;

/// How long a reply waits for its gate: longer than a test waits for anything.
const GATE_DEADLINE: Duration = Duration::from_secs(90);

pub struct Response {
    pub gate: Option<Gate>,
    pub head: Vec<u8>,
    pub steps: Vec<Step>,
    pub framing: Framing,
    /// Only so many bytes of the body, then the end of the connection.
    pub cut: Option<usize>,
    pub after: Connection,
}

pub enum Step {
    Send(Vec<u8>),
    Hold(Gate),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Framing {
    Chunked,
    Plain,
}

/// What becomes of the connection behind the response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Connection {
    Keep,
    Close,
}

impl Response {
    /// The end of the connection as the only answer.
    pub fn nothing(gate: Option<Gate>) -> Response {
        Response {
            gate,
            head: Vec::new(),
            steps: Vec::new(),
            framing: Framing::Plain,
            cut: None,
            after: Connection::Close,
        }
    }

    /// Fails when the client has gone or a gate was not opened in time.
    pub fn send(self, output: &mut impl Write) -> io::Result<Connection> {
        if let Some(gate) = &self.gate {
            pass(gate)?;
        }
        output.write_all(&self.head)?;
        let mut left = self.cut.unwrap_or(usize::MAX);
        for step in &self.steps {
            match step {
                Step::Hold(gate) => pass(gate)?,
                Step::Send(bytes) if bytes.len() > left => {
                    self.framing.write(output, &bytes[..left])?;
                    return Ok(Connection::Close);
                }
                Step::Send(bytes) => {
                    self.framing.write(output, bytes)?;
                    left -= bytes.len();
                }
            }
        }
        if self.cut.is_some() {
            return Ok(Connection::Close);
        }
        self.framing.end(output)?;
        Ok(self.after)
    }
}

impl Framing {
    fn write(self, output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        match self {
            // A chunk of no bytes would be the end of the body.
            _ if bytes.is_empty() => Ok(()),
            Framing::Plain => output.write_all(bytes),
            Framing::Chunked => {
                let size = format!("{:x}\r\n", bytes.len());
                output.write_all(&[size.as_bytes(), bytes, b"\r\n"].concat())
            }
        }
    }

    fn end(self, output: &mut impl Write) -> io::Result<()> {
        match self {
            Framing::Plain => Ok(()),
            Framing::Chunked => output.write_all(b"0\r\n\r\n"),
        }
    }
}

/// Status line and headers, with the header for the end of the body if there is none among them.
pub fn head(status: u16, headers: &[(String, String)], framing: Framing, body_length: usize) -> Vec<u8> {
    let framed = headers.iter().any(|(name, _)| {
        ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str())
    });
    let mut head = format!("HTTP/1.1 {status} {}\r\n", if status == 200 { "OK" } else { "-" });
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    match framing {
        _ if framed => {}
        Framing::Chunked => head += "transfer-encoding: chunked\r\n",
        Framing::Plain => head += &format!("content-length: {body_length}\r\n"),
    }
    head += "\r\n";
    head.into_bytes()
}

fn pass(gate: &Gate) -> io::Result<()> {
    match gate.wait(GATE_DEADLINE) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::TimedOut, "a gate was never opened")),
    }
}
