//! Text from the model, files, commands or the server can't control the terminal.

use serde_json::{Value, json};

use crate::support::{Test, finished::Finished, reply::Reply, stream::Block, until};

#[test]
fn names_of_tools_and_files_cannot_control_the_terminal() {
    let evil = "\u{1b}]52;c;ZXZpbA==\u{7}\u{9b}2J\u{202e}";
    let test = Test::new();
    let go = test.workspace().join("go");
    let mut session = test
        .env("TERM", "xterm")
        .reply(Reply::message(vec![
            Block::text(evil),
            Block::tool(evil, json!({"path": evil})),
            Block::tool("write_file", json!({"path": format!("{evil}.txt"), "content": evil})),
            Block::tool("bash", json!({"command": format!("printf '%s' '{evil}'")})),
            Block::tool(
                "background_run",
                json!({"command": format!("{}; exit 3", until("go", &format!("'{evil}'")))}),
            ),
        ]))
        // The task ends after this request, and wakes the agent.
        .reply(Reply::with(move |_| {
            std::fs::write(go, "").unwrap();
            Reply::text(evil)
        }))
        .allow_unused()
        .reply(Reply::text("The end."))
        .spawn_pty();
    session.shows("meanwhile >");
    session.send("go\r");
    session.shows("exit code 3 after ");
    session.shows("The end.");
    session.send("/tasks\r/last\r/save x\r");
    session.shows("Saved to x.");
    session.send("\u{4}");
    let finished = session.wait().code(0);
    for obeyed in ["\u{1b}]", "\u{9b}", "\u{202e}", "\u{7}"] {
        assert!(!finished.stdout.contains(obeyed), "{obeyed:?}");
    }
    assert!(finished.stdout.contains("\\u{1b}]52;c;"));
}

#[test]
fn what_a_file_or_a_command_prints_cannot_move_the_cursor() {
    let finished = Test::new()
        .file("evil.txt", "a\u{1b}]0;owned\u{7}b\u{202e}c\u{9b}2J")
        .print("go")
        .reply(Reply::tool("read_file", json!({"path": "evil.txt"})))
        .reply(Reply::text("\u{1b}[2Jgone \u{2066}hidden"))
        .run()
        .code(0);
    let shown = format!("{}{}", finished.stdout, finished.stderr);
    assert!(finished.stderr.contains("a\\u{1b}]0;owned\\u{7}b\\u{202e}c\\u{9b}2J"), "{}", finished.stderr);
    assert!(!finished.stderr.contains('\u{1b}'), "{shown}");
}

/// Characters that terminals obey: C0, DEL, C1, bidirectional overrides and isolates.
const OBEYED: [char; 12] = [
    '\u{1b}', '\u{7}', '\u{8}', '\u{0}', '\u{7f}', '\u{80}', '\u{9b}', '\u{9d}', '\u{9f}', '\u{202e}',
    '\u{2066}', '\u{200f}',
];

/// Sets the title, writes the clipboard, clears the screen and hides the text after it.
const EVIL: &str = "\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}]0;owned\u{7}\u{9b}2J\u{9d}0;x\u{9f}\u{80}\u{7f}\u{8}\u{202e}\u{2066}\u{200f}evil";

/// Sequences that the program never writes itself, even when it draws.
const NEVER: [&str; 9] =
    ["\u{1b}]", "\u{7}", "\u{7f}", "\u{80}", "\u{9b}", "\u{9d}", "\u{202e}", "\u{2066}", "\u{200f}"];

#[track_caller]
fn check_terminal(finished: &Finished) {
    for obeyed in NEVER {
        let found = finished.stdout.contains(obeyed);
        assert!(!found, "{obeyed:?} in {:?}", finished.stdout);
    }
    assert!(finished.stdout.contains("evil"), "{:?}", finished.stdout);
}

#[track_caller]
fn check_stderr(finished: &Finished) {
    let found = finished.stderr.find(OBEYED);
    assert!(found.is_none(), "{:?}", finished.stderr);
    assert!(finished.stderr.contains("evil"), "{:?}", finished.stderr);
}

