//! How hard the model is to work and how it is to think: what is sent, and what contradicts itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{
    Test, finished::Finished, gate::Gate, reply::Reply, request::Request, stream::Block, wait_until,
};
use crate::terminal::at_prompt;

/// What a request says of effort and of thinking.
fn asked(request: &Request) -> Value {
    let body = request.body.as_object().unwrap();
    let fields = body.iter().filter(|(name, _)| matches!(name.as_str(), "output_config" | "thinking"));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[track_caller]
fn sent(args: &[&str]) -> Finished {
    Test::new().args(args).print("go").reply(Reply::text("done")).run().code(0)
}

/// Checks what is sent with these arguments.
#[track_caller]
fn check_sent(args: &[&str], expected: Value) {
    assert_eq!(asked(sent(args).request(0)), expected, "{args:?}");
}

#[test]
fn only_what_the_user_asks_for_is_sent() {
    check_sent(&[], json!({}));
    check_sent(&["--effort", "low"], json!({"output_config": {"effort": "low"}}));
    check_sent(&["--effort=max"], json!({"output_config": {"effort": "max"}}));
    check_sent(&["--thinking", "on"], json!({"thinking": {"type": "adaptive"}}));
    check_sent(&["--thinking", "off"], json!({"thinking": {"type": "disabled"}}));
    let budget = json!({"type": "enabled", "budget_tokens": 1024});
    check_sent(&["--thinking", "1024"], json!({"thinking": budget}));
    let both = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}});
    check_sent(&["--effort", "xhigh", "--thinking", "on"], both);
}

#[test]
fn fields_of_the_body_win() {
    let off = json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}});
    let args = ["--thinking", "on", "--effort", "low", "--body", r#"{"thinking": {"type": "disabled"}}"#];
    check_sent(&args, off);
    let args = ["--effort", "max", "--body", r#"{"output_config": {"effort": "low"}}"#];
    check_sent(&args, json!({"output_config": {"effort": "low"}}));
    Test::new()
        .args(["--effort", "max", "--body", r#"{"output_config": 7}"#])
        .print("go")
        .allow_violations()
        .run()
        .code(3);
}

#[test]
fn a_budget_leaves_room_for_the_answer() {
    let finished = sent(&["--thinking", "100000"]);
    let body = &finished.request(0).body;
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 100_000}));
    assert_eq!(body["max_tokens"], 108_192);
}

#[test]
fn what_contradicts_itself_is_a_usage_error() {
    for (args, expected) in [
        (
            "--thinking 8000 --max-output-tokens 8000",
            "--thinking 8000 must be less than --max-output-tokens, which is 8000",
        ),
        ("--effort max --thinking off", "effort `max` needs thinking, which is off (--thinking off)"),
        ("--thinking off --effort xhigh", "effort `xhigh` needs thinking"),
        ("--thinking 1023", "--thinking takes on, off, or a whole number, 1024 or more, not `1023`"),
        ("--effort huge", "--effort takes one of low, medium, high, xhigh, max, not `huge`"),
    ] {
        let test = Test::new().args(args.split(' ')).print("go");
        let finished = test.run().code(2).stderr_contains(expected);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    }
}

#[test]
fn the_effort_is_shown_and_changed_at_the_prompt() {
    let test = Test::new().args(["--effort", "low"]);
    let mut session =
        at_prompt(["One.", "Two.", "Three."].into_iter().map(Reply::text).fold(test, Test::reply));
    session.send("/effort\r");
    session.shows("meanwhile > /effort\nlow\nmeanwhile >");
    session.send("first\r");
    session.shows("One.\n(");
    session.send("/effort xh\t\r");
    session.shows("The next request asks for effort `xhigh`.");
    session.send("second\r");
    session.shows("Two.\n(");
    session.send("/effort m\t");
    session.shows("medium  max");
    session.send("\x15/effort huge\r");
    session.shows("Usage: /effort low|medium|high|xhigh|max|default");
    session.send("/effort default\rthird\r");
    session.shows("Three.\n(");
    session.send("/effort\r");
    session.shows("meanwhile > /effort\nthe model's own effort\n");
    session.send("\x04");
    let finished = session.wait().code(0);
    let efforts: Vec<Value> = finished.requests.iter().map(asked).collect();
    let effort = |name: &str| json!({"output_config": {"effort": name}});
    assert_eq!(efforts, [effort("low"), effort("xhigh"), json!({})]);
}

