//! The answers to the model: of the tools that run commands, and to calls that make no sense.

use serde_json::{Value, json};

use crate::support::Test;
use crate::support::finished::Finished;
use crate::support::reply::Reply;
use crate::support::request::Request;
use crate::support::stream::Block;

pub const LONGEST_RESULT: usize = 50_000;

/// One task with `-p`, in which the model makes these calls, a message each, and then ends.
#[track_caller]
pub fn run(test: Test, calls: impl IntoIterator<Item = (&'static str, Value)>) -> Finished {
    let calls = calls.into_iter().map(|(name, input)| Reply::tool(name, input));
    run_replies(test, calls)
}

#[track_caller]
fn run_replies(test: Test, replies: impl IntoIterator<Item = Reply>) -> Finished {
    let test = replies.into_iter().fold(test, Test::reply);
    test.reply(Reply::text("done")).print("go").run().code(0)
}

/// The answer to call number `n` (from 0) of `run`. Its text begins with `Error: ` if it is an error.
#[track_caller]
pub fn answer(finished: &Finished, n: usize) -> String {
    let (text, is_error) = finished.request(n + 1).tool_result(0);
    assert_eq!(is_error, text.starts_with("Error: "), "{text}");
    text
}

/// The answer to a single call.
#[track_caller]
pub fn call(test: Test, name: &'static str, input: Value) -> String {
    answer(&run(test, [(name, input)]), 0)
}

#[track_caller]
fn check(test: Test, name: &'static str, input: Value, expected: &str) {
    let shown = format!("{name} {input}");
    assert_eq!(call(test, name, input), expected, "{shown}");
}

#[track_caller]
fn bash(command: &str) -> String {
    call(Test::new(), "bash", json!({"command": command}))
}

#[track_caller]
fn check_bash(command: &str, expected: &str) {
    assert_eq!(bash(command), expected, "{command}");
}

/// The id of the task that the last answer names.
#[track_caller]
fn task_id(request: &Request) -> String {
    let (text, _) = request.tool_result(0);
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let id = words.find(|word| word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit()));
    id.unwrap_or_else(|| panic!("no id in {text}")).to_owned()
}

/// Calls a tool with the id that the last answer names.
fn on_task(name: &'static str, input: Value) -> Reply {
    Reply::with(move |request| {
        let mut input = input;
        input["task_id"] = json!(task_id(request));
        Reply::tool(name, input)
    })
}

fn background(command: &str) -> Reply {
    Reply::tool("background_run", json!({"command": command}))
}

#[test]
fn bash_answers_with_both_streams_in_order_and_trimmed() {
    check_bash("echo a; echo b >&2; echo c", "a\nb\nc");
    check_bash("printf '\\n\\n  a  b \\n\\n'", "a  b");
    check_bash("true", "(no output)");
    check_bash("echo; echo", "(no output)");
}

#[test]
fn bash_runs_in_the_workspace_with_nothing_on_its_input() {
    let test = Test::new();
    let workspace = test.workspace().canonicalize().unwrap();
    check(test, "bash", json!({"command": "pwd; cat; echo end"}), &format!("{}\nend", workspace.display()));
}

#[test]
fn bash_names_an_exit_code_and_a_signal() {
    check_bash("echo a; exit 3", "a\n(exit code 3)");
    check_bash("exit 1", "(no output)\n(exit code 1)");
    check_bash("echo a; kill -TERM $$", "a\n(ended by signal 15, SIGTERM)");
}

#[test]
fn bash_keeps_head_and_tail_of_a_long_output_and_says_how_much_is_left_out() {
    let text = bash("printf start; head -c 200000 /dev/zero | tr '\\0' x; printf end; exit 3");
    assert!(text.chars().count() <= LONGEST_RESULT, "{}", text.chars().count());
    let (head, rest) = text.split_once("\n... (").expect("a line where something is left out");
    let (count, rest) = rest.split_once(" characters left out) ...\n").unwrap();
    let tail = rest.split('\n').next().unwrap();
    assert!(head.starts_with("startx") && tail.ends_with("xend") && rest.contains("(exit code 3)"));
    let kept = head.chars().count() + tail.chars().count();
    assert_eq!(count.parse::<usize>().unwrap() + kept, "start".len() + 200_000 + "end".len());
    assert!(kept > 45_000, "only {kept} characters are kept");
}

