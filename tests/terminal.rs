//! The prompt on a real terminal: editing, commands, output, Ctrl-C.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Test, gate::Gate, reply::Reply, session::Session, stream::Block, until, wait_until};

const PROMPT: &str = "meanwhile >";

/// Starts the program on a terminal that can move its cursor, and waits for the prompt.
pub fn at_prompt(test: Test) -> Session {
    let session = test.env("TERM", "xterm-256color").spawn_pty();
    session.shows(PROMPT);
    session
}

/// Types a line, and waits for `expected` and for a prompt after it.
#[track_caller]
fn enter(session: &mut Session, line: &str, expected: &str) -> String {
    session.send(format!("{line}\r"));
    session.shows_that(&format!("{expected:?} and a prompt"), |screen| {
        screen.contains(expected) && screen.ends_with(PROMPT)
    })
}

/// The texts in the last message of request `n`.
fn said(finished: &crate::support::finished::Finished, n: usize) -> Vec<String> {
    let content = finished.request(n).last_content();
    let texts = content.iter().filter_map(|block| block["text"].as_str());
    texts.map(str::to_owned).collect()
}

/// Checks the message that is sent after these keys and Enter.
#[track_caller]
fn check_typed(keys: &str, expected: &str) {
    let mut session = at_prompt(Test::new().reply(Reply::text("Understood.")));
    enter(&mut session, keys, "Understood.");
    session.send("\x04");
    let finished = session.wait().code(0);
    assert_eq!(said(&finished, 0), [expected], "{keys:?}");
}

#[test]
fn a_line_is_edited() {
    check_typed("helo\x1b[Dl world\x01Say: \x05!", "Say: hell worldo!");
    check_typed("one two\x17three \u{6f22}\u{5b57}\x7f", "one three \u{6f22}");
}

#[test]
fn several_lines_are_one_message() {
    check_typed("\x1b[200~first\nsecond\r\nthird\x1b[201~", "first\nsecond\nthird");
    check_typed("first\\\rsecond\x1b\rthird", "first\nsecond\nthird");
}

#[test]
fn a_megabyte_is_pasted() {
    let paste = "0123456789abcde\n".repeat(65_536);
    let mut session = at_prompt(Test::new().reply(Reply::text("Understood.")));
    session.send(format!("\x1b[200~{paste}\x1b[201~"));
    session.shows("0123456789abcde\n");
    enter(&mut session, "", "Understood.");
    session.send("\x04");
    assert_eq!(said(&session.wait().code(0), 0), [paste.trim_end()]);
}

#[test]
fn the_history_is_kept_across_sessions_and_searched() {
    let mut session = at_prompt(Test::new().reply(Reply::text("One.")).reply(Reply::text("Two.")));
    enter(&mut session, "find the needle", "One.");
    enter(&mut session, " not this secret", "Two.");
    session.send("\x04");
    let finished = session.wait().code(0);
    let history = fs::read_to_string(finished.dir.state().join("meanwhile/history")).unwrap();
    assert_eq!(history, "find the needle\n");

    let again = finished.again().reply(Reply::text("Three.")).reply(Reply::text("Four."));
    let mut session = at_prompt(again);
    enter(&mut session, "\x1b[A", "Three.");
    session.send("\x12need");
    session.shows("(history: need) find the needle");
    enter(&mut session, "", "Four.");
    session.send("\x04");
    let finished = session.wait().code(0);
    assert_eq!(said(&finished, 0), ["find the needle"]);
    assert_eq!(said(&finished, 1), ["find the needle"]);
}

