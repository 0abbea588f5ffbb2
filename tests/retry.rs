//! What is tried again and what is not, how long the waits are, and what an interruption leaves.

use std::{io::Write, net::TcpListener, thread};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Test, finished::Finished, gate::Gate, reply::Reply, session::Session, stream::Block};

/// One retry at the most, and no other way to success than it.
fn once(first: Reply) -> Test {
    Test::new().arg("--max-retries=1").print("go").reply(first)
}

#[track_caller]
fn is_tried_again(first: Reply, reason: &str) {
    let finished = once(first).reply(Reply::text("done")).run().code(0).stdout("done\n");
    assert!(finished.stderr.contains(reason), "`{}` lacks `{reason}`", finished.stderr);
    assert!(finished.stderr.contains("trying again in"), "{}", finished.stderr);
    assert_eq!(finished.requests[0].body, finished.requests[1].body, "the same request");
}

#[track_caller]
fn is_final(first: Reply, reason: &str) {
    let finished = once(first).run().code(3).stdout("");
    assert!(finished.stderr.contains(reason), "`{}` lacks `{reason}`", finished.stderr);
    assert_eq!(finished.requests.len(), 1);
}

fn error(status: u16) -> Reply {
    Reply::error(status, "some_error", "what the API says")
}

#[test]
fn statuses_that_may_pass_are_tried_again() {
    for status in [408, 409, 429, 500, 502, 503, 504, 529] {
        is_tried_again(error(status), "what the API says");
    }
}

#[test]
fn statuses_that_stay_are_one_sentence_with_message_and_request_id() {
    for status in [400, 401, 403, 404] {
        is_final(error(status), "what the API says");
        is_final(error(status), "(request req_01");
    }
    is_final(error(401), "check the credential");
    is_final(error(404), "check `MODEL_ID`");
}

#[test]
fn the_server_may_say_otherwise() {
    is_tried_again(error(400).header("x-should-retry", "true"), "400");
    is_final(error(529).header("x-should-retry", "false"), "529");
}

#[test]
fn a_wait_that_the_server_asks_for_is_honoured() {
    let asked = error(429).header("retry-after", "1");
    let finished = once(asked).reply(Reply::text("done")).run().code(0);
    finished.stderr_contains("trying again in 1.0 s (1 of 1)");
    let date = error(429).header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
    let finished = once(date).reply(Reply::text("done")).run().code(0);
    finished.stderr_lacks("trying again in 0.0 s");
    let long = error(429).header("retry-after", "3600").header("x-should-retry", "false");
    once(long).run().code(3).stderr_contains("it asks to wait 1 h 0 min");
    // On a success it means nothing.
    let fine = Reply::text("done").header("retry-after", "60");
    once(fine).run().code(0).stderr_lacks("trying again");
}

#[test]
fn a_connection_that_breaks_is_tried_again() {
    is_tried_again(Reply::close(), "failed to reach");
    is_tried_again(Reply::text("some words that are cut").cut_after(600), "the reply broke off");
}

#[test]
fn an_error_in_the_middle_of_a_stream_goes_by_its_type() {
    let stream = |kind: &str| {
        Reply::sse(&format!(
            "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"half\"}}}}\n\n\
             event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"in mid-stream\"}} }}\n\n"
        ))
    };
    is_tried_again(stream("overloaded_error"), "in mid-stream");
    is_tried_again(stream("api_error"), "in mid-stream");
    is_final(stream("invalid_request_error"), "in mid-stream");
}

#[test]
fn a_page_of_a_proxy_is_not_a_reply() {
    let page = || Reply::raw(200, &[("content-type", "text/html")], "<html>Sign in</html>");
    is_tried_again(page(), "its content type is `text/html`: <html>Sign in");
    // Once; it is no better when it comes again.
    let test = Test::new().print("go").reply(page()).reply(page());
    let finished = test.run().code(3).stderr_contains("(1 of 8)");
    assert_eq!(finished.requests.len(), 2);
    let page = Reply::raw(502, &[("content-type", "text/html")], "<html>Bad gateway</html>");
    is_tried_again(page, "Bad gateway");
}

#[test]
fn what_was_shown_of_a_broken_reply_is_marked_and_not_kept() {
    let broken = Reply::exactly(vec![Block::text("half of an answer")]).cut_after(700);
    let mut session = Test::new()
        .reply(broken)
        .reply(Reply::exactly(vec![Block::text("whole")]))
        .reply(Reply::text("end"))
        .spawn();
    session.send_line("go");
    session.expect("discarded");
    session.expect("whole");
    session.send_line("again");
    session.expect("end");
    session.close_stdin();
    let finished = session.wait().code(0);
    let messages = finished.request(2).messages();
    assert_eq!(messages[1]["content"], json!([{"type": "text", "text": "whole"}]));
}