#[test]
fn no_error_is_longer_than_a_result() {
    let line = "word ".repeat(20_000);
    let input = json!({"path": "f", "old_text": line.replace(' ', "  "), "new_text": ""});
    let text = call(Test::new().file("f", &line), "edit_file", input);
    assert!(text.chars().count() <= LONGEST_RESULT, "{}", text.len());
    assert!(text.starts_with("Error: Text not found in f; line 1 differs only in white space"));
    assert!(text.contains(" characters left out) ...\n") && text.ends_with("word \""));
}

#[test]
fn bash_that_is_not_too_long_is_whole() {
    let text = bash("head -c 49000 /dev/zero | tr '\\0' x");
    assert!(text == "x".repeat(49_000), "{} characters", text.len());
}

#[test]
fn bash_at_its_time_limit_shows_what_it_had_printed_and_moves_to_the_background() {
    let finished = run_replies(
        Test::new(),
        [
            Reply::tool("bash", json!({"command": "echo begun; sleep 600", "timeout": 1})),
            on_task("kill_background", json!({})),
        ],
    );
    let text = answer(&finished, 0);
    let id = task_id(finished.request(1));
    assert_eq!(
        text,
        format!(
            "Error: Timeout (1s)\nbegun\nmoved to the background as task {id}; its result arrives in a later message"
        )
    );
    let killed = answer(&finished, 1);
    assert!(
        killed.starts_with("[killed] echo begun; sleep 600\n") && killed.ends_with("\nbegun"),
        "{killed}"
    );
}

#[test]
fn background_run_answers_at_once_with_an_id_and_the_command() {
    let command = format!("true {}", "x".repeat(100));
    let finished =
        run_replies(Test::new(), [background(&command), on_task("check_background", json!({"wait": 60}))]);
    let id = task_id(finished.request(1));
    assert_eq!(answer(&finished, 0), format!("Background task {id} started: {}", &command[..80]));
}

#[test]
fn check_background_lists_tasks_a_line_each() {
    let command = format!("true {}", "x".repeat(100));
    let finished = run_replies(
        Test::new(),
        [
            Reply::tool("check_background", json!({})),
            background(&command),
            Reply::tool("check_background", json!({"wait": 60})),
            background("sleep 600"),
            Reply::tool("check_background", json!({})),
            // The list does not tell which is which: the last is the one that runs.
            Reply::with(|request| {
                let (list, _) = request.tool_result(0);
                let id = &list.lines().last().unwrap()[..8];
                Reply::tool("kill_background", json!({"task_id": id}))
            }),
        ],
    );
    assert_eq!(answer(&finished, 0), "No background tasks.");
    let first = format!("{}: [completed] {}", task_id(finished.request(2)), &command[..60]);
    let second = format!("{}: [running] sleep 600", task_id(finished.request(4)));
    assert_eq!(answer(&finished, 2), first);
    assert_eq!(answer(&finished, 4), format!("{first}\n{second}"));
}

/// Checks the answer about a task that has ended: status and command, how it ended, and its result after the
/// line with the path of the log.
#[track_caller]
fn check_ended(start: Value, expected: [&str; 3]) {
    let finished = run_replies(
        Test::new(),
        [Reply::tool("background_run", start), on_task("check_background", json!({"wait": 60}))],
    );
    let text = answer(&finished, 1);
    let [first, how, result] = expected;
    let beginning = format!("{first}\n{how} after ");
    assert!(text.starts_with(&beginning), "{text}");
    let (_, log) = text.split_once("\nlog: /").expect("a line for the log");
    assert_eq!(log.split_once('\n').map(|(_, result)| result), Some(result));
}

#[test]
fn check_background_tells_how_a_task_ended_and_the_whole_result() {
    let long = format!("echo {}; exit 3", "x".repeat(600));
    let first = format!("[completed] {}", &long[..60]);
    check_ended(json!({"command": long}), [&first, "exit code 3", &"x".repeat(600)]);
    check_ended(
        json!({"command": "kill -KILL $$"}),
        ["[completed] kill -KILL $$", "ended by signal 9, SIGKILL", "(no output)"],
    );
}

#[test]
fn a_background_task_at_its_time_limit_is_ended_and_keeps_what_it_had_printed() {
    check_ended(
        json!({"command": "echo begun; sleep 600", "timeout": 1}),
        ["[timeout] echo begun; sleep 600", "Error: Timeout (1s)", "begun"],
    );
}

