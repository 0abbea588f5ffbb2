//! A server that costs next to nothing, for what is measured: it reads a request by its length, without a
//! look at what is in it, and hands it over to be answered.
//!
//! It takes the times with one clock: when the first and the last byte of a request had come.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::stream::Message;

/// Nothing takes so long.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Server {
    /// As in `127.0.0.1:80`.
    pub address: String,
    requests: Receiver<Request>,
    /// Whether bodies are kept; they are only counted unless somebody wants to look at them.
    keep: Arc<AtomicBool>,
}

/// One request, not yet answered.
pub struct Request {
    /// Which one it is on its connection, from 1.
    pub nth: usize,
    /// When its first bytes had come.
    pub began: Instant,
    /// When its last byte had come.
    pub ended: Instant,
    /// The size of its body.
    pub length: usize,
    /// Empty unless bodies are kept.
    pub body: Vec<u8>,
    stream: TcpStream,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket").to_string();
        let (sender, requests) = mpsc::channel();
        let keep = Arc::new(AtomicBool::new(false));
        let kept = Arc::clone(&keep);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (sender, keep) = (sender.clone(), Arc::clone(&kept));
                // A client that leaves ends its connection, nothing else.
                thread::spawn(move || serve(stream, &sender, &keep));
            }
        });
        Server { address, requests, keep }
    }

    /// The next request, from whichever connection.
    pub fn next(&self) -> Request {
        self.next_within(DEADLINE).expect("a request in time")
    }

    pub fn next_within(&self, time: Duration) -> Option<Request> {
        self.requests.recv_timeout(time).ok()
    }

    pub fn keep_bodies(&self, keep: bool) {
        self.keep.store(keep, Ordering::Relaxed);
    }
}

impl Request {
    /// Writes an answer. Returns when its last piece was about to be written: a client that is quick
    /// gains nothing from a server that is slow to return from its last write.
    pub fn answer(&mut self, bytes: &[u8]) -> Instant {
        const PIECE: usize = 256 * 1024;
        let last = bytes.len().saturating_sub(1) / PIECE * PIECE;
        let (most, last) = bytes.split_at(last);
        let sent = self.stream.write_all(most);
        let at = Instant::now();
        sent.and_then(|()| self.stream.write_all(last)).expect("the client reads its answer");
        at
    }
}

fn serve(mut stream: TcpStream, requests: &Sender<Request>, keep: &AtomicBool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 256 * 1024];
    for nth in 1.. {
        let Some(request) = read(&mut stream, &mut buffer, nth, keep.load(Ordering::Relaxed))? else {
            break;
        };
        if requests.send(request).is_err() {
            break;
        }
    }
    Ok(())
}

/// The next request; None when the client has gone.
fn read(stream: &mut TcpStream, buffer: &mut [u8], nth: usize, keep: bool) -> io::Result<Option<Request>> {
    let mut filled = 0;
    let mut began = None;
    let (body_at, length) = loop {
        let n = stream.read(&mut buffer[filled..])?;
        if n == 0 {
            return Ok(None);
        }
        began.get_or_insert_with(Instant::now);
        filled += n;
        if let Some(found) = head(&buffer[..filled]) {
            break found;
        }
    };
    let mut body = Vec::new();
    let mut piece = body_at..filled;
    let mut received = 0;
    loop {
        received += piece.len();
        if keep {
            body.extend_from_slice(&buffer[piece]);
        }
        if received >= length {
            break;
        }
        piece = 0..stream.read(buffer)?;
        if piece.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(Request {
        nth,
        began: began.expect("something was read"),
        ended: Instant::now(),
        length,
        body,
        stream: stream.try_clone()?,
    }))
}

/// Where the head of a request ends, and how long the body is that follows; None while it is not whole.
fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.split("content-length:").nth(1)?;
    let length = length.lines().next()?.trim().parse().ok()?;
    Some((end, length))
}

/// The bytes of a whole answer, chunked as the real API does it: one chunk for each event.
pub fn message(message: &Message) -> Vec<u8> {
    chunked(&message.events(&json!({"model": "test-model"})))
}

pub fn chunked(events: &[String]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let chunks = events.iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len()));
    let body: String = chunks.collect();
    format!("{head}{body}0\r\n\r\n").into_bytes()
}
