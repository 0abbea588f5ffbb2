//! What needs consent, who gives it, and what is done without it.

use serde_json::{Value, json};

use crate::support::{Test, reply::Reply, session::Session, stream::Block, wait_until};

/// Lets the model run one command, with these options.
fn command(command: &str, options: &[&str]) -> Test {
    Test::new()
        .args(options)
        .print("go")
        .reply(Reply::tool("bash", json!({"command": command})))
        .reply(Reply::text("done"))
}

#[track_caller]
fn check(options: &[&str], text: &str, expected: &str) {
    let finished = command(text, options).run().code(0);
    let (result, _) = finished.request(1).tool_result(0);
    assert!(result.contains(expected), "{text}: {result}");
}

#[test]
fn rules_decide_beforehand_and_deny_wins() {
    let options = ["--ask", "--allow", "bash:echo *", "--deny", "bash:echo no*", "--deny", "bash:git push*"];
    check(&options, "echo fine; echo 'also fine'", "fine\nalso fine");
    check(&options, "echo yes && echo nothing", "--deny 'bash:echo no*'");
    check(&options, "echo $(rm x)", "nobody is there");
    check(&options, "echo x > file", "nobody is there");
    check(&options, "ls", "nobody is there");
    check(&options, "env A=1 sh -c 'git push'", "--deny 'bash:git push*'");
    let denied = [
        "ls; echo nothing",
        "sh <<A\necho nothing\nA",
        "cat <<A\n$(echo nothing)\nA",
        "timeout --signal KILL 5 echo nothing",
        "find . -exec true \\; -exec echo nothing \\;",
    ];
    for command in denied {
        check(&options[3..], command, "--deny 'bash:echo no*'");
    }
    check(&options[3..], "echo \"git\" push; echo $(echo hidden)", "hidden");
}

#[test]
fn what_may_not_be_done_is_not_done_by_any_tool() {
    let finished = Test::new()
        .args(["--deny", "write_file:.git/*", "--deny", "read_file:.env", "--deny", "bash:touch *"])
        .file(".env", "SECRET=1")
        .file(".git/config", "old")
        .print("go")
        .reply(Reply::message(vec![
            Block::tool("write_file", json!({"path": "x/../.git/config", "content": "new"})),
            Block::tool("read_file", json!({"path": "./.env"})),
            Block::tool("background_run", json!({"command": "touch made"})),
            Block::tool("write_file", json!({"path": "free.txt", "content": "new"})),
        ]))
        .reply(Reply::text("done"))
        .run()
        .code(0);
    for n in 0..3 {
        let (text, is_error) = finished.request(1).tool_result(n);
        assert!(is_error && text.contains("--deny"), "{text}");
    }
    assert_eq!(finished.dir.read(".git/config"), "old");
    assert_eq!(finished.dir.read("free.txt"), "new");
    assert!(!finished.dir.workspace().join("made").exists());
}

#[test]
fn without_a_terminal_what_would_be_asked_is_refused_and_listed() {
    let finished = Test::new()
        .args(["--ask", "--output-format", "json"])
        .print("go")
        .reply(Reply::message(vec![
            Block::tool("bash", json!({"command": "touch made"})),
            Block::tool("background_run", json!({"command": "touch made"})),
            Block::tool("write_file", json!({"path": "made", "content": "x"})),
            Block::tool("read_file", json!({"path": "there"})),
        ]))
        .reply(Reply::text("could not"))
        .file("there", "content")
        .run()
        .code(0);
    for n in 0..3 {
        let (text, is_error) = finished.request(1).tool_result(n);
        assert!(is_error && text.contains("nobody is there to give it"), "{text}");
    }
    assert!(finished.request(1).tool_result(3).0.contains("content"));
    assert!(!finished.dir.workspace().join("made").exists());
    let record: Value = serde_json::from_str(&finished.stdout).unwrap();
    let refused = record["permission_denials"].as_array().unwrap();
    let names: Vec<&str> = refused.iter().map(|one| one["tool_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bash", "background_run", "write_file"]);
    assert_eq!(refused[0]["tool_input"], json!({"command": "touch made"}));
    assert_eq!(refused[0]["reason"], "nobody was there to be asked");
}

#[test]
fn a_text_that_is_not_a_rule_is_named() {
    for rule in ["cargo *", "bash:", "shell:ls"] {
        Test::new()
            .args(["--deny", rule])
            .print("go")
            .run()
            .code(2)
            .stderr_contains(&format!("--deny: `{rule}` is not TOOL"));
    }
}

/// Somebody at a terminal, who is asked about these calls.
fn asked(term: &str, calls: Vec<Block>) -> Session {
    let mut session = Test::new()
        .env("TERM", term)
        .arg("--ask")
        .file("old.txt", "one\ntwo\nthree\n")
        .reply(Reply::message(calls))
        .reply(Reply::text("Done with it."))
        .spawn_pty();
    session.expect("meanwhile");
    session.send_line("go");
    session
}

/// Ends the session and returns the results of the calls.
#[track_caller]
fn results(mut session: Session) -> Vec<String> {
    session.expect("Done with it.");
    session.send_line("exit");
    let finished = session.wait().code(0);
    let results = finished.request(1).last_content();
    let count = results.iter().filter(|block| block["type"] == "tool_result").count();
    (0..count).map(|n| finished.request(1).tool_result(n).0).collect()
}

const TERMS: [&str; 2] = ["dumb", "xterm"];

