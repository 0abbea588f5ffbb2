//! Sends the history and streams the reply, each request on a thread of its own.
//!
//! A request is a head, the messages as the history holds them, and a tail: no message is serialized a second
//! time or copied in order to be sent.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use serde_json::Value;

use super::connection::KEPT;
use super::message::Encoded;
use super::models::{self, Description, Lookup};
use super::receive::{Progress, receive};
use super::request::{Asked, Body, Prefix, Settings};
use super::transport::Transport;
use crate::error::{Error, Result};
use crate::threads;

/// How much may follow `message_stop` on a connection that is to be used again, in bytes.
const LONGEST_REST: u64 = 64 * 1024;
/// How long a request waits for the connection of the one before.
const CONNECTION_WAIT: Duration = Duration::from_millis(50);

pub struct Client {
    transport: Arc<Transport>,
    settings: Settings,
    /// Disconnected when the last request no longer uses its connection.
    last_finished: Receiver<()>,
    /// When the connection was last used.
    used: Option<Instant>,
    /// What was asked about the model; None before the first request to it.
    lookup: Option<Lookup>,
}

impl Client {
    pub fn new(transport: Transport, settings: Settings) -> Client {
        Client {
            transport: Arc::new(transport),
            settings,
            last_finished: crossbeam_channel::bounded(0).1,
            used: None,
            lookup: None,
        }
    }

    /// Later requests go to this model, of which `lookup` says what is known.
    pub fn set_model(&mut self, model: &str, lookup: Lookup) {
        self.settings.model = model.to_owned();
        self.lookup = Some(lookup);
    }

    /// Asks the server whether it has a model. Returns the channel on which the answer arrives.
    pub fn find(&mut self, model: &str) -> Receiver<models::Answer> {
        let has_described = self.description().is_some_and(|model| *model != Description::default());
        models::ask(&self.transport, model, move |to, model| models::find(to, model, has_described), None)
    }

    /// What the server has said about the model by now.
    pub fn description(&mut self) -> Option<&Description> {
        self.lookup.as_mut().and_then(Lookup::description)
    }

    pub fn model(&self) -> &str {
        &self.settings.model
    }

    /// Whether answers must have a format.
    pub fn has_format(&self) -> bool {
        self.settings.format.is_some()
    }

    /// Asks for answers in this format from now on. Returns the format until now.
    pub fn set_format(&mut self, format: Option<Value>) -> Option<Value> {
        std::mem::replace(&mut self.settings.format, format)
    }

    /// What is asked of the model's thinking.
    pub fn asked(&self) -> &Asked {
        &self.settings.asked
    }

    /// Asks this of the model's thinking from now on. Returns what was asked before.
    pub fn ask(&mut self, asked: Asked) -> Asked {
        std::mem::replace(&mut self.settings.asked, asked)
    }

    /// Sends `messages`; the last one must be from the user. The reply may take up to `max_tokens`. Returns the
    /// channel on which it arrives: dropping it cancels the request. Beside the first request to a model, the server is
    /// asked to describe the model. Fails if no thread can be started.
    pub fn send(
        &mut self,
        prefix: &Prefix,
        messages: Vec<Encoded>,
        max_tokens: u32,
    ) -> Result<Receiver<Progress>> {
        // The network may be so many reads ahead of the terminal: a slow terminal slows the stream.
        let (sender, receiver) = crossbeam_channel::bounded(64);
        let (sent, ready) = crossbeam_channel::bounded(1);
        let body = self.settings.body(prefix, messages, max_tokens).tell(sent);
        self.start("request", move |transport| run_request(transport, body, &sender))?;
        if self.lookup.is_none() {
            // The question takes no time from the request: it waits until that is sent.
            let answer = models::ask(&self.transport, &self.settings.model, models::describe, Some(ready));
            self.lookup = Some(Lookup::Asked(answer));
        }
        Ok(receiver)
    }

    /// Opens a connection while the user types, if that takes a handshake and none is open.
    pub fn warm_up(&mut self) {
        let is_open = self.used.is_some_and(|used| used.elapsed() < KEPT);
        if !is_open && self.transport.is_secure() {
            // If this fails, the request opens its connection itself.
            let _ = self.start("warm-up", Transport::warm_up);
        }
    }

    /// Ends the current request and its connection at once.
    pub fn abort(&mut self) {
        self.used = None;
        self.transport.abort();
    }

    /// Calls `run` on a new thread, after what was started before has finished.
    fn start(&mut self, name: &str, run: impl FnOnce(&Transport) + Send + 'static) -> Result<()> {
        self.used = Some(Instant::now());
        let (finished, last_finished) = crossbeam_channel::bounded(0);
        let before = std::mem::replace(&mut self.last_finished, last_finished);
        let transport = Arc::clone(&self.transport);
        let run = move || {
            // The connection is free once the previous reply was read to its very end.
            let _ = before.recv_timeout(CONNECTION_WAIT);
            run(&transport);
            drop::<Sender<()>>(finished);
        };
        threads::start(name, run).map(drop).map_err(|err| Error::System { doing: "start a thread", err })
    }
}

fn run_request(transport: &Transport, body: Body, progress: &Sender<Progress>) {
    let mut response = match transport.post(body) {
        Ok(response) => response,
        Err(err) => return drop(progress.send(Progress::Ended(Err(err)))),
    };
    let reply = receive(&mut response, progress);
    transport.record(&mut response);
    let is_whole = reply.is_ok();
    let _ = progress.send(Progress::Ended(reply));
    if is_whole {
        // Little follows the last event. Once it is read, the connection can be used again.
        let _ = io::copy(&mut response.body.take(LONGEST_REST), &mut io::sink());
    }
}