#[test]
fn nobody_at_the_other_end_is_an_error_with_the_address() {
    let finished = Test::new()
        .env("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
        .args(["--max-retries=1"])
        .print("go")
        .run()
        .code(3);
    finished.stderr_contains("failed to reach http://127.0.0.1:9/v1/messages").stderr_contains("(1 of 1)");
}

#[test]
fn a_silent_stream_is_given_up() {
    let gate = Gate::new();
    let silent = Reply::text("some words").hold_after("message_start", &gate);
    once(silent).arg("--idle-timeout=1").reply(Reply::text("done")).run().code(0).stdout("done\n");
    gate.open();
}

#[test]
fn a_connection_that_the_server_has_closed_counts_as_no_failure() {
    let mut session = Test::new()
        .arg("--max-retries=0")
        .reply(Reply::text("one").then_close())
        .reply(Reply::text("two"))
        .spawn();
    session.send_line("go");
    session.expect("one");
    session.send_line("again");
    session.expect("two");
    session.close_stdin();
    let finished = session.wait().code(0);
    assert!(!finished.stdout.contains("trying again"), "{}", finished.stdout);
}

#[test]
fn the_whole_session_uses_one_connection() {
    let mut test = Test::new().print("go");
    for _ in 0..5 {
        test = test.reply(Reply::tool("bash", json!({"command": "true"})));
    }
    let finished = test.reply(Reply::text("done")).run().code(0);
    let connections: Vec<usize> = finished.requests.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [connections[0]; 6]);
}

/// A prompt loop that waits in whatever `first` makes it wait for.
fn waiting(first: Reply) -> Session {
    let mut session = Test::new().reply(first).reply(Reply::text("second")).allow_unused().spawn();
    session.send_line("go");
    session
}

#[test]
fn ctrl_c_ends_the_wait_for_another_attempt_at_once() {
    let mut session = waiting(error(429).header("retry-after", "50"));
    session.expect("trying again in 50 s");
    session.signal(Signal::INT);
    session.expect("interrupted");
    session.send_line("again");
    session.expect("second");
    session.close_stdin();
    session.wait().code(0);
}

/// Interrupts it where it is, and goes on with another turn.
#[track_caller]
fn interrupted(mut session: Session) -> Finished {
    session.signal(Signal::INT);
    session.expect("interrupted");
    session.send_line("again");
    session.expect("second");
    session.close_stdin();
    session.wait().code(0)
}

#[test]
fn ctrl_c_ends_a_request_and_keeps_what_was_said() {
    let gate = Gate::new();
    let mut session = waiting(Reply::text("half of it").hold_after("half", &gate));
    session.expect("half");
    let finished = interrupted(session);
    let messages = finished.request(1).messages();
    assert_eq!(messages[1]["content"], json!([{"type": "text", "text": "half"}]));
    assert_eq!(messages[2]["content"][0]["text"], "(The reply above was interrupted by the user.)");
    assert_eq!(messages[2]["content"][1]["text"], "again");
    gate.open();
}

#[test]
fn what_was_discarded_is_not_kept_by_an_interrupt() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let stream = [
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"DISCARDED"}}"#,
        overloaded,
    ];
    let stream = stream.map(|data| format!("data: {data}\n\n")).concat();
    let mut session = waiting(Reply::sse(&stream));
    session.expect("trying again in");
    let finished = interrupted(session);
    let messages = finished.request(1).body["messages"].to_string();
    assert!(!messages.contains("DISCARDED"), "{messages}");
    assert!(!messages.contains("interrupted the reply"), "{messages}");
}

#[test]
fn an_interrupted_request_closes_its_connection() {
    // A server that sends the beginning of a reply and then waits for the client to leave.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let left = Gate::new();
    let seen = left.clone();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut buffer = [0; 65536];
        let _ = std::io::Read::read(&mut client, &mut buffer);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let event = "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"hello\"}}\n\n";
        write!(client, "{head}{:x}\r\n{event}\r\n", event.len()).unwrap();
        // Whatever else the client sent; then its end.
        while let Ok(1..) = std::io::Read::read(&mut client, &mut buffer) {}
        seen.open();
    });
    let mut session = Test::new().env("ANTHROPIC_BASE_URL", &url).spawn();
    session.send_line("go");
    session.expect("hello");
    session.signal(Signal::INT);
    assert!(left.wait(std::time::Duration::from_secs(10)), "the connection stays open");
    session.expect("interrupted");
    session.close_stdin();
    session.wait().code(0);
}

#[test]
fn a_proxy_is_used_as_the_variables_say() {
    // The scripted server stands in for the proxy: it is asked for a whole URL.
    let through = Test::new().env("ANTHROPIC_BASE_URL", "http://api.test").print("go").arg("--max-retries=0");
    let proxy = through.server().url();
    let finished = through
        .env("http_proxy", &proxy)
        .reply(Reply::text("proxied"))
        .allow_violations()
        .allow_unused()
        .run();
    assert!(!finished.requests.is_empty(), "{}", finished.stderr);
    // A server on this machine is not reached through a proxy elsewhere.
    let direct = Test::new().env("http_proxy", "http://192.0.2.1:9").print("go").reply(Reply::text("direct"));
    direct.run().code(0).stdout("direct\n");
    let elsewhere =
        || Test::new().env("ANTHROPIC_BASE_URL", "http://api.test").print("go").arg("--max-retries=0");
    let bad = elsewhere().env("http_proxy", "::nonsense::").run().code(2);
    bad.stderr_contains("proxy");
    let exempt = elsewhere().env("http_proxy", "::nonsense::").env("NO_PROXY", "api.test").run().code(3);
    exempt.stderr_contains("failed to reach http://api.test/v1/messages");
}
