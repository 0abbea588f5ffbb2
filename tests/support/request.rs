//! A request as the server saw it, and how it is read from the wire.

use std::io::{self, BufRead};

use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// `Null` if it was not JSON.
    pub body: Value,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Request {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    #[track_caller]
    pub fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().expect("the request has messages")
    }

    /// The blocks of the last message; a string counts as one text block.
    #[track_caller]
    pub fn last_content(&self) -> Vec<Value> {
        let content = &self.messages().last().expect("the request has a message")["content"];
        match content {
            Value::Array(blocks) => blocks.clone(),
            text => vec![json!({"type": "text", "text": text})],
        }
    }

    /// The text blocks of the last message, joined with line ends.
    #[track_caller]
    pub fn last_text(&self) -> String {
        joined_text(&self.last_content())
    }

    /// The names of the tools that the model may call.
    #[track_caller]
    pub fn tool_names(&self) -> Vec<&str> {
        let tools = self.body["tools"].as_array().expect("the request has tools");
        tools.iter().map(|tool| tool["name"].as_str().expect("a tool has a name")).collect()
    }

    /// Text and `is_error` of the tool result number `n` (from 0) in the last message.
    #[track_caller]
    pub fn tool_result(&self, n: usize) -> (String, bool) {
        let blocks = self.last_content();
        let mut results = blocks.iter().filter(|block| block["type"] == "tool_result");
        let Some(result) = results.nth(n) else {
            panic!("no tool result {n} in the last message:\n{:#}", json!(blocks));
        };
        let text = match &result["content"] {
            Value::String(text) => text.clone(),
            Value::Array(parts) => joined_text(parts),
            _ => String::new(),
        };
        (text, result["is_error"] == true)
    }

    /// Reads one request; `None` when the client has closed the connection.
    pub fn read(input: &mut impl BufRead, connection: usize) -> io::Result<Option<Request>> {
        let Some(first) = read_line(input)? else {
            return Ok(None);
        };
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(invalid("request line", &first));
        };
        let headers = read_headers(input)?;
        let bytes = read_body(input, &headers)?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Some(Request { method, path, headers, body, connection }))
    }
}

/// The first header of this (lower-case) name.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn joined_text(blocks: &[Value]) -> String {
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    texts.join("\n")
}

fn read_headers(input: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("header", &line))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_body(input: &mut impl BufRead, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
    if header(headers, "transfer-encoding") == Some("chunked") {
        return read_chunks(input);
    }
    let length = header(headers, "content-length").unwrap_or("0");
    let length = length.parse().map_err(|_| invalid("content-length", length))?;
    read_exactly(input, length)
}

fn read_chunks(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| invalid("chunk size", &line))?;
        body.extend(read_exactly(input, size)?);
        // The empty line behind a chunk, and behind the last one the end of the (absent) trailers.
        read_line(input)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn read_exactly(input: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A line without its line end; `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn invalid(what: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("bad {what}: `{text}`"))
}
