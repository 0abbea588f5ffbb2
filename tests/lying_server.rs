//! Servers that lie: without end, without measure, without sense. Each is found out in bounded memory, with a sentence.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::json;

use crate::support::{Test, finished::Finished, reply::Reply, stream::Block};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// The address of a server that reads a request and then does as it likes.
fn server(lie: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines.find(|line| line.as_ref().is_ok_and(String::is_empty));
            // The program may have heard enough.
            let _ = lie(&mut stream);
        }
    });
    format!("http://{address}")
}

/// Sends a beginning, and then the same again and again.
fn endless(begin: &'static str, again: String) -> String {
    server(move |stream| {
        stream.write_all(begin.as_bytes())?;
        loop {
            stream.write_all(again.as_bytes())?;
        }
    })
}

/// Runs the program in a gigabyte of address space and returns its exit code and what it says.
fn run(url: &str, options: &[&str]) -> (Option<i32>, String) {
    let test = Test::new();
    let program = test.command();
    let output = Command::new("/bin/sh")
        .args(["-c", "ulimit -v 1000000; exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(["-p", "go", "--max-retries=0"])
        .args(options)
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("ANTHROPIC_BASE_URL", url)
        .current_dir(test.workspace())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[track_caller]
fn check(url: &str, expected: &str) {
    let (code, said) = run(url, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(expected), "`{expected}` is not in: {said}");
    assert!(said.len() < 2000 && said.lines().count() == 1, "{said}");
}

#[test]
fn headers_without_end_are_refused() {
    check(&endless("HTTP/1.1 200 OK\r\nx: ", "a".repeat(4096)), "");
    check(&endless("HTTP/1.1 200 OK\r\n", "x: y\r\n".repeat(1000)), "");
}

#[test]
fn a_reply_without_end_is_refused() {
    let text = "a".repeat(256 * 1024);
    let delta = format!(
        "data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
    );
    let begin = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
    check(&endless(begin, delta), "64 MiB");
    check(
        &endless(OK, "data: aaaaaaaaaaaaaaaa".repeat(4096)),
        "64 MiB",
    );
}

#[test]
fn an_error_without_end_is_cut() {
    let begin = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\r\n{\"error\": \"";
    check(&endless(begin, "a".repeat(65_536)), "the API answered 400");
}

#[test]
fn pings_without_end_are_ended_by_the_limit_on_time() {
    let url = server(|stream| {
        stream.write_all(OK.as_bytes())?;
        loop {
            stream.write_all(b"event: ping\ndata: {\"type\":\"ping\"}\n\n")?;
            stream.flush()?;
            thread::sleep(Duration::from_millis(20));
        }
    });
    let (code, said) = run(&url, &["--max-time", "1"]);
    assert_eq!(code, Some(4), "{said}");
}

#[test]
fn a_length_that_is_a_lie_is_a_reply_that_broke_off() {
    let body = "data: {\"type\":\"ping\"}\n\n";
    let lies = [
        (body.len() + 1000, "the reply broke off"),
        (body.len() - 5, "an event is not JSON"),
    ];
    for (length, expected) in lies {
        let url = server(move |stream| {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}"
            )
        });
        check(&url, expected);
    }
}

#[test]
fn a_redirection_takes_no_key_along() {
    let (sender, received) = mpsc::channel();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let mut request = [0; 4096];
        let count = stream.read(&mut request).unwrap_or(0);
        let _ = sender.send(request[..count].to_vec());
    });
    for status in [301, 302, 307, 308] {
        let url = server(move |stream| {
            write!(
                stream,
                "HTTP/1.1 {status} Elsewhere\r\nlocation: http://{address}/v1/messages\r\ncontent-length: 0\r\n\r\n"
            )
        });
        check(&url, "it points somewhere else, which is not followed");
    }
    assert!(received.try_recv().is_err(), "nobody came there");
}

#[test]
fn an_encoding_that_was_not_asked_for_is_an_error() {
    let url = server(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n")?;
        stream.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])
    });
    check(&url, "");
}

/// Runs a reply and expects that it is refused.
#[track_caller]
fn check_stream(events: &str) -> Finished {
    Test::new()
        .arg("--max-retries=0")
        .print("go")
        .reply(Reply::sse(events))
        .run()
        .code(3)
}

