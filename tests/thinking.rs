//! What the model thinks: where it is shown, and where it is not.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Test, gate::Gate, reply::Reply, session::Session, stream::Block};
use crate::terminal::at_prompt;

/// A program at its prompt, and a model that thinks this and stops in the middle of it, behind `marker`.
#[track_caller]
fn thinking_of(test: Test, thought: &str, marker: &str, gate: &Gate) -> Session {
    let blocks = vec![Block::thinking(thought), Block::text("The answer.")];
    at_prompt(test.reply(Reply::message(blocks).hold_after(marker, gate)))
}

#[test]
fn a_line_moves_while_the_model_thinks_and_is_folded_when_the_text_comes() {
    let gate = Gate::new();
    let thought = "It fails since\nthe name is wrong.";
    let mut session = thinking_of(Test::new(), thought, "wrong.", &gate);
    session.send("why?\r");
    let screen = session.shows("\n  It fails since the name is wrong.\nmeanwhile >");
    assert!(screen.contains("meanwhile > why?\n* thinking, "), "{screen}");
    gate.open();
    let screen = session.shows("`/last thinking` shows it)\nThe answer.\n(");
    assert!(screen.contains("\n(thought for 0."), "{screen}");
    assert!(!screen.contains("It fails"), "{screen}");
    session.send("/last thinking\r");
    session.shows("\nIt fails since\nthe name is wrong.\nmeanwhile >");
    session.send("\x04");
    let shown = session.wait().code(0).stdout;
    assert!(shown.contains("\x1b[2m  It fails since the name is wrong.\x1b[0m"), "{shown:?}");
    assert!(shown.contains("\x1b[2m(thought for 0."), "{shown:?}");
}

#[test]
fn a_thought_before_a_tool_call_is_folded_too() {
    let calls = vec![Block::thinking("Look."), Block::tool("bash", json!({"command": "echo seen"}))];
    let test = Test::new().reply(Reply::message(calls)).reply(Reply::text("Done."));
    let mut session = at_prompt(test);
    session.send("go\r");
    session.shows("`/last thinking` shows it)\n> bash: echo seen\nseen\nDone.\n(");
    session.send("/last thinking\r");
    session.shows("\nLook.\nmeanwhile >");
    session.send("/last\r");
    session.shows("meanwhile > /last\nseen\nmeanwhile >");
    session.send("/last words\r");
    session.shows("Usage: /last [thinking]");
    session.send("\x04");
    session.wait().code(0);
}

#[test]
fn a_thought_that_was_interrupted_can_be_read() {
    let gate = Gate::new();
    let mut session = thinking_of(Test::new(), "Delete it all. Or not.", "all.", &gate);
    session.send("go\r");
    session.shows("\n  Delete it all.\n");
    session.send("\x03");
    session.shows("`/last thinking` shows it)\nmeanwhile: there was no reply yet");
    session.send("\x15/last thinking\r");
    session.shows("\nDelete it all.\nmeanwhile >");
    gate.open();
    session.send("\x04");
    session.wait().code(0);
}

#[test]
fn a_model_that_does_not_tell_what_it_thinks_is_still_seen_to_think() {
    let gate = Gate::new();
    let mut session = thinking_of(Test::new(), "", "signature_delta", &gate);
    session.send("go\r");
    session.shows("* thinking, 0 s");
    gate.open();
    let screen = session.shows("The answer.\n(");
    assert!(!screen.contains("thought for"), "{screen}");
    session.send("/last thinking\r");
    session.shows("The model has not told what it thinks.");
    session.send("\x04");
    session.wait().code(0);
}

/// Checks how a thought is shown on a terminal of this size.
#[track_caller]
fn check_row(test: Test, size: (u16, u16), thought: &str, expected: &str) {
    let gate = Gate::new();
    let mut session = thinking_of(test, &format!("{thought} END"), "END", &gate);
    session.terminal().resize(size.0, size.1);
    session.send("go\r");
    session.expect(expected);
    gate.open();
    session.expect("answer.");
    session.send("\x04");
    session.wait().code(0);
}

#[test]
fn the_end_of_a_long_thought_is_shown_on_any_terminal() {
    check_row(Test::new(), (24, 80), &"word ".repeat(10_000), "\x1b[2m  rd word word word");
    check_row(Test::new(), (24, 20), "of something", "\x1b[2m  of something END\x1b[0m");
    check_row(Test::new(), (24, 20), "think of something", "\x1b[2m   of something END\x1b[0m");
    check_row(Test::new(), (24, 10), "\u{6f22}\u{5b57}\u{6f22}\u{5b57}", "\x1b[2m  \u{5b57} END\x1b[0m");
    check_row(
        Test::new(),
        (24, 12),
        "\u{6f22}\u{5b57}\u{6f22}\u{5b57}",
        "\x1b[2m  \u{6f22}\u{5b57} END\x1b[0m",
    );
    check_row(Test::new().env("NO_COLOR", "1"), (24, 80), "a plain thought", "\n  a plain thought END\r\n");
    check_row(Test::new(), (3, 10), "no room", "* thinkin");
}

