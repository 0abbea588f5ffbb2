//! A server that says that a request does not fit is understood, whatever its words: the request that follows is
//! smaller, and the session goes on.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Test, finished::Finished, gate::Gate, reply::Reply, session::Session, until};

/// What follows a refusal.
enum Then {
    /// The same messages, and a reply of at most so many tokens.
    Reply(u64),
    /// Shorter results.
    Less,
}
use Then::{Less, Reply as Shorter};

fn anthropic(message: &str) -> Value {
    json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}})
}

/// What servers say when the context is full, with their status.
fn refusals() -> Vec<(u16, Value, Then)> {
    let llama = |code: u16| {
        json!({"error": {"code": code, "message": "the request exceeds the available context size",
            "type": "exceed_context_size_error", "n_prompt_tokens": 20_000, "n_ctx": 8192}})
    };
    let vllm = |message: &str| json!({"object": "error", "message": message, "type": "BadRequestError", "code": 400});
    vec![
        (400, anthropic("prompt is too long: 208310 tokens > 200000 maximum"), Less),
        (
            400,
            anthropic(
                "input length and `max_tokens` exceed context limit: 5000 + 8000 > 10000, decrease input length or `max_tokens` and try again",
            ),
            Shorter(5000),
        ),
        (
            400,
            anthropic(
                "input length and `max_tokens` exceed context limit: 9500 + 8000 > 10000, decrease input length or `max_tokens` and try again",
            ),
            Less,
        ),
        (
            413,
            json!({"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}),
            Less,
        ),
        (413, json!("Request Entity Too Large"), Less),
        (400, json!({"message": "Input is too long for requested model."}), Less),
        (400, llama(400), Less),
        (500, llama(500), Less),
        (
            400,
            vllm(
                "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is 10000 tokens and your request has 5213 input tokens (8000 > 10000 - 5213).",
            ),
            Shorter(4787),
        ),
        (
            500,
            vllm(
                "This model's maximum context length is 10000 tokens. However, you requested 13213 tokens (5213 in the messages, 8000 in the completion). Please reduce the length of the messages or completion.",
            ),
            Shorter(4787),
        ),
        (
            500,
            vllm(
                "This model's maximum context length is 10000 tokens. However, you requested 28000 tokens (20000 in the messages, 8000 in the completion).",
            ),
            Less,
        ),
        (
            400,
            json!({"detail": "Requested token count exceeds the model's maximum context length of 10000 tokens. You requested a total of 15897 tokens: 7897 tokens from the input messages and 8000 tokens for the completion."}),
            Shorter(2103),
        ),
        (
            400,
            anthropic(
                "max_tokens: 8000 > 4096, which is the maximum allowed number of output tokens for test-model",
            ),
            Shorter(4096),
        ),
        (400, json!({"error": {"code": "context_length_exceeded", "message": "no"}}), Less),
    ]
}

fn refuse(status: u16, body: &Value) -> Reply {
    Reply::raw(status, &[("content-type", "application/json")], body.to_string())
}

/// A turn that fills the context with its second request, which is refused.
fn refused(status: u16, body: &Value) -> Test {
    let print = json!({"command": "head -c 9000 /dev/zero | tr '\\0' x"});
    Test::new()
        .arg("--max-output-tokens=8000")
        .reply(Reply::tool("bash", print))
        .reply(refuse(status, body))
        .reply(Reply::text("done"))
}

#[track_caller]
fn check(finished: &Finished, then: &Then, refusal: &Value) {
    let [_, before, after] = &finished.requests[..] else {
        panic!("{} requests after {refusal}", finished.requests.len())
    };
    assert_eq!(before.body["max_tokens"], 8000, "{refusal}");
    match then {
        Shorter(tokens) => {
            assert_eq!(after.messages(), before.messages(), "{refusal}");
            assert_eq!(after.body["max_tokens"], *tokens, "{refusal}");
        }
        Less => {
            assert_eq!(after.messages().len(), before.messages().len(), "{refusal}");
            assert!(after.tool_result(0).0.len() < before.tool_result(0).0.len() / 4, "{refusal}");
        }
    }
}

#[test]
fn every_refusal_is_followed_by_a_smaller_request() {
    for (status, body, then) in refusals() {
        let finished = refused(status, &body).print("go").run().code(0).stdout("done\n");
        check(&finished, &then, &body);
        let says_so = finished.stderr.contains("were shortened to make room");
        assert_eq!(says_so, matches!(then, Less), "{body}: {}", finished.stderr);
        finished.stderr_lacks("trying again").stderr_lacks("/compact");
    }
}

#[test]
fn so_it_is_in_a_terminal() {
    for (status, body, then) in refusals() {
        let mut session = refused(status, &body).env("TERM", "xterm").spawn_pty();
        session.shows("meanwhile >");
        session.send("go\r");
        session.shows("done");
        session.close_stdin();
        check(&session.wait().code(0), &then, &body);
    }
}

#[test]
fn a_refusal_in_the_stream_is_understood_too() {
    let error = anthropic("prompt is too long: 208310 tokens > 200000 maximum");
    let print = json!({"command": "head -c 9000 /dev/zero | tr '\\0' x"});
    Test::new()
        .print("go")
        .reply(Reply::tool("bash", print))
        .reply(Reply::sse(&format!("event: error\ndata: {error}\n\n")))
        .reply(Reply::text("done"))
        .run()
        .code(0)
        .stdout("done\n")
        .stderr_lacks("trying again");
}

/// A small window, of which the server says nothing, has no room for a reply of the usual length.
#[test]
fn the_reply_to_a_small_request_is_what_is_too_long() {
    let full = anthropic("Please reduce the length of the messages or completion.");
    let finished = Test::new()
        .print("go")
        .reply(refuse(400, &full))
        .reply(Reply::tool("bash", json!({"command": "echo 1"})))
        .reply(Reply::text("the end"))
        .run()
        .code(0)
        .stdout("the end\n");
    let longest: Vec<u64> =
        finished.requests.iter().map(|request| request.body["max_tokens"].as_u64().unwrap()).collect();
    assert_eq!(longest[0], 32_000);
    assert!((1024..4096).contains(&longest[1]), "{longest:?}");
    assert_eq!(longest[1], longest[2]);
    finished.stderr_lacks("too long");
}

#[test]
fn a_limit_that_the_server_has_named_is_not_raised_by_a_refusal_without_numbers() {
    let limit =
        "max_tokens: 32000 > 2048, which is the maximum allowed number of output tokens for this model";
    let full = "Please reduce the length of the messages or completion.";
    let mut session = Test::new()
        .reply(refuse(400, &anthropic(limit)))
        .reply(refuse(400, &anthropic(full)))
        .reply(Reply::text("the end"))
        .spawn();
    session.send_line("one");
    session.expect("too long");
    session.send_line("two");
    session.expect("the end");
    session.close_stdin();
    let finished = session.wait().code(0);
    let longest = finished.requests.iter().map(|request| request.body["max_tokens"].as_u64().unwrap());
    assert_eq!(longest.collect::<Vec<u64>>(), [32_000, 2048, 2048]);
}

#[test]
fn what_the_server_has_said_holds_for_the_rest_of_the_run() {
    let limit =
        anthropic("max_tokens: 8000 > 4096, which is the maximum allowed number of output tokens for m");
    let window =
        anthropic("input length and `max_tokens` exceed context limit: 1700 + 4096 > 5000, decrease");
    let mut session = Test::new()
        .arg("--max-output-tokens=8000")
        .reply(refuse(400, &limit))
        .reply(Reply::text("one"))
        .reply(refuse(400, &window))
        .reply(Reply::text("two"))
        .reply(Reply::text("three"))
        .reply(Reply::text("four"))
        .spawn();
    for (line, expected) in
        [("1", "one"), ("2", "two"), ("3", "three"), ("/model other", "other"), ("4", "four")]
    {
        session.send_line(line);
        session.expect(expected);
    }
    session.close_stdin();
    let finished = session.wait().code(0);
    let limits: Vec<u64> =
        finished.requests.iter().map(|request| request.body["max_tokens"].as_u64().unwrap()).collect();
    assert_eq!(limits[..4], [8000, 4096, 4096, 3300]);
    assert!((3000..3300).contains(&limits[4]), "{limits:?}");
    assert_eq!(limits[5], 8000, "another model has other limits");
    assert!(!finished.stdout.contains("meanwhile: "), "{}", finished.stdout);
}

#[test]
fn a_reply_is_never_longer_than_the_window_leaves() {
    let text = "word ".repeat(3000);
    let finished = Test::new()
        .args(["--context-window=10000", "--max-output-tokens=8000"])
        .print(&text)
        .reply(Reply::text("done"))
        .run()
        .code(0);
    let body = &finished.request(0).body;
    let most = body["max_tokens"].as_u64().unwrap();
    // The usual estimate: four bytes a token.
    assert!(most >= 1024 && most + body.to_string().len() as u64 / 4 <= 10_000, "{most}");
    // The window may be smaller than what stands before the messages.
    let finished =
        Test::new().arg("--context-window=1000").print("hi").reply(Reply::text("done")).run().code(0);
    assert_eq!(finished.request(0).body["max_tokens"], 1024);
}

#[test]
fn a_refusal_that_no_smaller_request_cures_is_final() {
    for message in ["Your credit balance is too low to access the API.", "messages: text is empty"] {
        let finished = Test::new().print("go").reply(refuse(400, &anthropic(message))).run().code(3);
        finished.stderr_contains(message).stderr_lacks("/compact");
    }
}

/// A server with a window of 20,000 tokens of four bytes each. It counts nothing in its replies.
fn small() -> impl Fn(&str) -> Reply + Clone {
    |text: &str| {
        let text = text.to_owned();
        Reply::with(move |request| {
            let tokens = request.body.to_string().len() / 4;
            let message = format!("prompt is too long: {tokens} tokens > 20000 maximum");
            match tokens {
                0..=20_000 => Reply::text(&text).usage(json!({"input_tokens": 0, "output_tokens": 0})),
                _ => refuse(400, &anthropic(&message)),
            }
        })
    }
}

#[test]
fn a_server_that_does_not_count_gets_no_history_that_is_too_long() {
    let small = small();
    let mut test = Test::new().args(["--context-window=20000", "--max-output-tokens=1024"]);
    for n in 0..12 {
        test = test.reply(small(&format!("answer {n}: {}", "words ".repeat(1000))));
        if [5, 8].contains(&n) {
            test = test.reply(small("THE SUMMARY"));
        }
    }
    let mut session = test.allow_unused().spawn();
    for n in 0..10 {
        session.send_line(&format!("{n}: {}", "question ".repeat(400)));
        session.expect("meanwhile > ");
        session.server().wait_for_requests(n + 1);
    }
    session.close_stdin();
    let finished = session.wait().code(0);
    let longest = finished.requests.iter().map(|request| request.body.to_string().len()).max().unwrap();
    assert!(longest / 4 <= 20_000, "a request has {longest} bytes");
    assert!(finished.stdout.contains("summarizing"), "{}", finished.stdout);
}

#[test]
fn the_estimate_counts_what_stands_before_the_messages() {
    let session = |instructions: &str| {
        let test = Test::new()
            .file("AGENTS.md", instructions)
            .args(["--context-window=20000", "--max-output-tokens=16000"]);
        let uncounted = json!({"input_tokens": 0, "output_tokens": 0});
        let mut session = test
            .reply(Reply::text("one").usage(uncounted.clone()))
            .reply(Reply::text("two").usage(uncounted.clone()))
            .reply(Reply::text("three").usage(uncounted))
            .allow_unused()
            .spawn();
        for (line, expected) in [("1", "one"), (&*"word ".repeat(400), "two")] {
            session.send_line(line);
            session.expect(expected);
        }
        session
    };
    let end = |mut session: Session| {
        session.close_stdin();
        session.wait().code(0).request(1).body["max_tokens"].as_u64().unwrap()
    };
    let (short, long) = (end(session("Be kind.")), end(session(&"Be kind. ".repeat(3000))));
    assert!(short == 16_000 && (7000..9500).contains(&long), "{short} {long}");
}

fn last_text(message: &Value) -> &str {
    message["content"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap()
}

/// The first message of a session does not fit.
const LONG: &str = "prompt is too long: 210000 tokens > 200000 maximum";

#[test]
fn a_message_that_does_not_fit_leaves_the_conversation() {
    let mut session = Test::new()
        .reply(Reply::text("first answer"))
        .reply(refuse(400, &anthropic(LONG)))
        .reply(Reply::text("third answer"))
        .reply(Reply::text("THE SUMMARY"))
        .spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line(&"word ".repeat(130_000));
    session.expect("taken out of the conversation");
    session.expect("has 210000 tokens, and 200000 fit");
    session.send_line("three");
    session.expect("third answer");
    session.send_line("/compact");
    session.server().wait_for_requests(4);
    session.close_stdin();
    let finished = session.wait().code(0);
    let asked: Vec<&str> = finished.request(2).messages().iter().map(last_text).collect();
    assert_eq!(asked, ["one", "first answer", "three"]);
    assert!(!finished.stdout.contains("/compact"), "{}", finished.stdout);
}

#[test]
fn its_text_comes_back_to_the_prompt_line() {
    let mut session = Test::new()
        .env("TERM", "xterm")
        .reply(refuse(400, &anthropic("prompt is too long: 2100 tokens > 2000 maximum")))
        .reply(Reply::text("the answer"))
        .spawn_pty();
    session.shows("meanwhile >");
    session.send("the long message\r");
    session.shows_that("the message at the prompt", |screen| {
        screen.ends_with("meanwhile > the long message") && screen.contains("2000 fit")
    });
    session.send("\x15shorter\r");
    session.shows("the answer");
    session.close_stdin();
    let finished = session.wait().code(0);
    assert_eq!(finished.request(1).last_text(), "shorter");
}

#[test]
fn what_is_older_is_summarized_for_a_message_that_does_not_fit_beside_it() {
    for (status, message) in [
        (400, "prompt is too long: 208310 tokens > 200000 maximum"),
        (400, "Input is too long for requested model."),
        (413, "Request exceeds the maximum size"),
    ] {
        let mut session = Test::new()
            .reply(Reply::text(&"first answer ".repeat(1000)))
            .reply(refuse(status, &anthropic(message)))
            .reply(Reply::text("THE SUMMARY"))
            .reply(Reply::text("second answer"))
            .spawn();
        session.send_line("one");
        session.expect("first answer");
        session.send_line("two");
        session.expect("second answer");
        session.close_stdin();
        let finished = session.wait().code(0);
        assert!(finished.request(3).body.to_string().contains("THE SUMMARY"), "{message}");
        assert!(finished.request(3).last_text().ends_with("two"), "{message}");
    }
}

#[test]
fn an_interrupt_while_room_is_made_takes_the_message_back() {
    let gate = Gate::new();
    let mut session = Test::new()
        .reply(Reply::text(&"first answer ".repeat(1000)))
        .reply(refuse(400, &anthropic(LONG)))
        .reply(Reply::text("THE SUMMARY").gate(&gate))
        .reply(Reply::text("third answer"))
        .spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line("two");
    session.server().wait_for_requests(3);
    session.signal(Signal::INT);
    session.expect("taken out of the conversation");
    gate.open();
    session.send_line("three");
    session.expect("third answer");
    session.close_stdin();
    let finished = session.wait().code(0);
    let asked: Vec<&str> = finished.request(3).messages().iter().map(last_text).collect();
    assert_eq!((asked[0], asked[2], asked.len()), ("one", "three", 3));
}

#[test]
fn a_summary_that_is_refused_is_asked_for_in_other_requests_only() {
    let mut test = Test::new().reply(Reply::text(&"first answer ".repeat(1000)));
    for _ in 0..9 {
        test = test.reply(refuse(400, &anthropic("Input is too long for requested model.")));
    }
    let mut session = test.allow_unused().spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line("/compact");
    session.expect("`/clear` starts over");
    session.close_stdin();
    let finished = session.wait().code(0);
    let requests: Vec<String> = finished.requests.iter().map(|request| request.body.to_string()).collect();
    assert!((3..=7).contains(&requests.len()), "{} requests", requests.len());
    for pair in requests[1..].windows(2) {
        assert!(pair[1].len() <= pair[0].len(), "{} bytes after {}", pair[1].len(), pair[0].len());
        // A shorter reply may take as many digits.
        assert_ne!(pair[1], pair[0]);
    }
    assert!(!finished.stdout.contains("`/compact` makes"), "{}", finished.stdout);
}

#[test]
fn a_message_is_kept_when_the_program_is_killed_while_room_is_made() {
    let gate = Gate::new();
    let mut session = Test::new()
        .reply(Reply::text(&"first answer ".repeat(1000)))
        .reply(refuse(400, &anthropic(LONG)))
        .reply(Reply::text("THE SUMMARY").gate(&gate))
        .spawn();
    session.send_line("one");
    session.expect("first answer");
    session.send_line("two");
    session.server().wait_for_requests(3);
    session.signal(Signal::KILL);
    let killed = session.wait();
    gate.open();
    let next = killed.again().arg("-c").print("three").reply(Reply::text("third answer")).run().code(0);
    assert_eq!(next.request(0).last_text(), "two\nthree");
}

/// The history is summarized, then the model refuses the message that brought the result.
#[test]
fn a_refusal_after_room_was_made_loses_no_result_of_a_task() {
    let mut session = Test::new()
        .reply(Reply::text(&"first answer ".repeat(1000)))
        .reply(Reply::tool("background_run", json!({"command": "true"})))
        .reply(Reply::text("no").stop("refusal"))
        .spawn();
    for (line, answer) in [("one", "first answer"), ("two", "the model refused to answer")] {
        session.send_line(line);
        session.expect(answer);
    }
    session.close_stdin();
    let first = session.wait().code(0);
    let second = first
        .again()
        .arg("-c")
        .print("three")
        .reply(refuse(400, &anthropic(LONG)))
        .reply(Reply::text("THE SUMMARY"))
        .reply(Reply::text("no").stop("refusal"))
        .run()
        .code(1);
    let third = second.again().arg("-c").print("four").reply(Reply::text("done")).run().code(0);
    let messages = third.request(0).body["messages"].to_string();
    let count = |text: &str| messages.matches(text).count();
    assert_eq!((count("THE SUMMARY"), count("its result is lost")), (1, 1), "{messages}");
}

/// What tasks have printed does not fit, and no message of the user came with it.
#[test]
fn results_of_tasks_that_do_not_fit_do_not_end_the_session() {
    let full = "prompt is too long: 3000 tokens > 2000 maximum";
    let test = Test::new();
    let go = test.workspace().join("go");
    let finished = test
        .print("start")
        .reply(Reply::tool("background_run", json!({"command": until("go", "a result")})))
        .reply(Reply::with(move |_| {
            fs::write(go, "").unwrap();
            Reply::text("started")
        }))
        .reply(refuse(400, &anthropic(full)))
        .reply(Reply::text("THE SUMMARY"))
        .reply(Reply::text("the end"))
        .run()
        .code(0)
        .stdout("the end\n");
    assert!(finished.request(4).body.to_string().contains("THE SUMMARY"));
}

#[test]
fn print_says_that_its_task_is_too_long() {
    let finished = Test::new()
        .stdin(&"word ".repeat(130_000))
        .print("summarize this")
        .reply(refuse(400, &anthropic(LONG)))
        .run()
        .code(3)
        .stdout("");
    finished.stderr_contains("has 210000 tokens, and 200000 fit").stderr_lacks("/compact");
}

#[test]
fn a_history_that_is_longer_than_the_window_is_summarized_in_parts() {
    // The session began with a model that has a larger window.
    let mut first = Test::new();
    for n in 0..10 {
        first = first.reply(Reply::text(&format!("answer {n}: {}", "words ".repeat(2000))));
    }
    let mut session = first.spawn();
    for n in 0..10 {
        session.send_line(&format!("question {n}"));
        session.expect(&format!("answer {n}:"));
    }
    session.close_stdin();
    let small = small();
    let mut second = session.wait().code(0).again().arg("-c").print("and now");
    for text in ["unused", "THE SUMMARY", "done"] {
        second = second.reply(small(text));
    }
    let finished = second.run().code(0).stdout("done\n");
    let messages = finished.requests.last().unwrap().body["messages"].to_string();
    assert!(messages.contains("THE SUMMARY") && messages.contains("and now"), "{messages}");
}

#[test]
fn results_that_alone_do_not_fit_are_shortened_hard() {
    let print = json!({"command": "head -c 1500 /dev/zero | tr '\\0' x"});
    let calls = (0..20).map(|_| crate::support::stream::Block::tool("bash", print.clone()));
    let finished = Test::new()
        .print("go")
        .reply(Reply::message(calls.collect()))
        .reply(refuse(400, &anthropic("prompt is too long: 9000 tokens > 8000 maximum")))
        .reply(Reply::text("done"))
        .run()
        .code(0)
        .stdout("done\n");
    let (before, after) = (finished.request(1), finished.request(2));
    assert_eq!(after.messages().len(), before.messages().len());
    assert!(after.tool_result(19).0.len() < 400, "{}", after.tool_result(19).0);
}
