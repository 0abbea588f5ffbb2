//! Reads a response to its end: an event stream, a whole message, or an error.

use std::io::{self, Read};
use std::time::Instant;

use crossbeam_channel::Sender;
use serde_json::Value;

use super::fold::{Fold, Shown};
use super::rejection;
use super::reply::{Reply, api_error, excerpt};
use super::response::Response;
use super::{retry, sse};
use crate::error::{Error, Result};
use crate::text;

/// An error's body is a short JSON text, but a proxy may send any page. In bytes.
const LONGEST_ERROR: u64 = 1024 * 1024;
/// No model writes so much in one reply. Without a limit, a server could send comments forever. In bytes.
const LONGEST_REPLY: usize = 64 * 1024 * 1024;

/// What a request sends to its caller: what is to be shown of the reply, any number of times, then how it ended.
#[derive(Debug)]
pub enum Progress {
    More(Shown),
    Ended(Result<Reply>),
}

/// Returns the reply; its thinking and its text go to `progress` as they arrive. Fails if the status is not that of a
/// success, if the body is no reply of the API or breaks off, and if nobody receives the progress any more.
pub fn receive(response: &mut Response, progress: &Sender<Progress>) -> Result<Reply> {
    // 201 and 203 come from gateways: 203 says that they have changed something.
    if !matches!(response.status, 200 | 201 | 203) {
        return Err(error_response(response));
    }
    let (fold, form) = (Fold::default(), Form::Unknown);
    let mut reader = Reader { head: head(response), fold, form, size: 0, has_events: false };
    let mut buffer = [0; 16 * 1024];
    let (mut news, mut since) = (0, Instant::now());
    loop {
        let read = match response.body.read(&mut buffer) {
            Ok(n) => n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) if reader.fold.has_ended() => 0,
            Err(err) => return Err(Error::CutOff(err.to_string())),
        };
        // One text for all events of one read.
        let mut shown = Shown::default();
        let is_whole = reader.take(&buffer[..read], &mut shown);
        if shown != Shown::default() && progress.send(Progress::More(shown)).is_err() {
            return Err(Error::Protocol("nobody receives the reply any more".into()));
        }
        if is_whole? || read == 0 {
            return reader.fold.finish();
        }
        if reader.fold.news() > news {
            (news, since) = (reader.fold.news(), Instant::now());
        } else if since.elapsed() > response.patience {
            let time = text::duration(response.patience);
            return Err(Error::CutOff(format!("nothing but signs of life for {time}")));
        }
    }
}

/// A body that is being read.
struct Reader {
    /// What the head says of the body, for errors.
    head: String,
    fold: Fold,
    form: Form,
    /// How many bytes have come.
    size: usize,
    /// An event has come, of whatever kind.
    has_events: bool,
}

/// What the body turned out to be. Servers name the wrong content type, so its beginning tells.
enum Form {
    /// It is blank so far.
    Unknown,
    /// With the first bytes.
    Events(sse::Decoder, Vec<u8>),
    /// A whole message, or events one after another.
    Json(Vec<u8>),
}

impl Reader {
    /// Takes the next bytes; no bytes are the end. Returns whether the reply is whole. Fails if the body holds nothing
    /// that looks like a reply.
    fn take(&mut self, bytes: &[u8], shown: &mut Shown) -> Result<bool> {
        self.size += bytes.len();
        if self.size > LONGEST_REPLY {
            return Err(Error::Protocol("it is longer than 64 MiB".into()));
        }
        if let Form::Unknown = self.form {
            self.form = self.form_of(bytes)?;
        }
        let mut is_whole = Ok(false);
        let each = |name: &str, data: &str| {
            self.has_events = true;
            if let Ok(false) = is_whole {
                is_whole = self.fold.event(name, data, shown);
            }
        };
        match (&mut self.form, bytes) {
            (Form::Unknown, []) => return Err(Error::CutOff("it is empty".into())),
            (Form::Unknown, _) => {}
            (Form::Json(whole), []) => {
                let whole = String::from_utf8_lossy(whole);
                is_whole = self.fold.event("", whole.trim_start_matches('\u{feff}'), shown);
            }
            (Form::Json(whole), _) => whole.extend_from_slice(bytes),
            (Form::Events(decoder, begin), []) => {
                decoder.finish(each);
                let is_begun = |field: &&[u8]| begin.starts_with(field) || field.starts_with(begin);
                if !self.has_events && ![&b"event"[..], b"data", b"id", b"retry", b":"].iter().any(is_begun) {
                    let text = format!("it holds no event{}{}", self.head, beginning(begin));
                    return Err(Error::Protocol(text));
                }
            }
            (Form::Events(decoder, _), _) => decoder.feed(bytes, each),
        }
        is_whole
    }

