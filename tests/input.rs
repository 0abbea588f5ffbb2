//! Where `-p` reads its task from, and how much it writes to stderr.

use std::fs::{self, File};
use std::io::{self, Write};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::finished::Finished;
use crate::support::reply::Reply;
use crate::support::session::Session;
use crate::support::{Test, wait_until};

const MEGABYTE: usize = 1024 * 1024;

/// The texts of the only message of the first request.
#[track_caller]
fn prompt(finished: &Finished) -> Vec<String> {
    let blocks = finished.request(0).last_content();
    let texts = blocks.iter().map(|block| block["text"].as_str().unwrap().to_owned());
    texts.collect()
}

/// Checks the prompt of a run that succeeds at once and writes nothing to stderr.
#[track_caller]
fn check(session: Session, expected: &[&str]) -> Finished {
    let finished = session.wait().code(0).stdout("done\n");
    assert_eq!(prompt(&finished), expected);
    assert_eq!(finished.stderr, "");
    finished
}

fn job() -> Test {
    Test::new().reply(Reply::text("done"))
}

/// Runs the program from a shell, with this redirection.
#[track_caller]
fn check_shell(test: Test, redirection: &str, expected: &[&str]) {
    let direct = test.command();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")])
        .arg(direct.get_program())
        .args(direct.get_args())
        .env_clear()
        .current_dir(test.workspace());
    let variables = direct.get_envs();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout)),
        (Some(0), "done\n".into()),
        "{redirection}: {stderr}"
    );
    assert_eq!(stderr, "", "{redirection}");
    let content = test.server().requests()[0].last_content();
    let texts: Vec<&str> = content.iter().map(|block| block["text"].as_str().unwrap()).collect();
    assert_eq!(texts, expected, "{redirection}");
}

#[test]
fn a_file_as_stdin_is_the_task_or_more_of_it() {
    let with_file = || job().file("prompt.txt", "from the file\n");
    check_shell(with_file().arg("-p"), "< prompt.txt", &["from the file\n"]);
    check_shell(with_file().print("explain"), "< prompt.txt", &["explain", "from the file\n"]);
    let empty = || job().file("empty.txt", "").print("explain");
    check_shell(empty(), "< empty.txt", &["explain"]);
}

#[test]
fn a_stdin_that_holds_nothing_is_no_part_of_the_task() {
    let explain = || job().print("explain");
    check_shell(explain(), "<&-", &["explain"]);
    check_shell(explain(), "< /dev/null", &["explain"]);
}

/// A part of the task is not left out silently.
#[test]
fn a_stdin_that_cannot_be_read_is_an_error() {
    let test = Test::new().print("explain");
    let folder = File::open(test.workspace()).unwrap();
    let finished = test.start(folder).wait().code(1).stdout("");
    assert_eq!(finished.requests.len(), 0);
    finished.stderr_contains("meanwhile: failed to read standard input: Is a directory");
}

#[test]
fn no_task_at_all_is_a_usage_error_however_stdin_says_so() {
    for redirection in ["<&-", "< /dev/null", "< empty.txt"] {
        let test = Test::new().file("empty.txt", "").arg("-p");
        let direct = test.command();
        let output = Command::new("sh")
            .args(["-c", &format!("exec \"$0\" -p {redirection}")])
            .arg(direct.get_program())
            .env_clear()
            .envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(test.workspace())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{redirection}: {stderr}");
        assert!(stderr.contains("no prompt"), "{redirection}: {stderr}");
    }
}

#[test]
fn a_file_is_the_task_or_more_of_it() {
    let with_file = || job().file("prompt.txt", "from the file\n");
    let run = |test: Test, input: &str| {
        let mut session = test.spawn();
        session.send(input);
        session.close_stdin();
        session
    };
    check(run(with_file().args(["-p", "--file", "prompt.txt"]), ""), &["from the file\n"]);
    check(run(with_file().args(["-p", "-f", "prompt.txt"]), "piped"), &["from the file\n", "piped"]);
    check(
        run(with_file().print("explain").arg("--file=prompt.txt"), "piped"),
        &["explain", "from the file\n", "piped"],
    );
    let empty = job().file("prompt.txt", " \n").print("explain");
    check(run(empty.args(["-f", "prompt.txt"]), ""), &["explain"]);
}