#[test]
fn the_terminal_is_drawn_calmly_however_fast_a_model_thinks() {
    let blocks = vec![Block::thinking(&"so ".repeat(5000)), Block::text("The answer.")];
    let mut session = at_prompt(Test::new().reply(Reply::message(blocks)));
    let began = Instant::now();
    session.send("go\r");
    session.expect("answer.");
    let time = began.elapsed();
    session.send("\x04");
    let draws = session.wait().code(0).stdout.matches("\x1b[?2026h").count();
    let most = 20 + time.as_millis() as usize / 50;
    assert!(draws <= most, "{draws} draws in {time:?}");
}

#[test]
fn a_thought_cannot_rule_the_terminal() {
    let thought = "\x1b]0;title\x07\r\x1b[2J\u{202e}back\tside";
    check_row(Test::new(), (24, 80), thought, "  \\u{1b}]0;title\\u{7} \\u{1b}[2J\\u{202e}back side END");
}

#[test]
fn a_thought_is_never_on_the_stdout_of_a_script() {
    let blocks = || vec![Block::thinking("secret thoughts"), Block::text("The answer.")];
    for format in ["text", "json"] {
        let finished = Test::new()
            .args(["--output-format", format, "-v"])
            .print("go")
            .reply(Reply::message(blocks()))
            .run()
            .code(0)
            .stdout_contains("The answer.");
        assert!(!finished.stdout.contains("thoughts") && !finished.stderr.contains("thoughts"));
    }
}

/// The blocks of the only assistant line of a `stream-json` run.
fn streamed(reply: Reply) -> Value {
    let finished =
        Test::new().args(["--output-format", "stream-json"]).print("go").reply(reply).run().code(0);
    let lines = finished.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut assistant = lines.filter(|line| line["type"] == "assistant");
    assistant.next().unwrap()["message"]["content"].take()
}

#[test]
fn a_thought_is_a_block_of_stream_json() {
    let text = json!({"type": "text", "text": "Yes."});
    let signed = json!({"type": "thinking", "thinking": "hm hm", "signature": "c2ln"});
    let redacted = json!({"type": "redacted_thinking", "data": "EqQB"});
    let blocks = vec![Block::signed("hm hm", "c2ln"), Block::Raw(redacted.clone()), Block::text("Yes.")];
    assert_eq!(streamed(Reply::message(blocks)), json!([signed, redacted, text]));

    // Local servers sign nothing.
    let unsigned = json!({"type": "thinking", "thinking": "hm hm", "signature": ""});
    let blocks = vec![Block::signed("hm hm", ""), Block::text("Yes.")];
    assert_eq!(streamed(Reply::message(blocks)), json!([unsigned, text]));
}

#[test]
fn a_reply_that_is_not_streamed_shows_its_thoughts_too() {
    let message = json!({
        "type": "message", "role": "assistant", "stop_reason": "end_turn", "usage": {},
        "content": [{"type": "thinking", "thinking": "One."}, {"type": "text", "text": "The answer."}],
    });
    let reply = Reply::raw(200, &[("content-type", "application/json")], message.to_string());
    let mut session = at_prompt(Test::new().reply(reply));
    session.send("go\r");
    session.shows("`/last thinking` shows it)\nThe answer.\n(");
    session.send("/last thinking\r");
    session.shows("\nOne.\nmeanwhile >");
    session.send("\x04");
    session.wait().code(0);
}

#[test]
fn thoughts_of_a_reply_that_was_lost_do_not_run_into_the_next() {
    let gate = Gate::new();
    let lost = vec![Block::thinking("First. Lost."), Block::text("No.")];
    let reply = vec![Block::thinking("Second."), Block::text("The answer.")];
    let test = Test::new().reply(Reply::message(lost).hold_after("First", &gate).cut_after(700));
    let mut session = at_prompt(test.reply(Reply::message(reply)));
    session.send("go\r");
    session.shows("\n  First.\n");
    gate.open();
    session.shows("\nThe answer.\n(");
    session.send("/last thinking\r");
    session.shows("meanwhile > /last thinking\nSecond.\nmeanwhile >");

    let short = Reply::message(vec![Block::thinking("Too long.")]).stop("max_tokens");
    let reply = vec![Block::thinking("Short."), Block::text("The answer.")];
    let mut again = at_prompt(Test::new().reply(short).reply(Reply::message(reply)));
    again.send("go\r");
    again.shows("\nThe answer.\n(");
    again.send("/last thinking\r");
    again.shows("meanwhile > /last thinking\nShort.\nmeanwhile >");
    for mut session in [session, again] {
        session.send("\x04");
        session.wait().code(0);
    }
}
