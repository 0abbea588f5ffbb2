//! Makes a history one that the API takes again, after the program was killed while tools ran, or after lines of
//! the session file could not be read. Pure.
//!
//! Roles alternate, beginning with the user's, and every call has its result in the next message. A call of a server
//! tool has its result in its own message or in the next one of the model. Messages that need no repair keep their
//! text, byte for byte.

use std::{collections::HashSet, mem};

use crate::api::message::{self, Block, Encoded, Message, Role, push};

const LOST_START: &str = "(The beginning of this conversation is lost.)";
const LOST_RESULT: &str = "result lost: meanwhile exited before recording it; the command may have run";

/// Returns the repaired history.
pub fn repaired(messages: &[Encoded]) -> Vec<Encoded> {
    let open = open_server_calls(messages);
    let mut whole = Vec::new();
    // Of the message before.
    let mut calls = Vec::new();
    for message in messages {
        let mut content = message.decode().content;
        if message.role() == Role::User {
            let content = answered(mem::take(&mut calls), content);
            push_user(&mut whole, content);
            continue;
        }
        push_user(&mut whole, answered(mem::take(&mut calls), Vec::new()));
        if whole.is_empty() {
            push_user(&mut whole, vec![Block::text(LOST_START)]);
        }
        calls = ids(&content, "tool_use", "id").map(str::to_owned).collect();
        let count = content.len();
        content
            .retain(|block| !block.is_server_call() || !open.contains(block.str("id").unwrap_or_default()));
        match content.len() {
            0 => {}
            kept if kept < count => push(&mut whole, Message::assistant(content).encode()),
            _ => push(&mut whole, message.clone()),
        }
    }
    push_user(&mut whole, answered(calls, Vec::new()));
    whole
}

/// Returns the ids of the calls of server tools that have no result, since the reply was not gone on with. The API
/// refuses them once something else follows.
pub fn open_server_calls(messages: &[Encoded]) -> HashSet<String> {
    // Only where a server tool was called; no text is looked for in vain.
    let called = messages.iter().filter(|message| message.as_str().contains("_tool_"));
    let blocks: Vec<Block> = called.flat_map(|message| message.decode().content).collect();
    message::open_server_calls(&blocks)
}

/// Whether a message of the model holds the result of a server's tool that was called in an earlier message.
pub fn answers_another(message: &Encoded) -> bool {
    if !message.as_str().contains("_tool_result\"") {
        return false;
    }
    let content = message.decode().content;
    let calls: HashSet<&str> =
        content.iter().filter(|block| block.is_server_call()).filter_map(|block| block.str("id")).collect();
    let results = content.iter().filter(|block| block.kind().ends_with("_tool_result"));
    results.filter_map(|block| block.str("tool_use_id")).any(|id| !calls.contains(id))
}

/// The content of a user message with a result for each of `calls` and for no other call.
fn answered(calls: Vec<String>, mut content: Vec<Block>) -> Vec<Block> {
    let mut open: HashSet<&str> = calls.iter().map(String::as_str).collect();
    content.retain(|block| {
        block.kind() != "tool_result" || block.str("tool_use_id").is_some_and(|id| open.remove(id))
    });
    let found: HashSet<&str> = ids(&content, "tool_result", "tool_use_id").collect();
    let lost = calls.iter().filter(|id| !found.contains(id.as_str()));
    let lost: Vec<Block> = lost.map(|id| Block::tool_result(id, LOST_RESULT, true)).collect();
    // Results come first.
    let results = found.len();
    content.splice(results..results, lost);
    content
}

/// What the field `name` holds in the blocks of this kind.
fn ids<'a>(content: &'a [Block], kind: &'static str, name: &'static str) -> impl Iterator<Item = &'a str> {
    content.iter().filter(move |block| block.kind() == kind).filter_map(move |block| block.str(name))
}