/// What is sent first in a conversation that begins with these arguments.
#[track_caller]
fn check_first_message(args: &[&str], expected: &[&str]) {
    let test =
        Test::new().file("prompt.txt", "/from the file\n").file("empty.txt", "\n").reply(Reply::text("done"));
    let finished = test.args(args).run().code(0).stdout_contains("done");
    let content = finished.request(0).last_content();
    let texts: Vec<&str> = content.iter().map(|block| block["text"].as_str().unwrap()).collect();
    assert_eq!(texts, expected, "{args:?}");
}

#[test]
fn without_print_a_file_is_the_first_message_of_the_conversation() {
    check_first_message(&["-f", "prompt.txt"], &["/from the file\n"]);
    check_first_message(&["--file", "prompt.txt", "explain"], &["explain", "/from the file\n"]);
    check_first_message(&["--file", "empty.txt", "explain"], &["explain"]);
    let missing = Test::new().args(["-f", "missing.txt"]).run().code(2);
    missing.stderr_contains("failed to read file `missing.txt`");
    let finished = Test::new().file("empty.txt", "").args(["-f", "empty.txt"]).run().code(0);
    assert_eq!(finished.requests.len(), 0);
}

#[test]
fn a_file_is_found_from_the_working_directory_and_by_its_whole_path() {
    let test = job().file("deep/prompt.txt", "deep");
    let path = test.workspace().join("deep/prompt.txt");
    let mut session = test.arg("-p").arg("--file").arg(path).spawn();
    session.close_stdin();
    check(session, &["deep"]);
}

#[test]
fn a_megabyte_is_no_problem_in_a_file_or_in_a_pipe() {
    let text = "0123456789 abcde".repeat(MEGABYTE / 16);
    let test = job().file("prompt.txt", &text);
    let mut session = test.args(["-p", "--file", "prompt.txt"]).spawn();
    session.close_stdin();
    check(session, &[&text]);
    check_shell(job().file("prompt.txt", &text).print("explain"), "< prompt.txt", &["explain", &text]);
}

#[test]
fn the_longest_argument_that_the_system_takes_is_a_prompt() {
    let text = "x".repeat(128 * 1024 - 1);
    let mut session = job().print(&text).spawn();
    session.close_stdin();
    check(session, &[&text]);
}

#[test]
fn bytes_that_are_not_utf_8_are_replaced() {
    let bytes = b"caf\xe9 \xff\xfe\0 end";
    let expected = "caf\u{fffd} \u{fffd}\u{fffd}\0 end";
    let mut session = job().print("explain").spawn();
    session.send(bytes);
    session.close_stdin();
    check(session, &["explain", expected]);
    let mut session = job().file("prompt.txt", bytes).args(["-p", "-f", "prompt.txt"]).spawn();
    session.close_stdin();
    check(session, &[expected]);
}

#[test]
fn a_character_split_between_two_reads_stays_whole() {
    let (first, second) = "é".as_bytes().split_at(1);
    let mut session = job().print("explain").spawn();
    session.send(first);
    session.send(second);
    session.close_stdin();
    check(session, &["explain", "é"]);
}