#[test]
fn an_effort_that_needs_thinking_is_not_set_while_it_is_off() {
    let test = Test::new().args(["--thinking", "off"]).reply(Reply::text("One."));
    let mut session = at_prompt(test);
    session.send("/effort max\rgo\r");
    session.shows("meanwhile: effort `max` needs thinking, which is off (--thinking off)");
    session.shows("One.\n(");
    session.send("\x04");
    let finished = session.wait().code(0);
    assert_eq!(asked(finished.request(0)), json!({"thinking": {"type": "disabled"}}));
}

/// What a server says of a model that has these efforts and these types of thinking.
fn described(efforts: &[&str], types: &[&str]) -> Reply {
    let supported = |names: &[&str], all: &[&str]| {
        let each = all.iter().map(|name| (name.to_string(), json!({"supported": names.contains(name)})));
        Value::Object(each.collect())
    };
    let mut effort = supported(efforts, &["low", "medium", "high", "xhigh", "max"]);
    effort["supported"] = (!efforts.is_empty()).into();
    let types = supported(types, &["adaptive", "disabled", "enabled"]);
    let capabilities = json!({"effort": effort, "thinking": {"supported": true, "types": types}});
    let model = json!({"type": "model", "id": "test-model", "capabilities": capabilities});
    Reply::json(&model)
}

/// What the requests of a run ask for, one after another, until one asks for `expected`. The description may come at any
/// time.
#[track_caller]
fn asked_until(mut test: Test, first: Reply, expected: &Value) -> (Vec<Value>, Finished) {
    let known = expected.clone();
    test = test.print("go").reply(first).allow_unused();
    for _ in 0..100 {
        let known = known.clone();
        test = test.reply(Reply::with(move |request| {
            let is_asked = asked(request) == known;
            if is_asked { Reply::text("Done.") } else { Reply::tool("bash", json!({"command": "true"})) }
        }));
    }
    let finished = test.run().code(0);
    (finished.requests.iter().map(asked).collect(), finished)
}

fn call() -> Reply {
    Reply::tool("bash", json!({"command": "true"}))
}

#[test]
fn a_model_that_always_thinks_is_asked_to_tell_what() {
    let summarized = json!({"thinking": {"type": "adaptive", "display": "summarized"}});
    let test = Test::new().args(["--output-format", "stream-json"]);
    let test = test.describe_model(|| described(&["low"], &["adaptive"]));
    let (asked, _) = asked_until(test, call(), &summarized);
    assert_eq!(asked[0], json!({}));
    assert_eq!(asked.last(), Some(&summarized));
}

#[test]
fn a_model_that_is_seen_to_think_is_asked_to_tell_what() {
    let summarized = json!({"thinking": {"type": "adaptive", "display": "summarized"}});
    let test = || {
        let test = Test::new().args(["--output-format", "stream-json"]);
        test.describe_model(|| described(&["low"], &["adaptive", "disabled"]))
    };
    let thinks = Reply::message(vec![Block::thinking(""), Block::tool("bash", json!({"command": "true"}))]);
    let (asked, _) = asked_until(test(), thinks, &summarized);
    assert_eq!(asked.last(), Some(&summarized));
}

#[test]
fn a_server_that_refuses_to_tell_what_a_model_thinks_is_asked_once_only() {
    let mut test = Test::new().args(["--output-format", "stream-json"]).print("go").allow_unused();
    test = test.describe_model(|| described(&["low"], &["adaptive"]));
    let was_refused = Arc::new(AtomicBool::new(false));
    for _ in 0..100 {
        let was_refused = Arc::clone(&was_refused);
        test = test.reply(Reply::with(move |request| {
            let is_asked = asked(request) != json!({});
            match was_refused.fetch_or(is_asked, Ordering::Relaxed) {
                _ if is_asked => {
                    let words = "thinking.adaptive.display: Extra inputs are not permitted";
                    Reply::error(400, "invalid_request_error", words)
                }
                true => Reply::text("Done."),
                false => call(),
            }
        }));
    }
    let finished = test.run().code(0);
    assert_eq!(finished.requests.iter().filter(|request| asked(request) != json!({})).count(), 1);
}

