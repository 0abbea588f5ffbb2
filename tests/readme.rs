//! The README is the manual: its commands run, and what it shows is what is printed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    support::{Test, dir::Dir, reply::Reply, server::Server, stream::Block},
    terminal::at_prompt,
};

const MEANWHILE: &str = env!("CARGO_BIN_EXE_meanwhile");

/// The fenced blocks of the README that are marked as `kind`.
fn blocks(kind: &str) -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let fence = format!("```{kind}\n");
    let found = readme.split(&fence).skip(1).filter_map(|rest| rest.split_once("\n```"));
    found.map(|(block, _)| block.to_owned()).collect()
}

/// The commands of the jobs for CI servers.
fn jobs() -> Vec<String> {
    let lines = blocks("yaml").join("\n");
    let jobs = lines.lines().filter_map(|line| Some(&line[line.find("meanwhile -p")?..]));
    jobs.map(str::to_owned).collect()
}

/// Task ids and durations differ from run to run.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let in_run = |c: char| c.is_ascii_alphanumeric() || c == '.';
    for piece in text.split_inclusive(|c| !in_run(c)) {
        let run = piece.trim_end_matches(|c| !in_run(c));
        let is_id = run.len() == 8 && run.chars().all(|c| c.is_ascii_hexdigit());
        let is_time = run.len() > 1 && run.chars().all(|c| c.is_ascii_digit() || c == '.');
        masked.push_str(if is_id || is_time { "*" } else { run });
        masked.push_str(&piece[run.len()..]);
    }
    masked
}

#[test]
fn its_table_of_tools_has_a_row_for_each() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, table) = readme.split_once("| tool | what the model can do with it |\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|')).skip(1);
    let mut rows: Vec<&str> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    let finished = Test::new().reply(Reply::text("done")).print("go").run().code(0);
    let mut tools = finished.request(0).tool_names();
    rows.sort();
    tools.sort();
    assert_eq!(rows, tools);
}

#[test]
fn its_commands_run() {
    let server = Server::start();
    let dir = Dir::new();
    let bin = dir.home().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(MEANWHILE, bin.join("meanwhile")).unwrap();
    dir.write("task.txt", "Fix the build.");
    // The targets of the Makefile have tests of their own; here they only have to exist.
    let make = format!("make() {{ command make -n -C '{}' \"$@\"; }}\n", env!("CARGO_MANIFEST_DIR"));
    for block in blocks("sh").into_iter().chain(jobs()) {
        for line in block.lines().filter(|line| line.contains(" -p") && !line.contains("--replay")) {
            let answer = if line.contains("--json-schema") { r#"{"tests": 3}"# } else { "Done." };
            server.push(Reply::text(answer));
        }
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-e", "-c", &format!("{make}{block}")])
            .current_dir(dir.workspace())
            .env("PATH", path)
            .env("HOME", dir.home())
            .env("ANTHROPIC_BASE_URL", server.url())
            .env("ANTHROPIC_API_KEY", "test-key")
            .env("MODEL_ID", "test-model")
            .env_remove("MAKEFLAGS")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{stderr}");
    }
    assert_eq!(server.violations(), Vec::<String>::new());
    assert_eq!(server.unused(), 0, "a command of the README asked for nothing");
}

#[test]
fn the_help_in_it_is_the_help() {
    let help = Command::new(MEANWHILE).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let shown = blocks("text").into_iter().find(|block| block.contains("Usage:"));
    assert_eq!(shown.as_deref(), Some(help.trim_end()));
}

#[test]
fn the_session_in_it_is_what_the_demo_prints() {
    let demo = Command::new(MEANWHILE).arg("demo").output().unwrap();
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let printed = masked(&String::from_utf8(demo.stdout).unwrap());
    let session = &blocks("text")[0];
    for line in session.lines() {
        assert!(printed.contains(&masked(line)), "the demo prints no `{line}`:\n{printed}");
    }
}

/// The session of the README that is held at a terminal.
fn conversation() -> String {
    let sessions = blocks("text");
    let found = sessions.into_iter().find(|block| block.starts_with("meanwhile with "));
    found.expect("the README shows a session")
}

#[test]
fn the_session_at_the_prompt_is_what_is_printed() {
    let shown = conversation();
    let calls = vec![
        Block::tool("background_run", json!({"command": "sh test.sh"})),
        Block::tool("bash", json!({"command": "ls"})),
    ];
    let tests = "until [ -e go ]; do sleep 0.02; done; rm go; echo 'FAILED: expected 2, got 3'; exit 1";
    let test = Test::new()
        .file("CHANGES.md", "")
        .file("test.sh", tests)
        .reply(Reply::message(calls))
        .reply(Reply::text("Yes: CHANGES.md. The tests are running."))
        .reply(Reply::text("One test fails: it got 3 for 2."));
    let mut session = at_prompt(test);
    session.send("Start the tests. Is there a list of changes?\r");
    session.shows("running.\n(");
    session.send("/tasks\r");
    session.shows("running for");
    session.dir().write("go", "");
    session.shows("2.\n(");
    session.send("/exit\r");
    session.expect("To continue this session: meanwhile --resume");
    let screen = session.screen();
    session.wait().code(0);
    let printed = screen.split("\nTo continue this session").next().unwrap();
    assert_eq!(masked(printed), masked(&shown));
}
