//! What was sent is what is sent again, to the letter; whatever changes something takes out the thinking behind it.
//!
//! The scripted server refuses a request in which the signature of thinking does not fit what stands before it.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Test, finished::Finished, gate::Gate, reply::Reply, request::Request, stream::Block, until, wait_until,
};

/// A reply that begins with thinking.
fn thoughtful(text: &str) -> Reply {
    Reply::message(vec![Block::thinking("hm"), Block::text(text)])
}

/// A session of one exchange, with thinking, in a folder with instructions.
fn begun() -> Finished {
    Test::new().file("AGENTS.md", "Be brief.").print("one").reply(thoughtful("two")).run().code(0)
}

/// How many thinking blocks a request has.
fn thoughts(finished: &Finished, request: usize) -> usize {
    let messages = finished.request(request).messages().iter();
    let blocks = messages.flat_map(|message| message["content"].as_array().unwrap());
    blocks.filter(|block| block["type"] == "thinking").count()
}

/// The texts of the last message of the only request.
fn told(finished: &Finished) -> Vec<String> {
    let content = finished.request(0).last_content();
    content.iter().filter_map(|block| block["text"].as_str()).map(str::to_owned).collect()
}

fn session_file(finished: &Finished) -> std::path::PathBuf {
    let mut files = fs::read_dir(finished.dir.state().join("meanwhile/sessions")).unwrap();
    files.next().unwrap().unwrap().path()
}

/// Changes the records of the session file, and drops those that `change` refuses.
fn rewrite(finished: &Finished, change: impl Fn(&mut Value) -> bool) {
    let path = session_file(finished);
    let text = fs::read_to_string(&path).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kept = records.filter_map(|mut record| change(&mut record).then(|| format!("{record}\n")));
    fs::write(&path, kept.collect::<String>()).unwrap();
}

#[test]
fn a_continued_session_sends_its_first_prompt_and_says_what_has_changed() {
    let first = begun();
    let (system, tools) = (first.request(0).body["system"].clone(), first.request(0).body["tools"].clone());
    let again = |finished: Finished, instructions: &str, options: &[&str]| {
        let test = finished.again().file("AGENTS.md", instructions).args(options);
        let finished = test.arg("-c").print("more").reply(thoughtful("yes")).run().code(0);
        assert_eq!(finished.request(0).body["system"], system);
        assert_eq!(finished.request(0).body["tools"], tools);
        finished
    };
    let same = again(first, "Be brief.", &[]);
    assert_eq!(told(&same), ["more"]);
    let changed = again(same, "Be verbose.", &["--background-timeout", "77"]);
    let texts = told(&changed);
    assert_eq!((texts.len(), texts[1].as_str()), (2, "more"));
    assert!(texts[0].starts_with("(Since this session began,"), "{}", texts[0]);
    assert!(texts[0].contains("Be verbose.") && !texts[0].contains("Be brief."), "{}", texts[0]);
    assert!(texts[0].contains("background_run") && texts[0].contains("77"), "{}", texts[0]);
    assert!(!texts[0].contains("write_file"), "{}", texts[0]);
    let told_already = again(changed, "Be verbose.", &["--background-timeout", "77"]);
    assert_eq!(told(&told_already), ["more"]);
    let as_before = again(told_already, "Be brief.", &[]);
    assert!(told(&as_before)[0].contains("again as it was at the beginning"));
    assert_eq!(thoughts(&as_before, 0), 4);
}

#[test]
fn a_session_of_an_earlier_version_goes_on_without_its_thinking() {
    let first = begun();
    rewrite(&first, |record| {
        if record["type"] == "session" {
            record["version"] = json!(1);
            record.as_object_mut().unwrap().retain(|name, _| name != "system" && name != "tools");
        }
        true
    });
    let second = first.again().arg("-c").file("AGENTS.md", "Other.").print("three").reply(thoughtful("four"));
    let second = second.run().code(0);
    assert_eq!(thoughts(&second, 0), 0);
    let system = second.request(0).body["system"].clone();
    assert!(system.to_string().contains("Other."));
    // Now it is written down.
    let third = second.again().arg("-c").file("AGENTS.md", "New.").print("five").reply(thoughtful("six"));
    let third = third.run().code(0);
    assert_eq!((thoughts(&third, 0), &third.request(0).body["system"]), (1, &system));
}