#[test]
fn a_refusal_for_another_reason_does_not_end_that() {
    let mut test = Test::new().describe_model(|| described(&["low"], &["adaptive"])).allow_unused();
    let refusals = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let refusals = Arc::clone(&refusals);
        test = test.reply(Reply::with(move |request| match refusals.load(Ordering::Relaxed) {
            0 if asked(request) == json!({}) => call(),
            0 | 1 => {
                refusals.fetch_add(1, Ordering::Relaxed);
                Reply::error(400, "invalid_request_error", "Your credit balance is too low")
            }
            _ => Reply::text("Done."),
        }));
    }
    let mut session = test.spawn();
    for (line, answer) in [("one", "Your credit balance"), ("two", "Done.")] {
        session.send_line(line);
        session.expect(answer);
    }
    session.close_stdin();
    let finished = session.wait().code(0);
    let [.., first, second, last] = &finished.requests[..] else { panic!("three were answered") };
    let summarized = json!({"thinking": {"type": "adaptive", "display": "summarized"}});
    assert_eq!([first, second, last].map(asked), [summarized.clone(), json!({}), summarized]);
}

#[test]
fn where_nobody_sees_it_no_model_is_asked_to_tell_what_it_thinks() {
    let test = Test::new().print("go").describe_model(|| described(&["low"], &["adaptive"]));
    let finished = (0..5).map(|_| call()).fold(test, Test::reply).reply(Reply::text("done")).run().code(0);
    assert!(finished.requests.iter().all(|request| asked(request) == json!({})));
}

#[test]
fn what_a_model_does_not_have_is_said_once_and_left_out() {
    let test = Test::new().args(["--effort", "high", "--thinking", "off"]);
    let test = test.describe_model(|| described(&["low"], &["adaptive"]));
    let (asked, finished) = asked_until(test, call(), &json!({}));
    assert_eq!(asked[0], json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}));
    let said =
        "meanwhile: test-model does not have effort `high` and thinking of type `disabled`: not asked for";
    assert_eq!(finished.stderr.matches(said).count(), 1, "{}", finished.stderr);
}

#[test]
fn a_refusal_that_the_description_explains_does_not_end_the_run() {
    // The refusal may overtake the description.
    wait_until("a description before the refusal", || {
        let gate = Gate::new();
        let refusal =
            Reply::error(400, "invalid_request_error", "This model does not support the effort parameter.");
        let session = Test::new()
            .args(["--effort", "high"])
            .print("go")
            .describe_model(|| described(&[], &["enabled"]))
            .reply(refusal.gate(&gate))
            .reply(Reply::text("Done."))
            .allow_unused()
            .spawn();
        wait_until("the question", || session.server().model_requests().len() == 1);
        gate.open();
        let finished = session.wait();
        finished.code == Some(0) && asked(finished.request(1)) == json!({})
    });
}

#[test]
fn an_effort_that_the_model_does_not_have_is_not_set() {
    // The description may come after the first reply.
    wait_until("a description before the command", || {
        let test = Test::new()
            .describe_model(|| described(&["low"], &["disabled"]))
            .reply(Reply::text("One."))
            .reply(Reply::text("Two."));
        let mut session = at_prompt(test);
        session.send("go\r");
        session.shows("One.\n(");
        session.send("/effort max\r");
        let screen = session.shows_that("an answer", |screen| {
            screen.contains("effort `max`") && screen.ends_with("meanwhile >")
        });
        session.send("go on\r");
        session.shows("Two.\n(");
        session.send("\x04");
        let finished = session.wait().code(0);
        screen.contains("\nmeanwhile: test-model does not have effort `max`\n")
            && asked(finished.request(1)) == json!({})
    });
}