#[test]
fn check_background_says_that_a_task_runs_and_kill_background_ends_it() {
    let finished = run_replies(
        Test::new(),
        [
            background("echo begun; touch begun; sleep 600"),
            on_task("check_background", json!({"full": true})),
            Reply::with(|request| {
                let history = request.messages();
                let content = &history[history.len() - 3]["content"][0]["content"];
                let id = &content.as_str().unwrap()["Background task ".len()..][..8];
                Reply::tool("kill_background", json!({"task_id": id}))
            }),
        ],
    );
    let running = answer(&finished, 1);
    assert!(running.starts_with("[running] echo begun; touch begun; sleep 600\n(running)"), "{running}");
    let killed = answer(&finished, 2);
    assert!(killed.starts_with("[killed] echo begun; touch begun; sleep 600\nkilled after "), "{killed}");
}

/// A shell that ends at the first signal, with a child that does not.
const STUBBORN: &str =
    "(trap '' TERM; touch begun; sleep 600) & until [ -e begun ]; do sleep 0.02; done; wait";

#[test]
fn a_task_that_is_killed_is_called_so_although_its_shell_ends_first() {
    let finished = run_replies(
        Test::new(),
        [
            background(&format!("{STUBBORN} # until it is killed")),
            Reply::with(|request| {
                let id = task_id(request);
                let wait = "until [ -e begun ]; do sleep 0.02; done";
                Reply::message(vec![
                    Block::tool("bash", json!({"command": wait})),
                    Block::tool("kill_background", json!({"task_id": id})),
                ])
            }),
        ],
    );
    let (killed, _) = finished.request(2).tool_result(1);
    assert!(killed.starts_with("[killed] ") && killed.contains("\nkilled after "), "{killed}");
}

#[test]
fn a_task_at_its_time_limit_is_called_so_although_its_shell_ends_first() {
    check_ended(
        json!({"command": STUBBORN, "timeout": 1}),
        [&format!("[timeout] {}", &STUBBORN[..60]), "Error: Timeout (1s)", "(no output)"],
    );
}

#[test]
fn a_task_that_does_not_exist_is_an_error() {
    for name in ["check_background", "kill_background"] {
        check(Test::new(), name, json!({"task_id": "00000000"}), "Error: Unknown task 00000000");
    }
}

/// Both tools that run commands, for each of the commands in turn.
#[track_caller]
fn run_both(test: Test, commands: &[&str]) -> Vec<String> {
    let calls = commands.iter().flat_map(|command| {
        ["bash", "background_run"].map(|tool| Block::tool(tool, json!({"command": command})))
    });
    let calls: Vec<Block> = calls.collect();
    let count = calls.len();
    // The last one is for results that come after the turn; they may all have come before.
    let test = test.reply(Reply::message(calls)).reply(Reply::text("done"));
    let finished = run_replies(test.allow_unused(), []);
    (0..count).map(|n| finished.request(1).tool_result(n).0).collect()
}

#[test]
fn destructive_commands_are_refused_by_both_tools() {
    // All of them do no harm, should they be run.
    let commands = [
        "rm -rf / --help",
        "rm --help -fr '/'",
        "true && \"rm\" -r -f //. --help",
        "sudo --version",
        "X=1 /usr/bin/sudo --version",
        "shutdown --help",
        "true; reboot --help",
        ": >> /dev/sdzz/none",
        "dd --help of=/dev/sda",
        "sh -c 'sudo --version'",
        "echo $(sudo --version)",
    ];
    for (n, answer) in run_both(Test::new(), &commands).iter().enumerate() {
        assert_eq!(answer, "Error: Dangerous command blocked", "{}", commands[n / 2]);
    }
}

#[test]
fn commands_that_only_look_destructive_pass() {
    let test = Test::new().file("x/y", "");
    let gone = test.workspace().join("x");
    let remove = format!("rm -rf {}", gone.display());
    let commands = [
        "echo a > /dev/null",
        &remove,
        "echo \"sudo\"",
        "echo shutdown reboot",
        "echo 'rm -rf /' | cat",
        "printf '%s' '> /dev/sda'",
    ];
    for (n, answer) in run_both(test, &commands).iter().enumerate() {
        assert!(!answer.starts_with("Error"), "{}: {answer}", commands[n / 2]);
    }
    assert!(!gone.exists());
}

