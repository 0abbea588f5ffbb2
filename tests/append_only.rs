//! What was sent is what is sent again, to the letter; whatever changes something takes out the thinking behind it.
//!
//! The scripted server refuses a request in which the signature of thinking does not fit what stands before it.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Test, finished::Finished, reply::Reply, stream::Block};

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