#[test]
fn commands_and_paths_are_completed() {
    let test = Test::new()
        .file("notes/one.txt", "remember\n")
        .file("notes/other.txt", "x")
        .reply(Reply::text("Understood."));
    let mut session = at_prompt(test);
    session.send("/he\t");
    session.shows("meanwhile > /help");
    session.send("\x15/ta\t");
    session.shows("/tasks  /task");
    session.send("\x15see @no\to\t");
    session.shows("notes/one.txt  notes/other.txt");
    session.send("n\t");
    enter(&mut session, "now", "Understood.");
    session.send("\x04");
    let finished = session.wait().code(0);
    let expected = ["see @notes/one.txt now", "The file notes/one.txt:\nremember\n"];
    assert_eq!(said(&finished, 0), expected);
}

#[test]
fn a_file_that_cannot_be_attached_is_named() {
    let mut session = at_prompt(Test::new().reply(Reply::text("Understood.")));
    let shown = enter(&mut session, "see @missing.txt, please", "Understood.");
    assert!(shown.contains("did not attach @missing.txt: "), "{shown}");
    session.send("\x04");
    assert_eq!(said(&session.wait().code(0), 0), ["see @missing.txt, please"]);
}

#[test]
fn a_command_of_the_user_is_run_and_shown_to_the_model() {
    let mut session = at_prompt(Test::new().reply(Reply::text("Understood.")));
    enter(&mut session, "!echo a''b; sudo -n true", "ab");
    enter(&mut session, "what was that?", "Understood.");
    session.send("\x04");
    let finished = session.wait().code(0);
    let texts = said(&finished, 0);
    assert!(
        texts[0].starts_with("(The user has run this command: echo a''b; sudo -n true\nIts result:)\nab")
    );
    assert_eq!(texts[1], "what was that?");
}

#[test]
fn a_task_that_ends_is_announced_above_what_is_typed_and_waits_for_the_line() {
    let test = Test::new()
        .reply(Reply::tool("background_run", json!({"command": until("go", "it passed")})))
        .reply(Reply::text("Started."))
        .reply(Reply::text("I see."));
    let mut session = at_prompt(test);
    session.send("begin\r");
    session.shows_that("the prompt with a task", |screen| screen.ends_with("meanwhile [1 running] >"));
    session.send("and then");
    session.shows("meanwhile [1 running] > and then");
    session.dir().write("go", "");
    let screen = session.shows_that("the announcement", |screen| {
        screen.contains("  exit code 0 after ") && screen.ends_with("meanwhile > and then")
    });
    assert!(!screen.contains("I see."), "{screen}");
    enter(&mut session, "", "I see.");
    session.send("\x04");
    let finished = session.wait().code(0);
    let texts = said(&finished, 2);
    assert_eq!(texts[0].lines().next(), Some("and then"));
    assert!(texts[1].contains("it passed"), "{texts:?}");
}

#[test]
fn tasks_that_end_together_wake_the_agent_once() {
    // On a busy machine they may not end together.
    wait_until("one wake for five tasks", || {
        let task =
            |n: u32| Block::tool("background_run", json!({"command": until("go", &format!("result {n}"))}));
        let mut test = Test::new()
            .reply(Reply::message((0..5).map(task).collect()))
            .reply(Reply::text("Started."))
            .allow_unused();
        for _ in 0..5 {
            test = test.reply(Reply::text("All five."));
        }
        let mut session = at_prompt(test);
        session.send("begin\r");
        session.shows("meanwhile [5 running] >");
        session.dir().write("go", "");
        session.shows("All five.");
        session.send("\x04");
        let finished = session.wait().code(0);
        let told = &said(&finished, 2)[0];
        finished.requests.len() == 3 && (0..5).all(|n| told.contains(&format!("result {n}")))
    });
}

#[test]
fn without_wake_a_task_that_ends_is_only_announced() {
    let test = Test::new()
        .arg("--no-wake")
        .reply(Reply::tool("background_run", json!({"command": until("go", "it passed")})))
        .reply(Reply::text("Started."))
        .reply(Reply::text("I see."));
    let mut session = at_prompt(test);
    session.send("begin\r");
    session.shows("meanwhile [1 running] >");
    session.dir().write("go", "");
    session.shows("  exit code 0 after ");
    let screen = enter(&mut session, "/usage", "Replies in this run: 2");
    assert!(!screen.contains("I see."), "{screen}");
    enter(&mut session, "well?", "I see.");
    session.send("\x04");
    assert!(said(&session.wait().code(0), 2)[1].contains("it passed"));
}