#[test]
fn an_unreadable_line_takes_the_thinking_once() {
    let first = begun();
    let second = first.again().arg("-c").print("three").reply(thoughtful("four")).run().code(0);
    let path = session_file(&second);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("two\"", "two\0\"", 1)).unwrap();
    let third = second.again().arg("-c").print("five").reply(thoughtful("six")).run().code(0);
    assert_eq!(thoughts(&third, 0), 0);
    let fourth = third.again().arg("-c").print("seven").reply(thoughtful("eight")).run().code(0);
    assert_eq!(thoughts(&fourth, 0), 1);
}

#[test]
fn refused_thinking_is_taken_out_and_the_request_sent_once_more() {
    for (status, kind) in [(400, "invalid_request_error"), (429, "rate_limit_error")] {
        let words = "messages.1.content.0: Invalid `signature` in `thinking` block. \
                     The block is bound to a different conversation.";
        let refused = || Reply::error(status, kind, words);
        let second = begun().again().arg("-c").print("three");
        let second = second.reply(refused()).reply(thoughtful("four")).run().code(0).stdout("four\n");
        assert_eq!((thoughts(&second, 0), thoughts(&second, 1)), (1, 0));
        assert_eq!(second.stderr.lines().count(), 1, "{}", second.stderr);
        // The file says so.
        let third = second.again().arg("-c").print("five").reply(thoughtful("six")).run().code(0);
        assert_eq!(thoughts(&third, 0), 1);
        // Never twice.
        let fourth = third.again().arg("-c").print("seven").reply(refused()).reply(refused()).run().code(3);
        assert_eq!(fourth.requests.len(), 2);
        fourth.again().arg("-c").print("eight").reply(thoughtful("nine")).run().code(0);
    }
}

/// `system`, `tools` and all blocks of the messages with their roles, without cache markers.
fn sent(request: &Request) -> (Value, Vec<Value>) {
    let mut body = request.body.clone();
    let unmark = |blocks: &mut Value| {
        for block in blocks.as_array_mut().unwrap() {
            block.as_object_mut().unwrap().remove("cache_control");
        }
    };
    unmark(&mut body["system"]);
    unmark(&mut body["tools"]);
    let mut blocks = Vec::new();
    for message in body["messages"].as_array_mut().unwrap() {
        unmark(&mut message["content"]);
        let role = &message["role"];
        blocks.extend(message["content"].as_array().unwrap().iter().map(|block| json!([role, block])));
    }
    (json!([body["system"], body["tools"]]), blocks)
}

/// Each request begins with all of the one before it.
#[track_caller]
fn assert_grows<'a>(requests: impl IntoIterator<Item = &'a Request>) {
    let all: Vec<_> = requests.into_iter().map(sent).collect();
    for (n, pair) in all.windows(2).enumerate() {
        let ((was_first, was), (is_first, is)) = (&pair[0], &pair[1]);
        assert_eq!(was_first, is_first, "request {}", n + 1);
        assert!(is.starts_with(was), "request {}: {was:#?}\nbecame {is:#?}", n + 1);
    }
}

fn call(command: &str) -> Block {
    Block::tool("bash", json!({"command": command}))
}

#[test]
fn a_loop_of_tools_only_adds_to_what_was_sent() {
    let finished = Test::new()
        .print("go")
        .reply(Reply::message(vec![call("echo 1"), call("echo 2")]))
        .reply(Reply::message(vec![
            Block::thinking("hm"),
            Block::text("so"),
            Block::Redacted,
            Block::thinking(""),
            call("exit 3"),
        ]))
        .reply(Reply::message(vec![Block::thinking("and"), Block::text(" \n"), call("echo 4")]))
        .reply(Reply::text("half of ").stop("max_tokens"))
        .reply(Reply::text("it"))
        .run()
        .code(0)
        .stdout("half of it\n");
    assert_grows(&finished.requests);
    assert_eq!(thoughts(&finished, 4), 5);
    let next = finished.again().arg("-c").print("more").reply(thoughtful("yes")).run().code(0);
    assert_eq!(thoughts(&next, 0), 6);
}