/// Some programs pass on a pipe in nonblocking mode.
#[test]
fn a_pipe_that_does_not_block_is_read_to_its_end() {
    let (reader, mut writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    writer.write_all(b"the beginning, ").unwrap();
    let look = reader.try_clone().unwrap();
    let session = job().print("explain").start(reader);
    wait_until("the beginning is read", || rustix::io::ioctl_fionread(&look).unwrap() == 0);
    // A program that takes this for the end would send a request now.
    let asked = std::time::Instant::now();
    while session.server().requests().is_empty() && asked.elapsed().as_millis() < 500 {
        std::thread::yield_now();
    }
    writer.write_all(b"the end").unwrap();
    drop(writer);
    check(session, &["explain", "the beginning, the end"]);
}

/// When the second program has given up its silent pipe, the first has waited longer for its slow one.
#[test]
fn a_silent_pipe_is_skipped_and_a_slow_one_read_to_its_end() {
    let mut slow = job().print("explain").spawn();
    slow.send("a");
    let mut silent = job().print("explain").spawn();
    let quiet = job().print("explain").arg("-q").spawn();
    let line = silent.expect_stderr("\n");
    assert!(line.starts_with("meanwhile: no input for 3 s"), "{line}");
    let finished = silent.wait().code(0).stdout("done\n");
    assert_eq!(prompt(&finished), ["explain"]);
    assert_eq!(finished.stderr, line, "it is said once");
    assert!(slow.server().requests().is_empty(), "the slow one is waited for");
    slow.send("b");
    slow.send("c");
    slow.close_stdin();
    check(slow, &["explain", "abc"]);
    // With -q, nothing is written: it is not an error.
    check(quiet, &["explain"]);
}

#[test]
fn a_silent_pipe_beside_a_file_is_skipped() {
    let test = job().file("prompt.txt", "from the file");
    let session = test.args(["-p", "-f", "prompt.txt"]).spawn();
    let finished = session.wait().code(0).stdout("done\n");
    assert_eq!(prompt(&finished), ["from the file"]);
    finished.stderr_contains("no input for");
}

#[test]
fn without_a_prompt_the_pipe_is_waited_for() {
    let mut late = job().arg("-p").spawn();
    let mut silent = job().print("explain").spawn();
    silent.expect_stderr("no input for");
    silent.wait().code(0);
    late.send("at last");
    late.close_stdin();
    check(late, &["at last"]);
}

#[test]
fn a_terminal_is_not_read() {
    let mut session = job().print("explain").spawn_pty();
    session.expect("done");
    session.wait().code(0);
}

#[test]
fn a_command_does_not_read_the_stdin_of_the_program() {
    let mut session = Test::new()
        .print("explain")
        .reply(Reply::tool("bash", json!({"command": "cat; echo end"})))
        .reply(Reply::text("done"))
        .spawn();
    session.send("piped");
    session.close_stdin();
    let finished = session.wait().code(0);
    assert_eq!(finished.request(1).tool_result(0).0, "end");
}

fn talkative() -> Test {
    let busy = Reply::error(529, "overloaded_error", "busy").header("retry-after", "0");
    Test::new()
        .print("go")
        .reply(busy)
        .reply(Reply::tool("bash", json!({"command": "echo seen"})))
        .reply(Reply::text("done"))
}

#[test]
fn quiet_says_nothing_but_errors() {
    for option in ["-q", "--quiet"] {
        let finished = talkative().arg(option).run().code(0).stdout("done\n");
        assert_eq!(finished.stderr, "", "{option}");
    }
    let finished = Test::new()
        .print("go")
        .reply(Reply::error(400, "invalid_request_error", "no"))
        .arg("-q")
        .run()
        .code(3)
        .stdout("");
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    finished.stderr_contains("meanwhile: the API answered 400");
}

#[test]
fn verbose_shows_the_usage_of_each_request_and_each_retry() {
    for option in ["-v", "--verbose"] {
        let usage = json!({
            "input_tokens": 11, "output_tokens": 13,
            "cache_read_input_tokens": 17, "cache_creation_input_tokens": 19,
        });
        let busy = Reply::error(529, "overloaded_error", "busy").header("retry-after", "0");
        let finished = Test::new()
            .print("go")
            .reply(busy)
            .reply(Reply::tool("bash", json!({"command": "true"})).usage(usage.clone()))
            .reply(Reply::text("done").usage(usage))
            .arg(option)
            .run()
            .code(0)
            .stdout("done\n");
        let lines: Vec<&str> =
            finished.stderr.lines().filter(|line| line.starts_with("meanwhile: reply after ")).collect();
        assert_eq!(lines.len(), 2, "a line a request: {}", finished.stderr);
        for number in ["11", "13", "17", "19"] {
            assert!(lines[0].contains(number), "{number} in {}", lines[0]);
        }
        assert!(finished.stderr.contains("trying again"), "{}", finished.stderr);
    }
    let finished = talkative().run().code(0);
    finished.stderr_lacks("reply after");
}

#[test]
fn stdout_is_the_same_quiet_or_loud() {
    let calm = talkative().run().code(0).stdout;
    for option in ["-q", "-v"] {
        assert_eq!(talkative().arg(option).run().code(0).stdout, calm);
    }
    let into_file = talkative();
    let path = into_file.workspace().join("answer.txt");
    let status = into_file
        .command()
        .stdin(Stdio::null())
        .stdout(File::create(&path).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), calm);
}
