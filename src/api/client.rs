//! Sends the history and streams the reply, each request on a thread of its own.
//!
//! The history is append-only, and so is its JSON: a request is a head, the messages as they are, and
//! a tail. Nothing is serialized twice, and nothing is copied to be sent.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use serde_json::{Value, json};

use super::{
    fold::Fold,
    message::Role,
    reply::{Reply, excerpt, stream_error},
    retry, sse,
    transport::{KEPT, Response, Transport},
};
use crate::error::{Error, Result};
use crate::threads;

/// Marks what the API caches: everything up to here
/// (<https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>).
const CACHE_MARKER: &str = r#","cache_control":{"type":"ephemeral"}"#;

/// How a message ends: its last block, its content, itself (see `Message::to_json`).
const MESSAGE_END: &str = "}]}";

/// An error's body is a short JSON text; a proxy may send any page.
const LONGEST_ERROR: u64 = 1024 * 1024;
/// What may follow `message_stop` on a connection that is to be used again.
const LONGEST_REST: u64 = 64 * 1024;
/// How long a request waits for the connection of the one before.
const CONNECTION_WAIT: Duration = Duration::from_millis(50);
/// A reply that does not stream.
const LONGEST_MESSAGE: u64 = 64 * 1024 * 1024;

/// What a request brings, in this order: texts, then one end.
#[derive(Debug)]
pub enum Progress {
    Text(String),
    Ended(Result<Box<Reply>>),
}

/// What every request of a session has in common.
pub struct Settings {
    pub model: String,
    pub max_tokens: u32,
    pub system: String,
    /// The tools' definitions, a JSON array.
    pub tools: Value,
}

pub struct Client {
    transport: Arc<Transport>,
    settings: Settings,
    /// The request up to its first message.
    head: Arc<String>,
    /// Disconnected when the last request has let go of its connection.
    last_finished: Receiver<()>,
    /// When the connection was last made use of.
    used: Option<Instant>,
}

impl Client {
    pub fn new(transport: Transport, settings: Settings) -> Client {
        Client {
            transport: Arc::new(transport),
            head: head(&settings).into(),
            settings,
            last_finished: crossbeam_channel::bounded(0).1,
            used: None,
        }
    }

    /// From now on another model answers.
    pub fn set_model(&mut self, model: &str) {
        self.settings.model = model.to_owned();
        self.head = head(&self.settings).into();
    }

    pub fn model(&self) -> &str {
        &self.settings.model
    }

    /// Sends `messages`, each the JSON of a message, the last one from the user. What comes of a stream is in
    /// `fold` until the reply is whole. Dropping the receiver gives the reply up.
    pub fn send(
        &mut self,
        messages: Vec<Arc<String>>,
        fold: Arc<Mutex<Fold>>,
    ) -> Result<Receiver<Progress>> {
        // Some reads ahead of the terminal, no more: a slow terminal slows the stream.
        let (sender, receiver) = crossbeam_channel::bounded(64);
        let body = Body::new(Arc::clone(&self.head), messages);
        self.start("request", move |transport| {
            request_on_thread(transport, body, &fold, sender);
        })?;
        Ok(receiver)
    }

    /// Opens the connection while the user types, where that takes its time and none is open.
    pub fn warm_up(&mut self) {
        let is_open = self.used.is_some_and(|used| used.elapsed() < KEPT);
        if !is_open && self.transport.is_far() {
            // Without it the request opens one.
            let _ = self.start("warm-up", Transport::warm_up);
        }
    }

    /// Runs this on a thread of its own, after what was started before.
    fn start(&mut self, name: &str, run: impl FnOnce(&Transport) + Send + 'static) -> Result<()> {
        self.used = Some(Instant::now());
        let (finished, last_finished) = crossbeam_channel::bounded(0);
        let before = std::mem::replace(&mut self.last_finished, last_finished);
        let transport = Arc::clone(&self.transport);
        let run = move || {
            // The connection is free once the reply before was read to its very end.
            let _ = before.recv_timeout(CONNECTION_WAIT);
            run(&transport);
            drop::<Sender<()>>(finished);
        };
        let started = threads::start(name, run).map(drop);
        started.map_err(|err| Error::System {
            doing: "start a thread",
            err,
        })
    }

    /// Gives the request under way up at once, and its connection with it.
    pub fn abort(&mut self) {
        self.used = None;
        self.transport.abort();
    }
}

fn request_on_thread(
    transport: &Transport,
    body: Body,
    fold: &Mutex<Fold>,
    progress: Sender<Progress>,
) {
    let length = body.length();
    let reply = transport
        .post(body, length)
        .and_then(|mut response| Ok((receive(&mut response, fold, &progress)?, response)));
    match reply {
        Ok((reply, mut response)) => {
            response.body.complete();
            let _ = progress.send(Progress::Ended(Ok(Box::new(reply))));
            // What follows the last event is little; read, it leaves a connection that can be used again.
            let _ = io::copy(
                &mut (&mut response.body).take(LONGEST_REST),
                &mut io::sink(),
            );
        }
        Err(err) => {
            let _ = progress.send(Progress::Ended(Err(err)));
        }
    }
}

/// The system prompt and the tools are the same in every request: each ends with a cache marker.
fn head(settings: &Settings) -> String {
    let marker = json!({"type": "ephemeral"});
    let mut tools = settings.tools.clone();
    if let Some(last) = tools.as_array_mut().and_then(|tools| tools.last_mut()) {
        last["cache_control"] = marker.clone();
    }
    let fields = json!({
        "model": settings.model,
        "max_tokens": settings.max_tokens,
        "stream": true,
        "system": [{"type": "text", "text": settings.system, "cache_control": marker}],
        "tools": tools,
    });
    let fields = fields.to_string();
    format!("{},\"messages\":[", &fields[..fields.len() - 1])
}