#[test]
fn ctrl_c_ends_the_request_and_keeps_the_session() {
    let gate = Gate::new();
    let test = Test::new()
        .reply(Reply::text("first words then more").hold_after("words", &gate))
        .reply(Reply::text("Here."));
    let mut session = at_prompt(test);
    session.send("go\r");
    session.shows("first words");
    session.send("\x03");
    session.shows("meanwhile: interrupted");
    gate.open();
    enter(&mut session, "are you there?", "Here.");
    session.send("\x04");
    session.wait().code(0);
}

#[test]
fn a_message_without_a_reply_comes_back_to_the_prompt() {
    let gate = Gate::new();
    let test = Test::new().reply(Reply::text("Done.").gate(&gate)).reply(Reply::text("Here."));
    let mut session = at_prompt(test);
    session.send("delete the old migrations\r");
    session.server().wait_for_requests(1);
    session.send("\x03");
    session.shows_that("the message at the prompt", |screen| {
        screen.ends_with("meanwhile: interrupted\nmeanwhile > delete the old migrations")
    });
    session.send("\x15");
    enter(&mut session, "list the files", "Here.");
    session.send("\x04");
    let finished = session.wait().code(0);
    assert_eq!(finished.request(1).messages().len(), 1);
    assert_eq!(said(&finished, 1), ["list the files"]);
    gate.open();
}

#[test]
fn a_message_does_not_come_back_over_what_was_typed_meanwhile() {
    let gate = Gate::new();
    let mut session = at_prompt(Test::new().reply(Reply::text("Done.").gate(&gate)));
    session.send("delete the old migrations\r");
    session.server().wait_for_requests(1);
    session.send("list");
    session.shows_that("what is typed", |screen| screen.ends_with("meanwhile > list"));
    session.send("\x03");
    session.shows_that("the end of the turn", |screen| {
        screen.ends_with("meanwhile: interrupted\nmeanwhile > list")
    });
    session.send("\x15\x04");
    session.wait().code(0);
    gate.open();
}

#[test]
fn ctrl_c_ends_a_foreground_command_which_is_reported_as_interrupted() {
    let test = Test::new()
        .reply(Reply::tool("bash", json!({"command": "echo begun; sleep 600"})))
        .reply(Reply::text("I see."));
    let mut session = at_prompt(test);
    session.send("go\r");
    session.shows("* bash: echo begun; sleep 600, ");
    session.send("\x03");
    session.shows("meanwhile: interrupted");
    enter(&mut session, "well?", "I see.");
    session.send("\x04");
    let finished = session.wait().code(0);
    assert!(finished.request(1).tool_result(0).0.contains("interrupted by the user"));
}

#[test]
fn ctrl_c_at_an_empty_prompt_says_how_to_exit_and_twice_exits() {
    let mut session = at_prompt(Test::new());
    session.send("abc\x03");
    session.shows_that("an empty line", |screen| screen.ends_with(PROMPT));
    // The second within a second exits, whatever the first did.
    session.send("\x03");
    session.wait().code(0);

    let mut session = at_prompt(Test::new());
    session.send("\x03");
    session.shows("(press Ctrl-D, or Ctrl-C twice, to exit)");
    session.send("\x03");
    session.wait().code(0);
}