#[test]
fn the_result_of_a_task_that_ends_late_comes_behind_what_was_sent() {
    let mut session = Test::new()
        .print("go")
        .reply(Reply::tool("background_run", json!({"command": until("go", "passed")})))
        .reply(thoughtful("It runs."))
        .reply(thoughtful("It passed."))
        .spawn();
    session.close_stdin();
    session.server().wait_for_requests(2);
    session.dir().write("go", "");
    let finished = session.wait().code(0).stdout("It passed.\n");
    assert!(finished.request(2).last_text().contains("passed"));
    assert_grows(&finished.requests);
    assert_eq!(thoughts(&finished, 2), 2);
}

#[test]
fn an_interruption_changes_nothing_that_was_sent() {
    let gate = Gate::new();
    let mut session = Test::new()
        .reply(thoughtful("first"))
        .reply(Reply::message(vec![call("echo started >mark; sleep 60"), call("echo never")]))
        .reply(
            Reply::message(vec![Block::thinking("hm"), Block::text("half of it")]).hold_after("half", &gate),
        )
        .reply(thoughtful("last"))
        .spawn();
    session.send_line("one");
    session.expect("first");
    session.send_line("two");
    wait_until("the command runs", || session.dir().workspace().join("mark").exists());
    session.signal(Signal::INT);
    session.expect("interrupted");
    session.send_line("three");
    session.expect("half");
    session.signal(Signal::INT);
    session.expect("interrupted");
    session.send_line("four");
    session.expect("last");
    session.close_stdin();
    let finished = session.wait().code(0);
    gate.open();
    assert_grows(&finished.requests);
    // Of the reply that broke off, the words are kept; they have no signed thinking.
    assert_eq!(thoughts(&finished, 3), 2);
}

#[test]
fn a_session_that_was_killed_goes_on_with_all_its_thinking() {
    let mut session = Test::new()
        .print("go")
        .reply(Reply::tool("bash", json!({"command": "echo 1"})))
        .reply(Reply::message(vec![call("echo 2"), call("echo started >mark; sleep 60")]))
        .spawn();
    session.close_stdin();
    wait_until("the command runs", || session.dir().workspace().join("mark").exists());
    session.signal(Signal::KILL);
    let killed = session.wait();
    let before = killed.requests.clone();
    let next =
        killed.again().arg("-c").file("AGENTS.md", "New.").print("more").reply(thoughtful("yes")).run();
    let next = next.code(0);
    assert_grows(before.iter().chain(&next.requests));
    assert_eq!(thoughts(&next, 0), 2);
    assert!(next.request(0).tool_result(1).0.starts_with("result lost"));
    assert!(next.request(0).last_text().contains("New."));
}

#[test]
fn a_session_that_is_opened_at_the_prompt_sends_its_own_prompt() {
    let first = begun();
    let (first_request, file) = (first.requests[0].clone(), session_file(&first));
    let id = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let second = first.again().file("AGENTS.md", "Be verbose.").print("un").reply(thoughtful("deux"));
    let second = second.run().code(0);
    let (second_request, folder) = (second.requests[0].clone(), file.parent().unwrap().to_owned());
    let others = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let other = others.into_iter().find(|path| *path != file).unwrap();
    let mut session = second
        .again()
        .file("AGENTS.md", "Be kind.")
        .reply(thoughtful("four"))
        .reply(thoughtful("quatre"))
        .reply(thoughtful("six"))
        .spawn();
    let ids = [id(&file), id(&other), id(&file)];
    for ((id, text), answer) in ids.iter().zip(["three", "trois", "five"]).zip(["four", "quatre", "six"]) {
        session.send_line(&format!("/resume {id}"));
        session.send_line(&format!("/resume {id}"));
        session.expect("This is that session.");
        session.send_line(text);
        session.expect(answer);
    }
    session.close_stdin();
    let last = session.wait().code(0);
    assert_grows([&first_request, &last.requests[0], &last.requests[2]]);
    assert_grows([&second_request, &last.requests[1]]);
    assert_eq!([0, 1, 2].map(|n| thoughts(&last, n)), [1, 1, 2]);
}