fn push_user(history: &mut Vec<Encoded>, content: Vec<Block>) {
    if !content.is_empty() {
        push(history, Message::user(content).encode());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn user(content: Value) -> Value {
        json!({"role": "user", "content": content})
    }

    fn model(content: Value) -> Value {
        json!({"role": "assistant", "content": content})
    }

    fn text(text: &str) -> Value {
        json!({"type": "text", "text": text})
    }

    fn call(id: &str) -> Value {
        json!({"type": "tool_use", "id": id, "name": "bash", "input": {}})
    }

    fn result(id: &str) -> Value {
        json!({"type": "tool_result", "tool_use_id": id, "content": "done"})
    }

    fn lost(id: &str) -> Value {
        json!({"type": "tool_result", "tool_use_id": id, "content": LOST_RESULT, "is_error": true})
    }

    fn encoded(text: &str) -> Encoded {
        Message::from_json(text).unwrap().encode()
    }

    #[track_caller]
    fn check(history: &[Value], expected: &[Value]) {
        let json =
            |values: &[Value]| values.iter().map(|v| encoded(&v.to_string())).collect::<Vec<Encoded>>();
        let (history, expected) = (json(history), json(expected));
        assert_eq!(repaired(&history), expected);
        assert_eq!(repaired(&expected), expected);
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        let odd: Encoded = encoded(r#"{"role":"assistant","content":[{"z":1,"type":"future","a":1.0}]}"#);
        let history =
            [user(json!([text("a")])), model(json!([text("b"), call("t")])), user(json!([result("t")]))];
        let mut history: Vec<Encoded> = history.iter().map(|value| encoded(&value.to_string())).collect();
        history.push(odd);
        assert_eq!(repaired(&history), history);
        assert_eq!(repaired(&[]), []);
    }

    #[test]
    fn each_call_has_one_result_and_each_result_a_call() {
        let (task, end) = (user(json!([text("task")])), model(json!([text("end")])));
        let calls = model(json!([call("a"), call("b")]));
        let results = |results: Value| [task.clone(), calls.clone(), user(results), end.clone()];
        check(
            &results(json!([result("b"), text("x")])),
            &results(json!([result("b"), lost("a"), text("x")])),
        );
        let strange = json!([result("a"), result("c"), result("b")]);
        check(&results(strange), &results(json!([result("a"), result("b")])));
        let twice = json!([result("a"), result("b"), result("a")]);
        check(&results(twice), &results(json!([result("a"), result("b")])));
        check(&[task.clone(), user(json!([result("a")]))], std::slice::from_ref(&task));
        let open = results(json!([result("a"), lost("b")]));
        check(&results(json!([result("a")]))[..3], &open[..3]);
    }

    #[test]
    fn calls_of_the_server_that_were_not_gone_on_with_are_taken_out() {
        let task = user(json!([text("task")]));
        let search =
            |id: &str| json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {}});
        let found = |id: &str| json!({"type": "web_search_tool_result", "tool_use_id": id, "content": []});
        let looked = model(json!([text("I look."), search("s1")]));
        let after = user(json!([text("stop")]));
        check(&[task.clone(), looked.clone()], &[task.clone(), model(json!([text("I look.")]))]);
        let history = [task.clone(), looked, after.clone()];
        check(&history, &[task.clone(), model(json!([text("I look.")])), after.clone()]);
        check(
            &[task.clone(), model(json!([search("s1")])), after.clone()],
            &[user(json!([text("task"), text("stop")]))],
        );
        // Its result comes with the next reply.
        let both = model(json!([search("s1"), call("a")]));
        let whole =
            [task.clone(), both, user(json!([result("a")])), model(json!([found("s1"), text("end")]))];
        check(&whole, &whole);
        let open = model(json!([call("a")]));
        check(&whole[..3], &[task, open, user(json!([result("a")]))]);
    }

    #[test]
    fn calls_with_the_same_id_are_different_calls() {
        let (task, calls) = (user(json!([text("task")])), model(json!([call("a")])));
        let answers = user(json!([result("a")]));
        let history = [task, calls.clone(), answers.clone(), calls, answers];
        check(&history, &history);
    }

    #[test]
    fn roles_alternate_from_the_user_on() {
        let (hello, task) = (model(json!([text("hello")])), user(json!([text("task")])));
        let start = user(json!([text(LOST_START)]));
        check(&[hello.clone(), task.clone()], &[start, hello.clone(), task.clone()]);
        let twice = model(json!([text("hello"), text("hello")]));
        check(&[task.clone(), hello.clone(), user(json!([result("a")])), hello], &[task, twice]);
    }
}