#[test]
fn exiting_does_not_wait_for_lines_typed_before() {
    for leave in ["\x03\x03", "\x04", "exit\r", "/exit\r"] {
        let gate = Gate::new();
        let test = Test::new()
            .allow_unused()
            .reply(Reply::text("a slow answer").hold_after("slow", &gate))
            .reply(Reply::text("Second.").gate(&gate));
        let mut session = at_prompt(test);
        session.send("first\r");
        session.shows("a slow");
        session.send(format!("second\rthird\r{leave}"));
        let finished = session.wait().code(0);
        // After the first Ctrl-C, the next line may have started a turn.
        assert!(finished.requests.len() <= 2);
        gate.open();
    }
}

#[test]
fn ctrl_d_says_which_tasks_are_ended_with_it() {
    let test = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "sleep 600; echo 1"})))
        .reply(Reply::text("Started."));
    let mut session = at_prompt(test);
    session.send("begin\r");
    session.shows("Started.\n(");
    session.send("\x04");
    session.expect("This task is still running and is ended now:");
    session.expect("sleep 600; echo 1");
    session.wait().code(0);
}

#[test]
fn a_resized_window_does_no_harm() {
    let mut session = at_prompt(Test::new().reply(Reply::text("Understood.")));
    for (rows, columns) in [(5, 10), (1, 1), (50, 200), (24, 80)] {
        session.terminal().resize(rows, columns);
        session.send("x");
    }
    session.send("\r");
    session.shows("Understood.");
    session.send("\x04");
    assert_eq!(said(&session.wait().code(0), 0), ["xxxx"]);
}

#[test]
fn markdown_is_rendered_and_the_progress_row_disappears() {
    let gate = Gate::new();
    let text = "# Title\nis **bold** and `code`\n- item\n\n```rust\nlet **x**;\n```\nheld back";
    let test = Test::new().reply(Reply::text(text).hold_after("held", &gate));
    let mut session = at_prompt(test);
    session.send("go\r");
    session.shows("\nheld\n* waiting for the model, ");
    gate.open();
    let screen = session.shows(" tokens in, ");
    assert!(
        screen.contains("\nTitle\nis bold and code\n\u{2022} item\n\n```rust\nlet **x**;\n```\nheld back\n("),
        "{screen}"
    );
    assert!(!screen.contains("waiting"), "{screen}");
    session.send("\x04");
    let finished = session.wait().code(0);
    for styled in ["\x1b[1mTitle", "\x1b[1mbold", "\x1b[36mcode"] {
        assert!(finished.stdout.contains(styled), "{styled:?}");
    }
}

#[test]
fn a_result_is_folded_and_shown_whole_when_asked_for() {
    let test = Test::new()
        .reply(Reply::tool("bash", json!({"command": "seq -f 'line %g' 9"})))
        .reply(Reply::text("Done."));
    let mut session = at_prompt(test);
    let screen = enter(&mut session, "go", "Done.");
    assert!(
        screen.contains(
            "> bash: seq -f 'line %g' 9\nline 1\nline 2\nline 3\nline 4\nline 5\n... (4 more lines)\nDone."
        ),
        "{screen}"
    );
    enter(&mut session, "/last", "\nline 8\nline 9\n");
    session.send("\x04");
    session.wait().code(0);
}

#[test]
fn an_edit_is_shown_as_a_colored_diff() {
    let test = Test::new()
        .file("a.txt", "one\ntwo\nthree\n")
        .reply(Reply::tool("edit_file", json!({"path": "a.txt", "old_text": "two", "new_text": "2"})))
        .reply(Reply::text("Done."));
    let mut session = at_prompt(test);
    let screen = enter(&mut session, "go", "Done.");
    assert!(screen.contains("\n    1   one\n    2 - two\n    2 + 2\n    3   three\n"), "{screen}");
    session.send("\x04");
    let shown = session.wait().code(0).stdout;
    assert!(shown.contains("\x1b[31m    2 - two") && shown.contains("\x1b[32m    2 + 2"));
}