    fn form_of(&self, begin: &[u8]) -> Result<Form> {
        let rest = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin).trim_ascii_start();
        let fault = |what: &str| Err(Error::Protocol(format!("{what}{}{}", self.head, beginning(rest))));
        match rest {
            [] => Ok(Form::Unknown),
            [b'{' | b'[', ..] => Ok(Form::Json(Vec::new())),
            [b'<', ..] => fault("it is a page, not a reply"),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] => fault("it is not UTF-8"),
            [0x1f, 0x8b, ..] => fault("it is compressed, which nobody has asked for"),
            _ => Ok(Form::Events(sse::Decoder::default(), rest.to_vec())),
        }
    }
}

/// The beginning of a body, for errors. Nothing if it is no text.
fn beginning(bytes: &[u8]) -> String {
    let is_text = bytes.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace());
    if is_text { format!(": {}", excerpt(&String::from_utf8_lossy(bytes))) } else { String::new() }
}

/// What the head says of how to read the body. It may be a lie: proxies unpack a body and keep its header.
fn head(response: &Response) -> String {
    let named = [("content-type", "content type"), ("content-encoding", "content encoding")];
    let said = named.into_iter().filter_map(|(header, name)| Some((name, response.header(header)?)));
    said.map(|(name, value)| format!("; its {name} is `{}`", excerpt(value))).collect()
}

/// The error in a response whose status is not 200.
pub fn error_response(response: &mut Response) -> Error {
    let status = response.status;
    let should_retry = response.header("x-should-retry").and_then(|value| value.parse().ok());
    let retry_after = response.header("retry-after").and_then(retry::retry_after);
    let in_header = response.header("request-id").map(str::to_owned);
    let mut bytes = Vec::new();
    let _ = (&mut response.body).take(LONGEST_ERROR).read_to_end(&mut bytes);
    let body = String::from_utf8_lossy(&bytes);
    let value = serde_json::from_str::<Value>(&body).unwrap_or_else(|_| body.as_ref().into());
    let rejection = rejection::of(status, &value);
    let (kind, message, in_body) = match api_error(&value) {
        Error::Api { kind, message, request_id, .. } if kind != "unknown" => (kind, message, request_id),
        // A proxy's page, or nothing.
        _ => ("error".into(), excerpt(&body), None),
    };
    Error::Api {
        status,
        kind,
        message,
        request_id: in_body.or(in_header),
        retry: rejection.is_none() && should_retry.unwrap_or(retry::status_may_pass(status)),
        retry_after,
        rejection,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::super::response::Body;
    use super::*;
    use crate::secrets::Secrets;

    /// A body that brings one piece with each read.
    struct Pieces(VecDeque<&'static str>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.pop_front().unwrap_or_default().as_bytes().read(buffer)
        }
    }

    /// What comes of these pieces if each has to bring more than a sign of life.
    fn without_patience(pieces: &[&'static str]) -> Result<Reply> {
        let body = Body::new(Pieces(pieces.iter().copied().collect()), &Secrets::default());
        let mut response = Response { status: 200, headers: Vec::new(), body, patience: Duration::ZERO };
        let (progress, _receiver) = crossbeam_channel::bounded(64);
        receive(&mut response, &progress)
    }

    #[test]
    fn signs_of_life_alone_keep_no_reply_and_news_do() {
        const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
        const START: &str = "data: {\"type\":\"message_start\",\"message\":{}}\n\n";
        const THOUGHT: &str = "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"a\"}}\n\n";
        const STOP: &str = "data: {\"type\":\"message_stop\"}\n\n";
        assert!(without_patience(&[START, THOUGHT, THOUGHT, STOP]).is_ok());
        for alive in [PING, ": alive\n\n", "\n", "event: ping\n"] {
            let err = without_patience(&[START, THOUGHT, alive, STOP]).unwrap_err().to_string();
            assert_eq!(err, "the reply broke off: nothing but signs of life for 0.0 s");
        }
    }
}