#[test]
fn an_answer_or_its_record_cannot_control_the_terminal() {
    for format in ["text", "json", "stream-json"] {
        let finished = Test::new()
            .file("evil.txt", EVIL)
            .args(["--output-format", format])
            .print("go")
            .reply(Reply::tool("read_file", json!({"path": "evil.txt"})))
            .reply(Reply::text(EVIL))
            .spawn_pty()
            .wait()
            .code(0);
        check_terminal(&finished);
    }
}

#[test]
fn a_record_is_escaped_without_loss() {
    let finished =
        Test::new().args(["--output-format", "json"]).print("go").reply(Reply::text(EVIL)).run().code(0);
    assert!(!finished.stdout.contains(OBEYED), "{:?}", finished.stdout);
    let record: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(record["result"], EVIL);
}

#[test]
fn an_error_from_a_server_cannot_control_the_terminal() {
    let html = [("content-type", "text/html")];
    let error = json!({"type": "error", "error": {"type": EVIL, "message": EVIL}, "request_id": EVIL});
    for reply in [
        Reply::error(400, EVIL, EVIL),
        Reply::raw(400, &html, EVIL),
        Reply::raw(200, &[("content-type", "evil\u{9b}2J\u{202e}")], ""),
        Reply::raw(400, &[("request-id", "evil\u{9b}2J\u{202e}")], ""),
        Reply::raw(200, &[("content-type", "application/json")], EVIL),
        Reply::sse(&format!("data: {EVIL}\n\n")),
        Reply::sse(&format!("data: {error}\n\n")),
        Reply::error(429, "rate_limit_error", EVIL).header("retry-after", "0"),
    ] {
        let test = Test::new().args(["-v", "--max-retries=1"]).print("go");
        let last = Reply::error(400, EVIL, EVIL);
        let finished = test.allow_unused().reply(reply).reply(last).run();
        check_stderr(&finished.code(3));
    }
}

#[test]
fn arguments_cannot_control_the_terminal() {
    let evil = EVIL.replace('\0', "");
    for args in [
        vec![format!("--evil{evil}")],
        vec!["--output-format".into(), evil.clone()],
        vec!["-p".into(), "--resume".into(), evil.clone()],
        vec!["-p".into(), "x".into(), "-f".into(), evil.clone()],
        vec!["-p".into(), "x".into(), "--replay".into(), evil.clone()],
        vec!["-p".into(), "x".into(), "--add-dir".into(), evil.clone()],
        vec!["-p".into(), "x".into(), "--deny".into(), evil.clone()],
    ] {
        check_stderr(&Test::new().args(args).run());
    }
}

#[test]
fn sessions_and_doctor_cannot_control_the_terminal() {
    let evil = EVIL.replace('\0', "");
    let test = Test::new().arg("-p").stdin(&evil).reply(Reply::text("fine"));
    let finished = test.run().code(0).again().arg("sessions").spawn_pty();
    check_terminal(&finished.wait().code(0));
    let test = Test::new().allow_violations();
    let state = test.home().join(&evil);
    let doctor = test.arg("doctor").env("XDG_STATE_HOME", state).env("MODEL_ID", &evil);
    check_terminal(&doctor.spawn_pty().wait());
}

#[test]
fn completed_and_attached_names_cannot_control_the_terminal() {
    let (one, other) = (format!("{EVIL}1"), format!("{EVIL}2"));
    let mut session = Test::new()
        .env("TERM", "xterm")
        .env("MODEL_ID", EVIL)
        .file(one.replace('\0', ""), "")
        .file(other.replace('\0', ""), "")
        .reply(Reply::text("fine"))
        .spawn_pty();
    session.shows("meanwhile >");
    session.send("@\t");
    session.shows("evil2");
    session.send("\x15@nothing\u{202e}evil\u{9b}2J\r");
    session.shows("fine");
    for line in [
        "/resume \u{9b}evil",
        "/task \u{9b}evil",
        "/kill \u{9b}evil",
        "/model \u{9b}evil",
        "!echo '\u{9b}evil'",
    ] {
        session.send(format!("{line}\r"));
    }
    session.send("/exit\r");
    check_terminal(&session.wait().code(0));
}