#[test]
fn tasks_are_listed_and_ended_while_a_turn_runs() {
    let gate = Gate::new();
    let test = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "sleep 600; echo 1"})))
        .reply(Reply::text("a slow answer").hold_after("slow", &gate))
        .reply(Reply::text("I see."));
    let mut session = at_prompt(test);
    session.send("begin\r");
    session.shows("a slow");
    session.send("/tasks\r");
    let screen = session.shows("  running for ");
    let line = screen.lines().find(|line| line.contains("  running for ")).unwrap();
    let id = &line[..8];
    session.send(format!("/kill {}\r", &id[..4]));
    session.shows(&format!("Ending {id}."));
    session.shows(&format!("{id}  killed after "));
    gate.open();
    session.shows("I see.");
    enter(&mut session, &format!("/kill {id}"), &format!("{id} has ended already: killed"));
    enter(&mut session, "/kill zzz", "No task `zzz`; `/tasks` lists them.");
    session.send("\x04");
    session.wait().code(0);
}

#[test]
fn the_output_of_a_task_is_live_until_a_key() {
    let command = format!("echo begun; {}; sleep 600", until("go", "more of it"));
    let test = Test::new()
        .reply(Reply::tool("background_run", json!({"command": command})))
        .reply(Reply::text("Started."));
    let mut session = at_prompt(test);
    session.send("begin\r");
    let screen = session.shows("Started.\n(");
    let id = screen.split("Background task ").nth(1).unwrap()[..8].to_owned();
    session.send(format!("/task {id}\r"));
    session.shows("\n(press any key to return; the task goes on)");
    session.shows("\nbegun\n");
    session.dir().write("go", "");
    session.shows("\nmore of it\n");
    session.send("xabc");
    session.shows("meanwhile [1 running] > abc");
    session.send("\x15\x04");
    session.wait().code(0);
}

#[test]
fn a_long_output_is_shown_once_and_then_only_what_is_new() {
    let steps = (0..4).map(|n| until(&format!("go{n}"), &format!("step {n}")));
    let steps: Vec<String> = steps.collect();
    let command = format!("seq -f 'line %.0f' 9000; {}; sleep 600", steps.join("; "));
    let test = Test::new()
        .reply(Reply::tool("background_run", json!({"command": command})))
        .reply(Reply::text("Started."));
    let mut session = at_prompt(test);
    session.send("begin\r");
    let screen = session.shows("Started.\n(");
    let id = screen.split("Background task ").nth(1).unwrap()[..8].to_owned();
    session.send(format!("/task {id}\r"));
    session.shows("\nline 9000\n");
    for n in 0..4 {
        session.dir().write(format!("go{n}"), "");
        session.shows(&format!("\nstep {n}\n"));
    }
    session.send("x\x04");
    let shown = session.wait().code(0).stdout;
    for line in ["line 2\n", "line 8999\n"] {
        assert_eq!(shown.replace("\r\n", "\n").matches(&format!("\n{line}")).count(), 1, "{line}");
    }
}

#[test]
fn the_other_commands_do_what_they_say() {
    let test = Test::new().reply(Reply::text("One.")).reply(Reply::text("Two.")).reply(Reply::text("Three."));
    let mut session = at_prompt(test);
    enter(&mut session, "/help", "/save FILE");
    enter(&mut session, "/taks", "Did you mean `/tasks`?");
    enter(&mut session, "/tasks", "No background tasks.");
    enter(&mut session, "/last", "No tool has run yet.");
    enter(&mut session, "/model", "test-model");
    enter(&mut session, "first", "One.");
    enter(&mut session, "/usage", "Replies in this run: 1");
    enter(&mut session, "/save talk.md", "Saved to talk.md.");
    enter(&mut session, "/save talk.md", "meanwhile: failed to write file `talk.md`: ");
    enter(&mut session, "/model other", "Switched to other.");
    enter(&mut session, "second", "Two.");
    enter(&mut session, "/clear", "Started over.");
    enter(&mut session, "third", "Three.");
    enter(&mut session, "/resume", "3 turns");
    enter(&mut session, "/resume zzz", "zzz");
    session.send("/exit\r");
    let finished = session.wait().code(0);
    assert_eq!(
        finished.dir.read("talk.md"),
        "# A conversation with meanwhile\n\n## User\n\nfirst\n\n## Model\n\nOne.\n"
    );
    let models: Vec<&Value> = finished.requests.iter().map(|request| &request.body["model"]).collect();
    assert_eq!(models, ["test-model", "other", "other"]);
    assert_eq!(finished.request(1).messages().len(), 3);
    assert_eq!(finished.request(2).messages().len(), 1);
}

