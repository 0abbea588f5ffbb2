//! Text of others on a terminal: of the model, of files and their names, of commands, of the server. It is shown, and
//! not obeyed.

use serde_json::json;

use crate::support::{Test, reply::Reply, stream::Block};

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
fn what_a_file_or_a_command_prints_cannot_move_the_cursor() {
    let finished = Test::new()
        .file("evil.txt", "a\u{1b}]0;owned\u{7}b\u{202e}c\u{9b}2J")
        .print("go")
        .reply(Reply::tool("read_file", json!({"path": "evil.txt"})))
        .reply(Reply::text("\u{1b}[2Jgone \u{2066}hidden"))
        .run()
        .code(0);
    let shown = format!("{}{}", finished.stdout, finished.stderr);
    assert!(
        finished
            .stderr
            .contains("a\\u{1b}]0;owned\\u{7}b\\u{202e}c\\u{9b}2J"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains('\u{1b}'), "{shown}");
}