#[test]
fn events_without_sense_are_refused() {
    let start = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"m\",\"usage\":{\"input_tokens\":18446744073709551615,\"output_tokens\":-1}}}\n\n";
    let odd = [
        "{\"type\":\"content_block_delta\",\"index\":7,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}",
        "{\"type\":\"content_block_start\",\"index\":-1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
        "{\"type\":\"content_block_start\",\"index\":18446744073709551615,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
        "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":[]}",
        "{\"type\":\"message_delta\",\"delta\":7,\"usage\":[]}",
        "[]",
        "7",
        "\"text\"",
        "null",
        "{",
    ];
    for event in odd {
        check_stream(&format!("{start}data: {event}\n\n"));
    }
}

#[test]
fn deep_nesting_overflows_no_stack() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let finished = Test::new()
        .print("go")
        .reply(Reply::error(400, "x", "y").header("content-type", "application/json"))
        .run()
        .code(3);
    finished.stderr_contains("the API answered 400");
    Test::new()
        .print("go")
        .reply(Reply::raw(
            400,
            &[("content-type", "application/json")],
            &deep,
        ))
        .run()
        .code(3)
        .stderr_contains("the API answered 400");
    let input = format!("{{\"command\":{deep}}}").replace('"', "\\\"");
    let call = format!(
        "data: {{\"type\":\"message_start\",\"message\":{{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"m\",\"usage\":{{\"input_tokens\":1,\"output_tokens\":1}}}}}}\n\n\
         data: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"bash\",\"input\":{{}}}}}}\n\n\
         data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"input_json_delta\",\"partial_json\":\"{input}\"}}}}\n\n\
         data: {{\"type\":\"content_block_stop\",\"index\":0}}\n\n\
         data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"tool_use\"}},\"usage\":{{\"output_tokens\":9}}}}\n\n\
         data: {{\"type\":\"message_stop\"}}\n\n"
    );
    let finished = Test::new()
        .print("go")
        .reply(Reply::sse(&call))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    let (result, is_error) = finished.request(1).tool_result(0);
    assert!(is_error && result.contains("is no JSON object"), "{result}");
}

#[test]
fn names_of_tools_and_files_are_shown_and_not_obeyed() {
    let evil = "\u{1b}]52;c;ZXZpbA==\u{7}\u{9b}2J\u{202e}";
    let mut session = Test::new()
        .env("TERM", "xterm")
        .reply(Reply::message(vec![
            Block::text(evil),
            Block::tool(evil, json!({"path": evil})),
            Block::tool(
                "write_file",
                json!({"path": format!("{evil}.txt"), "content": evil}),
            ),
            Block::tool("bash", json!({"command": format!("printf '%s' '{evil}'")})),
            Block::tool(
                "background_run",
                json!({"command": format!("echo '{evil}'; exit 3")}),
            ),
        ]))
        .reply(Reply::text(evil))
        .allow_unused()
        .reply(Reply::text("The end."))
        .spawn_pty();
    session.shows("meanwhile >");
    session.send("go\r");
    session.shows("completed (exit 3");
    session.shows("The end.");
    session.send("/tasks\r/last\r/save x\r");
    session.shows("Written to x.");
    session.send("\u{4}");
    let finished = session.wait().code(0);
    for obeyed in ["\u{1b}]", "\u{9b}", "\u{202e}", "\u{7}"] {
        assert!(!finished.stdout.contains(obeyed), "{obeyed:?}");
    }
    assert!(finished.stdout.contains("\\u{1b}]52;c;"));
}

#[test]
fn records_on_a_terminal_are_not_obeyed_and_stay_json() {
    let evil = "\u{1b}]0;t\u{7}\u{9b}2J\u{7f}\u{202e}\u{e9}";
    for format in ["json", "stream-json"] {
        let session = Test::new()
            .args(["--quiet", "--output-format", format])
            .print("go")
            .reply(Reply::text(evil))
            .spawn_pty();
        let finished = session.wait().code(0);
        let obeyed = |c: char| c.is_control() && !"\r\n".contains(c) || c == '\u{202e}';
        assert!(!finished.stdout.contains(obeyed), "{:?}", finished.stdout);
        let last = finished.stdout.lines().last().unwrap();
        let record: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(record["result"], evil);
    }
}