#[test]
fn another_session_is_continued() {
    let finished = Test::new().print("remember this").reply(Reply::text("I do.")).run().code(0);
    let sessions = finished.dir.state().join("meanwhile/sessions");
    let file = fs::read_dir(sessions).unwrap().next().unwrap().unwrap();
    let id = file.file_name().to_string_lossy()[..8].to_owned();
    let mut session = at_prompt(finished.again().reply(Reply::text("Of course.")));
    enter(&mut session, &format!("/resume {id}"), &format!("Continuing session {id}."));
    enter(&mut session, "do you?", "Of course.");
    session.send("\x04");
    let finished = session.wait().code(0);
    assert_eq!(finished.request(0).messages().len(), 3);
}

#[test]
fn messages_typed_during_a_turn_are_queued() {
    let gate = Gate::new();
    let test = Test::new()
        .reply(Reply::text("a slow answer").hold_after("slow", &gate))
        .reply(Reply::text("Second."));
    let mut session = at_prompt(test);
    session.send("first\r");
    session.shows("a slow");
    session.send("second\r");
    session.shows("(queued until this turn ends)");
    gate.open();
    session.shows("Second.");
    session.send("\x04");
    assert_eq!(said(&session.wait().code(0), 1), ["second"]);
}

#[test]
fn keys_are_echoed_while_a_reply_streams_and_tasks_print() {
    let print = "while [ ! -e stop ]; do echo line; done";
    let tasks = (0..10).map(|_| Block::tool("background_run", json!({"command": print})));
    let gate = Gate::new();
    let words = "word ".repeat(3000) + "held back";
    let test = Test::new()
        .reply(Reply::message(tasks.collect()))
        .reply(Reply::text(&words).hold_after("held", &gate))
        .allow_unused()
        .reply(Reply::text("All of them."));
    let mut session = at_prompt(test);
    session.send("begin\r");
    session.shows("word word");
    for typed in ["t", "ty", "typ", "type", "typed"] {
        session.send(&typed[typed.len() - 1..]);
        session.shows(&format!("meanwhile [10 running] > {typed}"));
    }
    session.dir().write("stop", "");
    gate.open();
    session.send("\x15");
    session.shows("All of them.");
    session.send("\x04");
    session.wait().code(0);
}

#[test]
fn a_signal_ends_the_program_while_an_output_is_followed() {
    let test = Test::new()
        .reply(Reply::tool("background_run", json!({"command": "sleep 600"})))
        .reply(Reply::text("Started."));
    let mut session = at_prompt(test);
    session.send("begin\r");
    let screen = session.shows("Started.\n(");
    let id = screen.split("Background task ").nth(1).unwrap()[..8].to_owned();
    session.send(format!("/task {id}\r"));
    session.shows("(press any key to return; the task goes on)");
    session.signal(rustix::process::Signal::TERM);
    session.wait().code(143);
}

#[test]
fn the_terminal_is_restored() {
    for end in ["\x04", "\x03\x03", "/exit\r"] {
        let mut session = at_prompt(Test::new());
        assert!(!session.terminal().echoes());
        let terminal = session.terminal().clone();
        session.send(end);
        session.wait().code(0);
        assert!(terminal.echoes(), "{end:?}");
    }
    let session = at_prompt(Test::new());
    let terminal = session.terminal().clone();
    session.signal(rustix::process::Signal::TERM);
    session.wait().code(143);
    assert!(terminal.echoes());
}

