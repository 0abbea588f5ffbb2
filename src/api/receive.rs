//! Reads a response to its end: an event stream, a whole message, or an error.

use std::io::{self, Read};

use crossbeam_channel::Sender;
use serde_json::Value;

use super::fold::Fold;
use super::reply::{Reply, api_error, excerpt};
use super::response::Response;
use super::{retry, sse};
use crate::error::{Error, Result};

/// An error's body is a short JSON text, but a proxy may send any page. In bytes.
const LONGEST_ERROR: u64 = 1024 * 1024;
/// A reply that is not streamed, in bytes.
const LONGEST_MESSAGE: u64 = 64 * 1024 * 1024;

/// What a request sends to its caller: any number of texts, then how it ended.
#[derive(Debug)]
pub enum Progress {
    Text(String),
    Ended(Result<Reply>),
}

/// Returns the reply; its text goes to `progress` as it arrives. Fails if the status is not 200, if the body is
/// no reply of the API or breaks off, and if nobody receives the progress any more.
pub fn receive(response: &mut Response, progress: &Sender<Progress>) -> Result<Reply> {
    if response.status != 200 {
        return Err(error_response(response));
    }
    let content_type = response.header("content-type").unwrap_or_default();
    if content_type.contains("application/json") {
        return whole_message(response, progress);
    }
    if !content_type.is_empty() && !content_type.contains("text/event-stream") {
        return Err(Error::Protocol(format!("its content type is `{}`", excerpt(content_type))));
    }
    stream(response, progress)
}

fn stream(response: &mut Response, progress: &Sender<Progress>) -> Result<Reply> {
    let mut decoder = sse::Decoder::default();
    let mut fold = Fold::default();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = match response.body.read(&mut buffer) {
            Ok(n) => n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(Error::CutOff(err.to_string())),
        };
        // One text for all events of one read.
        let mut text = String::new();
        let mut is_whole = Ok(false);
        let take = |data: &str| {
            if let Ok(false) = is_whole {
                is_whole = fold.event(data, &mut text);
            }
        };
        match read {
            0 => std::mem::take(&mut decoder).finish(take),
            n => decoder.feed(&buffer[..n], take)?,
        }
        if !text.is_empty() && progress.send(Progress::Text(text)).is_err() {
            return Err(Error::Protocol("nobody receives the reply any more".into()));
        }
        if is_whole? || read == 0 {
            return fold.finish();
        }
    }
}

fn whole_message(response: &mut Response, progress: &Sender<Progress>) -> Result<Reply> {
    let body = (&mut response.body).take(LONGEST_MESSAGE);
    let text = io::read_to_string(body).map_err(|err| Error::CutOff(err.to_string()))?;
    let message = serde_json::from_str(&text)
        .map_err(|err| Error::Protocol(format!("it is not JSON ({err}): {}", excerpt(&text))))?;
    let reply = Fold::message(message)?;
    let _ = progress.send(Progress::Text(reply.said.clone()));
    Ok(reply)
}

/// The error in a response whose status is not 200.
fn error_response(response: &mut Response) -> Error {
    let status = response.status;
    let should_retry = response.header("x-should-retry").and_then(|value| value.parse().ok());
    let retry_after = response.header("retry-after").and_then(retry::retry_after);
    let in_header = response.header("request-id").map(str::to_owned);
    let mut bytes = Vec::new();
    let _ = (&mut response.body).take(LONGEST_ERROR).read_to_end(&mut bytes);
    let body = String::from_utf8_lossy(&bytes);
    let error = serde_json::from_str::<Value>(&body).map(|body| api_error(&body));
    let (kind, message, in_body) = match error {
        Ok(Error::Api { kind, message, request_id, .. }) if kind != "unknown" => (kind, message, request_id),
        // A proxy's page, or nothing.
        _ => ("error".into(), excerpt(&body), None),
    };
    Error::Api {
        status,
        kind,
        message,
        request_id: in_body.or(in_header),
        retry: should_retry.unwrap_or(retry::status_may_pass(status)),
        retry_after,
    }
}