#[test]
fn a_person_says_yes_no_or_why_not() {
    for term in TERMS {
        let bash = |command| Block::tool("bash", json!({"command": command}));
        let mut session = asked(term, vec![bash("echo 1''1"), bash("echo 2''2"), bash("echo 3''3")]);
        session.expect("bash: echo 1''1");
        session.expect("y = yes, n = no, a = always (bash:echo *), or a reason why not");
        session.send_line("y");
        session.expect("bash: echo 2''2");
        session.expect("reason why not");
        session.send_line("n");
        session.expect("bash: echo 3''3");
        session.expect("reason why not");
        session.send_line("not in this folder");
        let expected =
            ["11", "Error: refused by the user", "Error: refused by the user, who says: not in this folder"];
        let results = results(session);
        assert_eq!(results[1..], expected[1..], "{term}");
        assert!(results[0].starts_with("11"), "{term}: {}", results[0]);
    }
}

#[test]
fn always_holds_for_what_begins_alike() {
    for term in TERMS {
        let bash = |command| Block::tool("bash", json!({"command": command}));
        let calls = vec![
            bash("echo 1''1"),
            bash("echo 2''2"),
            Block::tool("background_run", json!({"command": "echo 3''3"})),
            bash("ls"),
        ];
        let mut session = asked(term, calls);
        session.expect("reason why not");
        session.send_line("a");
        session.expect("bash: ls");
        session.expect("reason why not");
        session.send_line("n");
        let results = results(session);
        assert!(results[0].starts_with("11") && results[1].starts_with("22"), "{results:?}");
        assert!(results[2].contains("started") && results[3].contains("refused"), "{results:?}");
    }
}

#[test]
fn what_becomes_of_a_file_is_shown_before_it_does() {
    for term in TERMS {
        let edit = json!({"path": "old.txt", "old_text": "two", "new_text": "2"});
        let write = json!({"path": "new.txt", "content": "\u{1b}]0;title\u{7}\nhello\n"});
        let mut session = asked(term, vec![Block::tool("edit_file", edit), Block::tool("write_file", write)]);
        session.expect("edit_file: old.txt");
        let shown = session.expect("reason why not");
        for line in ["1   one", "2 - two", "2 + 2", "3   three"] {
            assert!(shown.contains(line), "{shown}");
        }
        session.send_line("y");
        let after = session.expect("write_file: new.txt (new)");
        assert!(!after.contains("2 + 2"), "it was shown before: {after}");
        let shown = session.expect("reason why not");
        assert!(shown.contains("1 + \\u{1b}]0;title\\u{7}"), "{shown}");
        assert!(!session.dir().workspace().join("new.txt").exists());
        session.send_line("n");
        session.expect("Done with it.");
        session.send_line("exit");
        let finished = session.wait().code(0);
        assert_eq!(finished.dir.read("old.txt"), "one\n2\nthree\n");
        assert!(!finished.dir.workspace().join("new.txt").exists());
    }
}

#[test]
fn while_a_question_is_open_nothing_is_sent_and_a_notice_is_no_answer() {
    for term in TERMS {
        let calls = vec![
            Block::tool("background_run", json!({"command": "echo y; echo y > noticed"})),
            Block::tool("bash", json!({"command": "touch made"})),
        ];
        let mut session = asked(term, calls);
        session.expect("reason why not");
        session.send_line("y");
        session.expect("bash: touch made");
        session.expect("reason why not");
        let workspace = session.dir().workspace();
        wait_until("the task has run", || workspace.join("noticed").exists());
        assert!(!session.sees("Done", std::time::Duration::from_millis(300)));
        assert_eq!(session.server().requests().len(), 1);
        assert!(!workspace.join("made").exists());
        session.send_line("n");
        let results = results(session);
        assert_eq!(results[1], "Error: refused by the user");
        assert!(!workspace.join("made").exists());
    }
}

#[test]
fn an_interrupt_ends_the_question_and_the_turn() {
    for term in TERMS {
        let calls = vec![Block::tool("bash", json!({"command": "touch made"}))];
        let mut session = asked(term, calls);
        session.expect("reason why not");
        session.send("\x03");
        session.expect("interrupted");
        session.expect("meanwhile");
        assert!(!session.dir().workspace().join("made").exists());
        session.send_line("again");
        session.expect("Done with it.");
        session.send_line("exit");
        let finished = session.wait().code(0);
        assert!(finished.request(1).tool_result(0).0.contains("interrupted"));
    }
}

#[test]
fn a_file_is_replaced_only_as_it_was_shown() {
    for term in TERMS {
        let write = json!({"path": "old.txt", "content": "new\n"});
        let mut session = asked(term, vec![Block::tool("write_file", write)]);
        session.expect("write_file: old.txt");
        session.expect("reason why not");
        session.dir().write("old.txt", "somebody else was quicker\n");
        session.send_line("y");
        session.expect("old.txt has changed since it was shown to the user");
        assert_eq!(session.dir().read("old.txt"), "somebody else was quicker\n");
        session.expect("Done with it.");
        session.send_line("exit");
        session.wait().code(0);
    }
    let mut session = Test::new()
        .env("TERM", "xterm")
        .arg("--ask")
        .file("latin1.txt", b"caf\xe9")
        .reply(Reply::tool("write_file", json!({"path": "latin1.txt", "content": "x"})))
        .reply(Reply::text("Done with it."))
        .spawn_pty();
    session.expect("meanwhile");
    session.send_line("go");
    session.expect("write_file: latin1.txt (replaces 4 bytes that are not text)");
    session.expect("reason why not");
    session.send_line("n");
    session.expect("Done with it.");
    session.send_line("exit");
    session.wait().code(0);
}