#[test]
fn ctrl_z_stops_the_program_and_fg_goes_on() {
    let test = Test::new().env("TERM", "xterm-256color").reply(Reply::text("Understood."));
    let mut session = test.spawn_in_shell();
    session.shows(PROMPT);
    session.send("half a li");
    session.shows("meanwhile > half a li");
    session.send("\x1a");
    session.shows_that("the shell", |screen| screen.ends_with("shell$"));
    session.send("fg\r");
    session.shows_that("the line again", |screen| screen.ends_with("meanwhile > half a li"));
    session.send("ne\r");
    session.shows("Understood.");
    session.send("\x04");
    session.shows_that("the shell", |screen| screen.ends_with("shell$"));
    session.send("exit\r");
    let finished = session.wait();
    assert_eq!(said(&finished, 0), ["half a line"]);
}

#[test]
fn a_plain_terminal_gets_plain_lines() {
    let test = Test::new()
        .env("TERM", "dumb")
        .reply(Reply::tool("background_run", json!({"command": until("go", "it passed")})))
        .reply(Reply::text("Started."))
        .reply(Reply::text("I **see**."));
    let mut session = test.spawn_pty();
    session.expect("\r\nmeanwhile > ");
    session.send_line("begin");
    session.expect("Started.");
    session.expect("meanwhile [1 running] > ");
    session.dir().write("go", "");
    session.expect("  exit code 0 after ");
    session.expect("I **see**.");
    session.send_line("/tasks");
    session.expect("exit code 0 after ");
    session.close_stdin();
    let finished = session.wait().code(0);
    assert!(!finished.stdout.contains('\x1b'), "{:?}", finished.stdout);
}

#[test]
fn the_first_run_names_what_is_missing_and_a_way_to_try() {
    for name in ["ANTHROPIC_API_KEY", "MODEL_ID"] {
        let test = Test::new().env("ANTHROPIC_BASE_URL", "http://api.test").env("TERM", "xterm");
        let session = test.env_remove(name).spawn_pty();
        let finished = session.wait().code(2);
        assert!(finished.stdout.contains(name), "{}", finished.stdout);
        assert!(finished.stdout.contains("`meanwhile demo` needs none"), "{}", finished.stdout);
    }
}

#[test]
fn a_message_that_came_back_does_not_keep_the_agent_asleep() {
    let gate = Gate::new();
    let test = Test::new()
        .reply(Reply::tool("background_run", json!({"command": until("go", "it passed")})))
        .reply(Reply::text("Started."))
        .reply(Reply::text("Done.").gate(&gate))
        .reply(Reply::text("I see."));
    let mut session = at_prompt(test);
    session.send("one\r");
    session.shows("Started.");
    session.send("two\r");
    session.server().wait_for_requests(3);
    session.send("\x03");
    session.shows_that("the message at the prompt", |screen| screen.ends_with("> two"));
    session.dir().write("go", "");
    session.shows("I see.");
    gate.open();
    session.send("\x15\x04");
    session.wait().code(0);
}

#[test]
fn a_message_from_a_file_does_not_come_back_as_a_typed_line() {
    let gate = Gate::new();
    let test = Test::new()
        .file("task.txt", "!touch ran\n")
        .args(["-f", "task.txt"])
        .reply(Reply::text("Done.").gate(&gate));
    let mut session = at_prompt(test);
    session.server().wait_for_requests(1);
    session.send("\x03");
    session.shows_that("an empty line", |screen| {
        screen.ends_with("meanwhile: interrupted\nmeanwhile >")
            || screen.ends_with("interrupted\nmeanwhile > ")
    });
    session.send("\r\x04");
    let finished = session.wait().code(0);
    gate.open();
    assert!(!finished.dir.workspace().join("ran").exists());
}
