//! What the server answers: a scripted message, an error, exact bytes, or nothing at all.
//!
//! A reply is made ready for one request first (that may fail, by the fault of the script) and
//! then sent (that may fail, by the will of the client).

use serde_json::{Value, json};

use super::gate::Gate;
use super::request::Request;
use super::response::{Connection, Framing, Response, Step, head};
use super::stream::{Block, Message, unique_id};

pub struct Reply {
    gate: Option<Gate>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    holds: Vec<(String, Gate)>,
    split: Option<usize>,
    cut: Option<usize>,
    after: Connection,
}

enum Body {
    Message(Message),
    Sse(Vec<String>),
    Bytes(Vec<u8>),
    Nothing,
    Computed(Box<dyn FnOnce(&Request) -> Reply + Send>),
}

impl Reply {
    /// One text block, streamed word by word.
    pub fn text(text: &str) -> Reply {
        Reply::message(vec![Block::text(text)])
    }

    /// One tool call.
    pub fn tool(name: &str, input: Value) -> Reply {
        Reply::message(vec![Block::tool(name, input)])
    }

    /// Several blocks; the stop reason is `tool_use` if one of them is a call, else `end_turn`. Today's models think
    /// before they say anything, and keep it to themselves: unless `blocks` hold thinking, some comes first.
    pub fn message(mut blocks: Vec<Block>) -> Reply {
        if !blocks.is_empty() && !blocks.iter().any(Block::is_thinking) {
            blocks.insert(0, Block::thinking(""));
        }
        Reply::exactly(blocks)
    }

    /// The same without thinking that is not among the blocks.
    pub fn exactly(blocks: Vec<Block>) -> Reply {
        Reply::stream(Body::Message(Message::new(blocks)))
    }

    /// An error as the real API words it.
    pub fn error(status: u16, error_type: &str, message: &str) -> Reply {
        let id = unique_id("req_01");
        let error = json!({"type": error_type, "message": message});
        let body = json!({"type": "error", "error": error, "request_id": id});
        let retry = matches!(status, 408 | 409 | 429 | 500..);
        Reply::new(status, Body::Bytes(body.to_string().into_bytes()))
            .header("content-type", "application/json")
            .header("request-id", &id)
            .header("x-should-retry", if retry { "true" } else { "false" })
    }

    /// A whole answer in JSON, as the endpoints beside the messages give it.
    pub fn json(value: &Value) -> Reply {
        Reply::raw(200, &[("content-type", "application/json")], value.to_string())
    }

    /// Exactly these headers and bytes, and a `content-length` if no header says how the body ends.
    pub fn raw(status: u16, headers: &[(&str, &str)], bytes: impl AsRef<[u8]>) -> Reply {
        let reply = Reply::new(status, Body::Bytes(bytes.as_ref().to_vec()));
        headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
    }

    /// Exactly this event stream, in one chunk for each event.
    pub fn sse(events: &str) -> Reply {
        let events = events.split_inclusive("\n\n").map(str::to_owned).collect();
        Reply::stream(Body::Sse(events))
    }

    /// Closes the connection without an answer.
    pub fn close() -> Reply {
        Reply::new(200, Body::Nothing).then_close()
    }

    /// The reply that `compute` makes of the request. If it panics, that is a violation.
    pub fn with(compute: impl FnOnce(&Request) -> Reply + Send + 'static) -> Reply {
        Reply::new(200, Body::Computed(Box::new(compute)))
    }

    fn stream(body: Body) -> Reply {
        Reply::new(200, body)
            .header("content-type", "text/event-stream; charset=utf-8")
            .header("request-id", &unique_id("req_01"))
    }

    fn new(status: u16, body: Body) -> Reply {
        Reply {
            gate: None,
            status,
            headers: Vec::new(),
            body,
            holds: Vec::new(),
            split: None,
            cut: None,
            after: Connection::Keep,
        }
    }

    /// Another stop reason for a message.
    pub fn stop(mut self, reason: &str) -> Reply {
        self.scripted_message().stop_reason = Some(reason.to_owned());
        self
    }

    /// The usage at the end of a message; it begins with the same and one output token.
    pub fn usage(mut self, usage: Value) -> Reply {
        self.scripted_message().usage = usage;
        self
    }

    /// Sets a header, instead of the one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends nothing at all before the gate is open.
    pub fn gate(mut self, gate: &Gate) -> Reply {
        self.gate = Some(gate.clone());
        self
    }

    /// Stops in the stream, right behind the first event that contains `marker` (the name of an
    /// event, or a word of its text), until the gate is open.
    pub fn hold_after(mut self, marker: &str, gate: &Gate) -> Reply {
        self.holds.push((marker.to_owned(), gate.clone()));
        self
    }

    /// Cuts the body into pieces of so many bytes, each sent on its own.
    pub fn split_every(mut self, bytes: usize) -> Reply {
        self.split = Some(bytes);
        self
    }

    /// Sends only so many bytes of the body, then closes the connection.
    pub fn cut_after(mut self, bytes: usize) -> Reply {
        self.cut = Some(bytes);
        self
    }

    /// Answers in full and closes the connection, without having said so.
    pub fn then_close(mut self) -> Reply {
        self.after = Connection::Close;
        self
    }

    /// Computes what depends on the request. Panics if the script makes no sense.
    pub fn ready(self, request: &Request) -> Response {
        let (framing, pieces) = match self.body {
            Body::Message(message) => (Framing::Chunked, bytes_of(message.events(&request.body))),
            Body::Sse(events) => (Framing::Chunked, bytes_of(events)),
            Body::Bytes(bytes) => (Framing::Plain, vec![bytes]),
            Body::Nothing => return Response::nothing(self.gate),
            Body::Computed(compute) => {
                let mut reply = compute(request);
                reply.gate = reply.gate.or(self.gate);
                return reply.ready(request);
            }
        };
        let length = pieces.iter().map(Vec::len).sum();
        Response {
            gate: self.gate,
            head: head(self.status, &self.headers, framing, length),
            steps: steps(pieces, self.split, self.holds),
            framing,
            cut: self.cut,
            after: self.after,
        }
    }

    fn scripted_message(&mut self) -> &mut Message {
        match &mut self.body {
            Body::Message(message) => message,
            _ => panic!("only a reply made of blocks has a stop reason and usage"),
        }
    }
}

fn bytes_of(events: Vec<String>) -> Vec<Vec<u8>> {
    events.into_iter().map(String::into_bytes).collect()
}

fn steps(pieces: Vec<Vec<u8>>, split: Option<usize>, holds: Vec<(String, Gate)>) -> Vec<Step> {
    let mut holds = holds;
    let mut steps = Vec::new();
    for piece in pieces {
        let text = String::from_utf8_lossy(&piece);
        let passed = holds.extract_if(.., |(marker, _)| text.contains(marker.as_str()));
        let gates: Vec<Step> = passed.map(|(_, gate)| Step::Hold(gate)).collect();
        let size = split.unwrap_or(piece.len()).max(1);
        steps.extend(piece.chunks(size).map(|part| Step::Send(part.to_vec())));
        steps.extend(gates);
    }
    assert!(holds.is_empty(), "no event contains `{}` to hold behind", holds[0].0);
    steps
}
