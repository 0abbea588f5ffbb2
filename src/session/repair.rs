//! Makes a history whole: the program has ended while tools ran, or its file was damaged, and lines are missing,
//! doubled, or say something else. Pure.
//!
//! What comes out the API takes: roles alternate from the user's on, no call comes twice, and the next message
//! has one result for each. What was whole stays as it was, byte for byte.

use std::collections::HashSet;

use serde_json::Value;

use crate::api::message::{Block, Encoded, Message, Role, sendable};

const LOST_START: &str = "(The beginning of this conversation is lost.)";
const LOST_RESULT: &str =
    "Error: the result of this call is lost: the program ended before; it may have been run";

/// The history repaired; None when there is nothing to repair.
pub fn repaired(messages: &[Encoded]) -> Option<Vec<Encoded>> {
    let mut whole = Whole { before: messages, ..Whole::default() };
    for message in messages {
        let Message { role, content } = message.decode();
        match role {
            Role::User => whole.user(content),
            Role::Assistant => whole.assistant(content),
        }
    }
    let repaired = whole.finish();
    (repaired != messages).then_some(repaired)
}

/// A history that is whole so far.
#[derive(Default)]
struct Whole<'a> {
    /// The history as it was: what is the same is held once.
    before: &'a [Encoded],
    messages: Vec<Encoded>,
    /// The message after these, to which something may be added.
    last: Option<Message>,
    /// The calls of the model's last message that have no result yet.
    open: Vec<String>,
    /// All calls, word for word: some servers give the same id to many.
    known: HashSet<String>,
}

impl Whole<'_> {
    fn user(&mut self, mut content: Vec<Block>) {
        content.retain(|block| match block.kind() {
            "tool_result" => self.answers(block),
            "tool_use" => false,
            _ => !block.is_thinking() && !block.is_blank_text(),
        });
        self.push(Role::User, content);
    }

    fn assistant(&mut self, mut content: Vec<Block>) {
        content.retain(|block| match block.kind() {
            "tool_use" => self.is_new_call(block),
            kind => kind != "tool_result",
        });
        let content = sendable(content);
        if content.is_empty() {
            return;
        }
        if self.messages.is_empty() && self.last.is_none() {
            self.push(Role::User, vec![Block::text(LOST_START)]);
        }
        self.answer_open();
        let calls = content.iter().filter(|block| block.kind() == "tool_use");
        self.open.extend(calls.map(id));
        self.push(Role::Assistant, content);
    }

    fn is_new_call(&mut self, block: &Block) -> bool {
        let is_whole = block.str("id").is_some()
            && block.str("name").is_some()
            && block.get("input").is_some_and(Value::is_object);
        let fields = serde_json::to_string(block.fields()).expect("JSON values have JSON text");
        is_whole && self.known.insert(fields)
    }

    /// Whether it is the result of a call that has none yet.
    fn answers(&mut self, result: &Block) -> bool {
        let call = result.str("tool_use_id").unwrap_or_default();
        let found = self.open.iter().position(|open| open == call);
        found.map(|found| self.open.remove(found)).is_some()
    }

    /// Adds what belongs to a message of this role, which may be the last one.
    fn push(&mut self, role: Role, content: Vec<Block>) {
        match self.last.as_mut().filter(|last| last.role == role) {
            Some(last) => last.content.extend(content),
            None if content.is_empty() => {}
            None => {
                self.close();
                self.last = Some(Message { role, content });
            }
        }
    }

    /// Nothing is added to the last message any more.
    fn close(&mut self) {
        if let Some(last) = self.last.take() {
            let last = last.encode();
            let same = self.before.get(self.messages.len());
            let same = same.filter(|before| **before == last).cloned();
            self.messages.push(same.unwrap_or(last));
        }
    }

    /// Completes the user's message at the end: its results come first, one for each call.
    fn answer_open(&mut self) {
        let lost = self.open.drain(..).map(|id| Block::tool_result(&id, LOST_RESULT, true)).collect();
        self.push(Role::User, lost);
        if let Some(last) = self.last.as_mut().filter(|last| last.role == Role::User) {
            last.content.sort_by_key(|block| block.kind() != "tool_result");
        }
    }

    fn finish(mut self) -> Vec<Encoded> {
        self.answer_open();
        self.close();
        self.messages
    }
}

fn id(call: &Block) -> String {
    call.str("id").unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        assert_eq!(repaired(&history).unwrap_or(history), expected);
        assert_eq!(repaired(&expected), None);
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        let odd: Encoded = encoded(r#"{"role":"assistant","content":[{"z":1,"type":"future","a":1.0}]}"#);
        let history =
            [user(json!([text("a")])), model(json!([text("b"), call("t")])), user(json!([result("t")]))];
        let mut history: Vec<Encoded> = history.iter().map(|value| encoded(&value.to_string())).collect();
        history.push(odd);
        assert_eq!(repaired(&history), None);
        assert_eq!(repaired(&[]), None);
    }

    #[test]
    fn each_call_has_one_result_and_each_result_a_call() {
        let (task, end) = (user(json!([text("task")])), model(json!([text("end")])));
        let calls = model(json!([call("a"), call("b")]));
        let results = |results: Value| [task.clone(), calls.clone(), user(results), end.clone()];
        check(
            &results(json!([text("x"), result("b")])),
            &results(json!([result("b"), lost("a"), text("x")])),
        );
        let twice = json!([result("a"), result("c"), result("b"), result("a")]);
        check(&results(twice), &results(json!([result("a"), result("b")])));
        check(&[task.clone(), user(json!([result("a")]))], std::slice::from_ref(&task));
        let open = results(json!([result("a"), lost("b")]));
        check(&results(json!([result("a")]))[..3], &open[..3]);
        let again = [task.clone(), calls.clone(), user(json!([result("a"), result("b")])), calls.clone()];
        check(&again, &again[..3]);
        let broken = model(json!([text("end"), {"type": "tool_use", "id": "c", "name": "bash", "input": 1}]));
        check(&[task.clone(), broken], &[task.clone(), end.clone()]);
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
