//! Servers that lie about HTTP: without end, without measure, without sense. Each is found out in bounded time
//! and memory, with a sentence, and the session goes on with an honest one.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::support::{Test, reply::Reply};

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const OPEN: &str = "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";

/// In kilobytes: the longest reply is 64 MiB, of which there may be a few copies.
const MOST_MEMORY: u64 = 256 * 1024;

/// The address of a server that reads a request and then does as it likes.
fn server(lie: impl Fn(&mut TcpStream) -> io::Result<()> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The program may have heard enough.
            let _ = read_request(&stream).and_then(|()| lie(&mut stream));
        }
    });
    format!("http://{address}")
}

/// All of it: what is left unread when a connection is closed takes the answer with it.
fn read_request(stream: &TcpStream) -> io::Result<()> {
    let mut input = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        match line.trim().strip_prefix("content-length: ") {
            Some(text) => length = text.parse().unwrap(),
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    io::copy(&mut input.take(length), &mut io::sink()).map(drop)
}

/// Sends this and closes the connection.
fn once(answer: impl Into<Vec<u8>>) -> String {
    let answer = answer.into();
    server(move |stream| stream.write_all(&answer))
}

/// Sends a beginning, and then the same again and again.
fn endless(begin: &str, again: &str) -> String {
    let (begin, again) = (begin.to_owned(), again.repeat(65_536 / again.len() + 1));
    server(move |stream| {
        stream.write_all(begin.as_bytes())?;
        loop {
            stream.write_all(again.as_bytes())?;
        }
    })
}

/// The highest resident size that the process has had, in kilobytes, as far as it was seen before its end.
fn watch_memory(pid: i32) -> thread::JoinHandle<u64> {
    let peak = move || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    thread::spawn(move || {
        let mut most = 0;
        // A process that has ended has no memory any more.
        while let Some(now) = peak() {
            most = now;
            thread::sleep(Duration::from_millis(2));
        }
        most
    })
}

/// Runs the program, and then again in the same session with an honest server.
#[track_caller]
fn check_with(options: &[&str], url: &str, code: i32, expected: &str) {
    let test = Test::new().env("ANTHROPIC_BASE_URL", url).args(options);
    let mut session = test.print("go").spawn();
    session.close_stdin();
    let memory = watch_memory(session.pid().as_raw_pid());
    let finished = session.wait().code(code).stderr_contains(expected);
    let (said, memory) = (&finished.stderr, memory.join().unwrap());
    assert!(said.len() < 1000 && said.lines().count() == 1, "{said}");
    assert!(memory < MOST_MEMORY, "{memory} KB: {said}");
    let honest = finished.again().arg("-c").print("go on");
    honest.reply(Reply::text("fine")).run().code(0).stdout("fine\n");
}

/// The lie is found out, and said in this sentence.
#[track_caller]
fn check(url: &str, expected: &str) {
    check_with(&["--max-retries=0"], url, 3, expected);
}

#[test]
fn headers_without_end_are_refused() {
    const TOO_BIG: &str = "response header is too big";
    check(&endless("HTTP/1.1 200 OK\r\nx: ", "a"), TOO_BIG);
    check(&endless("HTTP/1.1 200 OK\r\n", "x: y\r\n"), "too many headers");
    check(&endless("", "HTTP/1.1 100 Continue\r\n\r\n"), TOO_BIG);
    check(&endless("HTTP/1.1 ", "2"), "invalid response status");
}

/// Sends the beginning of a reply, then this again and again, too often for a silence and too slowly for a flood.
fn dripping(begin: &'static str, drop: &'static str) -> String {
    server(move |stream| {
        stream.write_all(begin.as_bytes())?;
        loop {
            stream.write_all(drop.as_bytes())?;
            thread::sleep(Duration::from_millis(20));
        }
    })
}

#[test]
fn a_head_that_drips_is_given_up_as_a_silent_one_is() {
    let patience = ["--max-retries=0", "--idle-timeout=1"];
    for (begin, drop) in [("HTTP/1.1 200 OK\r\nx: ", "a"), ("", "HTTP/1.1 103 Early Hints\r\n\r\n")] {
        let url = dripping(begin, drop);
        check_with(&patience, &url, 3, "timeout: receive response");
    }
}

#[test]
fn pings_without_end_are_ended_by_the_limit_on_time() {
    let url = dripping(STREAM, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    check_with(&["--max-time=1"], &url, 4, "--max-time");
    let url = endless(&format!("{CHUNKED}0\r\n"), "x: y\r\n");
    check_with(&["--max-time=1"], &url, 4, "--max-time");
}

#[test]
fn pings_alone_keep_a_reply_for_six_silences_only() {
    let url = dripping(STREAM, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    let given_up = "the reply broke off: nothing but signs of life for 12 s";
    check_with(&["--max-retries=0", "--idle-timeout=2"], &url, 3, given_up);
}

#[test]
fn a_server_that_takes_no_request_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    Test::new()
        .env("ANTHROPIC_BASE_URL", url)
        .args(["--max-retries=0", "--idle-timeout=1", "-p"])
        .stdin(&"much to take ".repeat(1_000_000))
        .run()
        .code(3)
        .stderr_contains("timeout: per write");
}

/// An event with more of a block.
fn delta(kind: &str, field: &str, length: usize) -> String {
    let text = "a".repeat(length);
    format!(
        "data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"{kind}\",\"{field}\":\"{text}\"}}}}\n\n"
    )
}

#[test]
fn a_block_without_end_is_refused() {
    for (block, kind, field) in [
        ("text", "text_delta", "text"),
        ("thinking", "thinking_delta", "thinking"),
        ("tool_use", "input_json_delta", "partial_json"),
        ("text", "new_delta", "news"),
    ] {
        let begin =
            format!("{STREAM}{}", OPEN.replace("\"type\":\"text\"", &format!("\"type\":\"{block}\"")));
        check(&endless(&begin, &delta(kind, field, 4000)), "64 MiB");
    }
}

#[test]
fn a_stream_without_end_is_refused_whatever_it_is_made_of() {
    let long = "a".repeat(4000);
    for line in [
        "data: ".to_owned() + &long,
        format!("data: {long}\n"),
        format!(": {long}\n"),
        format!("event: {long}\n\n"),
        format!("data: {{\"type\":\"{long}\"}}\n\n"),
    ] {
        check(&endless(STREAM, &line), "64 MiB");
    }
    let begin = OPEN.replace(":\"\"", &format!(":\"{long}\""));
    check(&endless(STREAM, &begin), "more than 10,000 blocks");
}

#[test]
fn a_body_without_end_is_refused() {
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"content\":[\"";
    check(&endless(json, "a"), "64 MiB");
    let error = "HTTP/1.1 400 Bad Request\r\n\r\n{\"error\": \"";
    check(&endless(error, "a"), "the API answered 400");
    let error = "HTTP/1.1 400 Bad Request\r\ntransfer-encoding: chunked\r\n\r\n";
    check(&endless(error, "4\r\nabcd\r\n"), "the API answered 400");
    check(&endless(CHUNKED, "1;"), "body data reading stalled");
}

#[test]
fn a_length_that_is_a_lie_is_a_reply_that_broke_off() {
    let body = "data: {\"type\":\"ping\"}\n\n";
    for (length, expected) in [
        ("1000", "the reply broke off"),
        ("9223372036854775807", "the reply broke off"),
        ("18", "a part of it is not JSON"),
        ("-1", "content-length header not a number"),
        ("99999999999999999999", "content-length header not a number"),
        ("3\r\ncontent-length: 4", "conflicting content-length"),
    ] {
        let head = STREAM.trim_end();
        let url = once(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}"));
        check(&url, expected);
    }
    for (chunk, expected) in [
        ("zz\r\n", "chunk length cannot be read"),
        ("-1\r\n", "chunk length cannot be read"),
        ("fffffffffffffffff\r\n", "chunk length cannot be read"),
        ("ffffffffffffffff\r\ndata: 1\n\n", "the reply broke off"),
    ] {
        check(&once(format!("{CHUNKED}{chunk}")), expected);
    }
}

#[test]
fn what_is_no_http_is_an_error() {
    for (answer, expected) in [
        ("", "Peer disconnected"),
        ("\x15\x03\x01\0\x02\x02\x28", "http parse fail"),
        ("HTTP/9.9 200 OK\r\n\r\n", "http parse fail"),
        ("HTTP/1.1 000 -\r\n\r\n", "http parse fail"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "http parse fail"),
        ("HTTP/1.1 999 -\r\n\r\n", "the API answered 999"),
        ("HTTP/1.1 204 -\r\n\r\n", "the API answered 204"),
        ("HTTP/1.1 200 OK\r\n\r\n<html>Log in</html>", "it is a page"),
    ] {
        check(&once(answer), expected);
    }
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>";
    check(&once(html), "its content type is `text/html`");
}

#[test]
fn a_stream_over_http_1_0_ends_with_its_connection() {
    let text = "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n";
    let stream = format!("{}{OPEN}{text}", STREAM.replace("1.1", "1.0"));
    check(&once(&*stream), "the stream ended before `message_stop`");
    let url = once(format!("{stream}data: {{\"type\":\"message_stop\"}}\n\n"));
    let test = Test::new().env("ANTHROPIC_BASE_URL", url);
    test.print("go").run().code(0).stdout("hello\n");
}

#[test]
fn a_redirection_takes_no_key_along() {
    let (sender, received) = mpsc::channel();
    let elsewhere = server(move |stream| {
        let _ = sender.send(());
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")
    });
    for status in [301, 302, 303, 307, 308] {
        let url = once(format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: {elsewhere}/v1/messages\r\ncontent-length: 0\r\n\r\n"
        ));
        check(&url, "redirects are not followed");
    }
    assert!(received.try_recv().is_err(), "nobody came there");
}

#[test]
fn what_was_packed_without_being_asked_for_is_not_unpacked() {
    let zeros = Command::new("sh")
        .args(["-c", "head -c 500000000 /dev/zero | gzip"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let head = STREAM.trim_end();
    let mut answer = format!("{head}\r\ncontent-encoding: gzip\r\n\r\n").into_bytes();
    answer.extend(zeros.stdout);
    check(&once(answer), "its content encoding is `gzip`");
}

#[test]
fn records_on_a_terminal_are_not_obeyed_and_stay_json() {
    let evil = "\u{1b}]0;t\u{7}\u{9b}2J\u{7f}\u{202e}\u{2028}\u{e9}";
    for format in ["json", "stream-json"] {
        let session = Test::new()
            .args(["--quiet", "--output-format", format])
            .print("go")
            .reply(Reply::text(evil))
            .spawn_pty();
        let finished = session.wait().code(0);
        let obeyed = |c: char| c.is_control() && !"\r\n".contains(c) || "\u{202e}\u{2028}".contains(c);
        assert!(!finished.stdout.contains(obeyed), "{:?}", finished.stdout);
        let last = finished.stdout.lines().last().unwrap();
        let record: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(record["result"], evil);
    }
}