fn receive(
    response: &mut Response,
    fold: &Mutex<Fold>,
    progress: &Sender<Progress>,
) -> Result<Reply> {
    if response.status != 200 {
        return Err(refusal(response));
    }
    let content_type = response.header("content-type").unwrap_or_default();
    if content_type.contains("application/json") {
        return whole_message(response, progress);
    }
    if !content_type.is_empty() && !content_type.contains("text/event-stream") {
        let text = format!("its content type is `{}`", excerpt(content_type));
        return Err(Error::Protocol(text));
    }
    stream(response, fold, progress)
}

fn stream(
    response: &mut Response,
    fold: &Mutex<Fold>,
    progress: &Sender<Progress>,
) -> Result<Reply> {
    let mut decoder = sse::Decoder::default();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = match response.body.read(&mut buffer) {
            Ok(n) => n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(Error::CutOff(err.to_string())),
        };
        // The events of one read: one text for all of them.
        let mut text = String::new();
        let mut is_done = Ok(false);
        {
            let fold = &mut *fold.lock().unwrap_or_else(PoisonError::into_inner);
            let take = |data: &str| {
                if let Ok(false) = is_done {
                    is_done = fold.event(data, &mut text);
                }
            };
            match read {
                0 => std::mem::take(&mut decoder).finish(take),
                n => decoder
                    .feed(&buffer[..n], take)
                    .map_err(|_| Error::Protocol("it is longer than 64 MiB".into()))?,
            }
        }
        if !text.is_empty() && progress.send(Progress::Text(text)).is_err() {
            return Err(Error::Protocol("nobody wants the reply any more".into()));
        }
        if is_done? || read == 0 {
            let mut fold = fold.lock().unwrap_or_else(PoisonError::into_inner);
            return std::mem::take(&mut *fold).finish();
        }
    }
}

fn whole_message(response: &mut Response, progress: &Sender<Progress>) -> Result<Reply> {
    let mut text = String::new();
    (&mut response.body)
        .take(LONGEST_MESSAGE)
        .read_to_string(&mut text)
        .map_err(|err| Error::CutOff(err.to_string()))?;
    let message = serde_json::from_str(&text)
        .map_err(|err| Error::Protocol(format!("it is not JSON ({err}): {}", excerpt(&text))))?;
    let reply = Fold::message(message)?;
    let _ = progress.send(Progress::Text(reply.said.to_string()));
    Ok(reply)
}

/// The error in an answer whose status is not 200.
fn refusal(response: &mut Response) -> Error {
    let status = response.status;
    let said = response
        .header("x-should-retry")
        .and_then(|said| said.parse().ok());
    let retry_after = response.header("retry-after").and_then(retry::retry_after);
    let in_header = response.header("request-id").map(str::to_owned);
    let mut bytes = Vec::new();
    let _ = (&mut response.body)
        .take(LONGEST_ERROR)
        .read_to_end(&mut bytes);
    let body = String::from_utf8_lossy(&bytes);
    let (kind, message, in_body) =
        match serde_json::from_str::<Value>(&body).map(|body| stream_error(&body)) {
            Ok(Error::Api {
                kind,
                message,
                request_id,
                ..
            }) if kind != "unknown" => (kind, message, request_id),
            // A proxy's page, or nothing.
            _ => ("error".into(), excerpt(&body), None),
        };
    Error::Api {
        status,
        kind,
        message,
        request_id: in_body.or(in_header),
        retry: said.unwrap_or(retry::status_may_pass(status)),
        retry_after,
    }
}

/// The body of a request: pieces that are read one after another from where they lie.
#[derive(Clone)]
struct Body {
    pieces: Vec<Piece>,
    next: usize,
    at: usize,
}

#[derive(Clone)]
enum Piece {
    Fixed(&'static str),
    /// All but the last `usize` bytes.
    Shared(Arc<String>, usize),
}

impl Body {
    fn new(head: Arc<String>, messages: Vec<Arc<String>>) -> Body {
        let mut pieces = vec![Piece::Shared(head, 0)];
        // After a pause the last message is the model's; the marker stands on the user's last one.
        let marked = messages
            .iter()
            .rposition(|message| message.starts_with(Role::User.opening()));
        for (index, message) in messages.into_iter().enumerate() {
            if index > 0 {
                pieces.push(Piece::Fixed(","));
            }
            // The marker moves with the last block; the messages before it stay as they were.
            if Some(index) == marked {
                pieces.push(Piece::Shared(message, MESSAGE_END.len()));
                pieces.extend([CACHE_MARKER, MESSAGE_END].map(Piece::Fixed));
            } else {
                pieces.push(Piece::Shared(message, 0));
            }
        }
        pieces.push(Piece::Fixed("]}"));
        Body {
            pieces,
            next: 0,
            at: 0,
        }
    }

    fn length(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| piece.bytes().len() as u64)
            .sum()
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Fixed(text) => text.as_bytes(),
            Piece::Shared(text, less) => &text.as_bytes()[..text.len() - less],
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(piece) = self.pieces.get(self.next) {
            let rest = &piece.bytes()[self.at..];
            let n = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + n].copy_from_slice(&rest[..n]);
            filled += n;
            self.at += n;
            if n < rest.len() {
                break;
            }
            self.next += 1;
            self.at = 0;
        }
        Ok(filled)
    }
}