#[test]
fn the_descriptions_name_the_limits_in_force() {
    let timeout = |test: Test, name: &str| {
        let finished = test.print("go").reply(Reply::text("done")).run().code(0);
        let tools = finished.request(0).body["tools"].as_array().unwrap().clone();
        let tool = tools.into_iter().find(|tool| tool["name"] == name).unwrap();
        tool["input_schema"]["properties"]["timeout"]["description"].as_str().unwrap().to_owned()
    };
    let set = || Test::new().args(["--background-timeout", "900"]);
    assert_eq!(timeout(set(), "background_run"), "Seconds after which the command is ended; 900 by default");
    assert_eq!(
        timeout(Test::new(), "background_run"),
        "Seconds after which the command is ended; 300 by default"
    );
    assert_eq!(timeout(set(), "bash"), "Seconds to wait; 120 by default");
}

#[test]
fn a_missing_field_is_named() {
    let cases = [
        ("bash", json!({}), "command"),
        ("bash", json!({"command": null}), "command"),
        ("read_file", json!({"limit": 1}), "path"),
        ("write_file", json!({"path": "f"}), "content"),
        ("write_file", json!({"content": "f"}), "path"),
        ("edit_file", json!({"old_text": "a", "new_text": "b"}), "path"),
        ("edit_file", json!({"path": "f", "new_text": "b"}), "old_text"),
        ("edit_file", json!({"path": "f", "old_text": "a"}), "new_text"),
        ("background_run", json!({"timeout": 1}), "command"),
        ("kill_background", json!({}), "task_id"),
    ];
    let finished = run(Test::new(), cases.clone().map(|(name, input, _)| (name, input)));
    for (n, (name, input, field)) in cases.iter().enumerate() {
        let expected = format!("Error: `{field}` is missing: it is a required string");
        assert_eq!(answer(&finished, n), expected, "{name} {input}");
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named_with_what_it_should_be() {
    let cases = [
        ("bash", json!({"command": ["ls"]}), "`command` must be a string, not [\"ls\"]"),
        ("bash", json!({"command": "true", "timeout": "1"}), "`timeout` must be a number of seconds"),
        ("bash", json!({"command": "true", "timeout": -1}), "`timeout` must be a number of seconds"),
        ("bash", json!({"command": "true", "timeout": 1e300}), "`timeout` must be a number of seconds"),
        ("read_file", json!({"path": 1}), "`path` must be a string, not 1"),
        ("read_file", json!({"path": "f", "offset": 0}), "`offset` must be a whole number, 1 or more, not 0"),
        (
            "read_file",
            json!({"path": "f", "limit": 1.5}),
            "`limit` must be a whole number, 1 or more, not 1.5",
        ),
        ("write_file", json!({"path": "f", "content": {}}), "`content` must be a string, not {}"),
        (
            "edit_file",
            json!({"path": "f", "old_text": 1, "new_text": "b"}),
            "`old_text` must be a string, not 1",
        ),
        (
            "edit_file",
            json!({"path": "f", "old_text": "a", "new_text": "b", "replace_all": "yes"}),
            "`replace_all` must be true or false, not \"yes\"",
        ),
        ("background_run", json!({"command": true}), "`command` must be a string, not true"),
        ("background_run", json!({"command": "true", "timeout": 0}), "`timeout` must be a number of seconds"),
        ("check_background", json!({"task_id": 1}), "`task_id` must be a string, not 1"),
        ("check_background", json!({"wait": "long"}), "`wait` must be a number of seconds"),
        ("kill_background", json!({"task_id": []}), "`task_id` must be a string, not []"),
    ];
    let test = Test::new().file("f", "a\n");
    let finished = run(test, cases.clone().map(|(name, input, _)| (name, input)));
    for (n, (name, input, expected)) in cases.iter().enumerate() {
        let text = answer(&finished, n);
        assert!(text.starts_with(&format!("Error: {expected}")), "{name} {input}: {text}");
    }
    assert_eq!(finished.dir.read("f"), "a\n");
}

#[test]
fn a_command_that_no_system_call_takes_is_an_answer() {
    let text = bash("echo a\0b");
    assert!(text.starts_with("Error: "), "{text}");
    let text = bash(&format!("true {}", "x".repeat(300_000)));
    assert!(text.starts_with("Error: "), "{text}");
}
