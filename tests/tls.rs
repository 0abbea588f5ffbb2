//! Servers that are not who they say they are: their certificate is refused, and they get no request. No switch
//! turns that off.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use rcgen::{CertificateParams, date_time_ymd};
use rustls::{ServerConnection, StreamOwned};

use crate::{
    support::{
        Test,
        finished::Finished,
        tls::{named, server_config},
        wait_until,
    },
    terminal::at_prompt,
};

const EVENTS: &str = "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"hello\"}}\n\n\
    data: {\"type\":\"message_stop\"}\n\n";

/// A server with TLS: its address, its certificate (PEM), and what it could read on each connection.
struct Secure {
    url: String,
    certificate: String,
    received: Arc<Mutex<Vec<String>>>,
}

impl Secure {
    fn start(params: CertificateParams) -> Secure {
        let (config, certificate) = server_config(params);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut client = StreamOwned::new(connection, client);
                let nth = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(String::new());
                    kept.len() - 1
                };
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    let mut buffer = [0; 64 * 1024];
                    let mut request = String::new();
                    while let Ok(n @ 1..) = client.read(&mut buffer) {
                        let piece = String::from_utf8_lossy(&buffer[..n]);
                        request.push_str(&piece);
                        kept.lock().unwrap()[nth].push_str(&piece);
                        let Some(answer) = answer(&request) else {
                            continue;
                        };
                        request.clear();
                        client.write_all(answer.as_bytes()).unwrap();
                        client.flush().unwrap();
                    }
                });
            }
        });
        Secure { url, certificate, received }
    }

    /// One task, with these certificates to trust.
    fn ask(&self, trusted: Option<&str>) -> Finished {
        let test = Test::new().env("ANTHROPIC_BASE_URL", &self.url).print("go");
        match trusted {
            Some(pem) => test.file("ca.pem", pem).env("SSL_CERT_FILE", "ca.pem"),
            None => test,
        }
        .run()
    }

    /// Refused at once, with these words, and without a byte of a request.
    #[track_caller]
    fn check_refused(&self, trusted: Option<&str>, expected: &str) {
        let finished = self.ask(trusted).code(3).stderr_contains(expected);
        finished.stderr_lacks("trying again");
        assert!(self.received.lock().unwrap().concat().is_empty());
    }
}

/// What a whole request is answered.
fn answer(request: &str) -> Option<String> {
    let length = EVENTS.len();
    if request.starts_with("HEAD") && request.ends_with("\r\n\r\n") {
        return Some("HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 9\r\n\r\n".into());
    }
    // The last message, and with it the request, ends so.
    request.ends_with("}]}]}").then(|| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{EVENTS}"
        )
    })
}

#[test]
fn a_certificate_that_is_trusted_and_has_the_right_name_is_taken() {
    let server = Secure::start(named("127.0.0.1"));
    server.ask(Some(&server.certificate)).code(0).stdout("hello\n");
    let received = server.received.lock().unwrap().concat();
    assert!(received.contains("x-api-key: test-key"), "{received}");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let server = Secure::start(named("127.0.0.1"));
    server.check_refused(None, "UnknownIssuer");
    let other = Secure::start(named("127.0.0.1"));
    server.check_refused(Some(&other.certificate), "invalid peer certificate");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    for name in ["api.anthropic.com", "localhost", "127.0.0.2", "*.0.0.1"] {
        let server = Secure::start(named(name));
        server.check_refused(Some(&server.certificate), "not valid for");
    }
}

#[test]
fn a_certificate_that_is_out_of_date_is_refused() {
    let mut expired = named("127.0.0.1");
    expired.not_before = date_time_ymd(2000, 1, 1);
    expired.not_after = date_time_ymd(2001, 1, 1);
    let server = Secure::start(expired);
    server.check_refused(Some(&server.certificate), "expired");
    let mut early = named("127.0.0.1");
    early.not_before = date_time_ymd(3000, 1, 1);
    early.not_after = date_time_ymd(3001, 1, 1);
    let server = Secure::start(early);
    server.check_refused(Some(&server.certificate), "not valid yet");
}

#[test]
fn no_switch_turns_it_off() {
    let help = Test::new().arg("--help").run().code(0).stdout;
    for word in ["insecure", "verify", "skip-tls", "no-check"] {
        assert!(!help.contains(word), "{word}");
    }
    let server = Secure::start(named("127.0.0.1"));
    for option in ["--insecure", "-k", "--no-verify", "--no-check-certificate"] {
        let test = Test::new().env("ANTHROPIC_BASE_URL", &server.url);
        test.arg(option).print("go").run().code(2);
    }
    let variables = [
        ("NODE_TLS_REJECT_UNAUTHORIZED", "0"),
        ("PYTHONHTTPSVERIFY", "0"),
        ("GIT_SSL_NO_VERIFY", "1"),
        ("SSL_CERT_DIR", "/"),
        ("SSL_CERT_FILE", ""),
    ];
    let test = Test::new().env("ANTHROPIC_BASE_URL", &server.url);
    let test = variables.iter().fold(test, |test, (name, value)| test.env(name, value));
    test.print("go").run().code(3);
    assert!(server.received.lock().unwrap().concat().is_empty());
}

#[test]
fn the_connection_is_opened_while_the_user_types() {
    let server = Secure::start(named("127.0.0.1"));
    let test = Test::new()
        .env("ANTHROPIC_BASE_URL", &server.url)
        .file("ca.pem", &server.certificate)
        .env("SSL_CERT_FILE", "ca.pem");
    let mut session = at_prompt(test);
    assert!(server.received.lock().unwrap().is_empty());
    session.send("h");
    wait_until("the connection is there", || {
        let received = server.received.lock().unwrap();
        received.concat().ends_with("\r\n\r\n")
    });
    for (n, line) in [(1, "i\r"), (2, "again\r")] {
        session.send(line);
        session.shows_that("the answers and a prompt", |screen| {
            screen.matches("tokens in").count() == n && screen.ends_with("meanwhile >")
        });
    }
    session.send("\x04");
    session.wait().code(0);
    let received = server.received.lock().unwrap();
    // The question about the model has a connection of its own.
    let is_question = |received: &&String| received.starts_with("GET ") || received.is_empty();
    let messages: Vec<&String> = received.iter().filter(|received| !is_question(received)).collect();
    let [all] = messages.as_slice() else {
        panic!("{received:?}");
    };
    let (head, requests) = all.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HEAD /v1/messages HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("test-key"), "{head}");
    assert_eq!(requests.matches("POST /v1/messages ").count(), 2);
}