/// A turn in which the second of three results is long, and the history takes much of the window behind the third.
fn filled() -> Test {
    let usage = json!({"input_tokens": 9000, "output_tokens": 20});
    Test::new()
        .arg("--context-window=10000")
        .print("go")
        .reply(Reply::message(vec![call("echo 1")]))
        .reply(Reply::message(vec![call("head -c 12000 /dev/zero | tr '\\0' x")]))
        .reply(Reply::message(vec![call("echo 3")]).usage(usage))
}

#[test]
fn shortening_a_result_takes_the_thinking_behind_it_alone() {
    let finished = filled().reply(thoughtful("done")).run().code(0).stderr_contains("shortened");
    assert_eq!([2, 3].map(|n| thoughts(&finished, n)), [2, 2]);
    assert_grows(&finished.requests[..3]);
    let last = finished.requests[3].clone();
    let next = finished.again().arg("-c").print("more").reply(thoughtful("yes")).run().code(0);
    assert_grows([&last, &next.requests[0]]);
    assert_eq!(thoughts(&next, 0), 3);
}

#[test]
fn a_summary_takes_the_thinking_behind_it_and_no_other() {
    let mut session = Test::new()
        .reply(thoughtful(&"long ".repeat(2000)))
        .reply(thoughtful("two"))
        .reply(thoughtful("THE SUMMARY"))
        .reply(thoughtful("three"))
        .reply(thoughtful("four"))
        .spawn();
    for (line, answer) in
        [("one", "long"), ("more", "two"), ("/compact", "summarizing"), ("go on", "three"), ("end", "four")]
    {
        session.send_line(line);
        session.expect(answer);
    }
    session.close_stdin();
    let finished = session.wait().code(0);
    assert_grows(&finished.requests[..2]);
    assert_grows(&finished.requests[3..]);
    assert_eq!([1, 3, 4].map(|n| thoughts(&finished, n)), [1, 0, 1]);
    let last = finished.requests[4].clone();
    let next = finished.again().arg("-c").print("more").reply(thoughtful("yes")).run().code(0);
    assert_grows([&last, &next.requests[0]]);
}

#[test]
fn a_turn_that_leaves_behind_a_shortened_result_brings_no_thinking_back() {
    let usage = json!({"input_tokens": 9000, "output_tokens": 20});
    let mut session = Test::new()
        .arg("--context-window=10000")
        .reply(Reply::message(vec![call("head -c 12000 /dev/zero | tr '\\0' x")]))
        .reply(thoughtful("one").usage(usage))
        .reply(thoughtful("no").stop("refusal"))
        .reply(thoughtful("three"))
        .spawn();
    for (line, answer) in [("a", "one"), ("b", "shortened"), ("c", "three")] {
        session.send_line(line);
        session.expect(answer);
    }
    session.close_stdin();
    let finished = session.wait().code(0);
    assert_eq!([1, 2, 3].map(|n| thoughts(&finished, n)), [1, 1, 1]);
}

#[test]
fn a_budget_of_thinking_is_not_asked_for_behind_calls_that_have_lost_theirs() {
    let finished = filled().args(["--thinking", "2000"]).reply(thoughtful("done")).run().code(0);
    let budgets: Vec<&Value> =
        finished.requests.iter().map(|request| &request.body["thinking"]["budget_tokens"]).collect();
    assert_eq!(budgets, [&json!(2000), &json!(2000), &json!(2000), &Value::Null]);
    let next = finished.again().arg("-c").args(["--thinking", "2000", "-p", "more"]);
    let next = next.reply(thoughtful("yes")).run().code(0);
    assert_eq!(next.request(0).body["thinking"]["budget_tokens"], 2000);
}
