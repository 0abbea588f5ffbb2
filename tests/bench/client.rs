//! The floor: this same program, started again as the simplest client that there can be. It sends a request
//! of so many bytes, reads the answer to its end, and does so again on the same connection.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use crate::stage::Stage;

/// The first argument that makes this program the client; address, bytes and count follow.
pub const ARGUMENT: &str = "client";

/// Where an answer ends (RFC 9112, 7.1): all that this bench sends are chunked.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

pub fn run(arguments: &[String]) {
    let [address, bytes, count] = arguments else {
        panic!("client ADDRESS BYTES COUNT");
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let mut connection = Connection::open(address, number(bytes));
    for _ in 0..number(count) {
        connection.exchange();
    }
}

/// The command that does it in a process of its own, in the same surroundings as the program.
pub fn command(stage: &Stage, bytes: usize, count: usize) -> Command {
    let program = std::env::current_exe().expect("a program has a file");
    let mut command = stage.command(program);
    command.arg(ARGUMENT).arg(&stage.server.address);
    command.args([bytes, count].map(|number| number.to_string()));
    command
}

/// A connection on which request follows answer.
pub struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Connection {
    /// For requests with a body of so many bytes.
    pub fn open(address: &str, bytes: usize) -> Connection {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let head = format!("POST / HTTP/1.1\r\ncontent-length: {bytes}\r\n\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + bytes, b'x');
        Connection { stream, request, buffer: vec![0; 16 * 1024] }
    }

    /// Sends a request and reads until the last chunk of the answer.
    pub fn exchange(&mut self) {
        self.stream.write_all(&self.request).expect("the server reads");
        let mut end = Vec::new();
        while !end.ends_with(LAST_CHUNK) {
            let n = self.stream.read(&mut self.buffer).expect("the server answers");
            assert!(n > 0, "the server answers to the end");
            end.extend_from_slice(&self.buffer[n - n.min(LAST_CHUNK.len())..n]);
            end.drain(..end.len().saturating_sub(LAST_CHUNK.len()));
        }
    }
}
