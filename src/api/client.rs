//! Sends the history and streams the reply, each request on a thread of its own.
//!
//! The history is append-only, and so is its JSON: a request is a head, the messages as they are, and
//! a tail. Nothing is serialized twice, and nothing is copied to be sent.

use std::{
    io::{self, Read},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};

use super::{
    connection::KEPT,
    message::Encoded,
    receive::receive,
    reply::Reply,
    request::{Body, head},
    transport::Transport,
};
use crate::error::{Error, Result};
use crate::threads;

/// What may follow `message_stop` on a connection that is to be used again.
const LONGEST_REST: u64 = 64 * 1024;
/// How long a request waits for the connection of the one before.
const CONNECTION_WAIT: Duration = Duration::from_millis(50);

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
    pub tools: String,
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

    /// Sends `messages`, the last one from the user. Dropping the receiver gives the reply up.
    pub fn send(&mut self, messages: Vec<Encoded>) -> Result<Receiver<Progress>> {
        // Some reads ahead of the terminal, no more: a slow terminal slows the stream.
        let (sender, receiver) = crossbeam_channel::bounded(64);
        let body = Body::new(Arc::clone(&self.head), messages);
        self.start("request", move |transport| {
            request_on_thread(transport, body, sender);
        })?;
        Ok(receiver)
    }

    /// Opens the connection while the user types, where that takes its time and none is open.
    pub fn warm_up(&mut self) {
        let is_open = self.used.is_some_and(|used| used.elapsed() < KEPT);
        if !is_open && self.transport.is_secure() {
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
        started.map_err(|err| Error::System { doing: "start a thread", err })
    }

    /// Gives the request under way up at once, and its connection with it.
    pub fn abort(&mut self) {
        self.used = None;
        self.transport.abort();
    }
}

fn request_on_thread(transport: &Transport, body: Body, progress: Sender<Progress>) {
    let length = body.length();
    let reply = transport
        .post(body, length)
        .and_then(|mut response| Ok((receive(&mut response, &progress)?, response)));
    match reply {
        Ok((reply, mut response)) => {
            response.body.complete();
            let _ = progress.send(Progress::Ended(Ok(Box::new(reply))));
            // What follows the last event is little; read, it leaves a connection that can be used again.
            let _ = io::copy(&mut (&mut response.body).take(LONGEST_REST), &mut io::sink());
        }
        Err(err) => {
            let _ = progress.send(Progress::Ended(Err(err)));
        }
    }
}
