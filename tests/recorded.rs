//! Responses of the real API go through the program: into the right message, and back as they came.
//!
//! The variable `MEANWHILE_RECORDINGS` names their folder; without it this is skipped, with a line that says so.

use std::{collections::BTreeMap, env, fs};

use serde_json::{Map, Value, json};

use crate::support::{Test, reply::Reply, request::Request};

fn recordings() -> Vec<(String, Value)> {
    let Some(folder) = env::var_os("MEANWHILE_RECORDINGS") else {
        eprintln!("skipped: MEANWHILE_RECORDINGS names no folder of recorded responses");
        return Vec::new();
    };
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|e| e == "json"));
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().display().to_string();
        (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    };
    files.map(read).collect()
}

/// The recorded exchange as an answer of the scripted server.
fn answer(recording: &Value) -> Reply {
    let headers = recording["headers"].as_object().unwrap();
    let kept = ["content-type", "request-id", "retry-after", "x-should-retry"];
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| kept.contains(&name.to_lowercase().as_str()))
        .map(|(name, value)| (name.as_str(), value[0].as_str().unwrap()))
        .collect();
    let body = match (&recording["body_sse"], &recording["body"]) {
        (Value::String(stream), _) => stream.clone(),
        (_, Value::String(text)) => text.clone(),
        (_, body) => body.to_string(),
    };
    Reply::raw(recording["status"].as_u64().unwrap() as u16, &headers, body)
}

/// The assistant message by the rules of the API, folded here a second time, and its stop reason.
fn folded(recording: &Value) -> (Vec<Value>, String) {
    let Some(stream) = recording["body_sse"].as_str() else {
        let body = match &recording["body"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            body => body.clone(),
        };
        let stop = body["stop_reason"].as_str().unwrap_or_default().to_owned();
        return (sendable(body["content"].as_array().unwrap().clone()), stop);
    };
    let mut blocks: BTreeMap<u64, (Value, String)> = BTreeMap::new();
    let mut stop = String::new();
    for data in stream.lines().filter_map(|line| line.trim_end().strip_prefix("data:")) {
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            continue;
        };
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                let block = (event["content_block"].clone(), String::new());
                blocks.insert(event["index"].as_u64().unwrap(), block);
            }
            "content_block_delta" => {
                let (block, input) = blocks.get_mut(&event["index"].as_u64().unwrap()).unwrap();
                apply(block, input, event["delta"].as_object().unwrap());
            }
            "message_delta" => stop = event["delta"]["stop_reason"].as_str().unwrap_or_default().to_owned(),
            _ => {}
        }
    }
    let finish = |(mut block, input): (Value, String)| {
        if !input.is_empty() {
            block["input"] = serde_json::from_str(&input).unwrap_or(json!({}));
        }
        block
    };
    (sendable(blocks.into_values().map(finish).collect()), stop)
}

fn apply(block: &mut Value, input: &mut String, delta: &Map<String, Value>) {
    for (name, value) in delta {
        match (name.as_str(), value) {
            ("type", _) => {}
            ("partial_json", piece) => input.push_str(piece.as_str().unwrap()),
            ("signature", signature) => block["signature"] = signature.clone(),
            ("citation", citation) => match &mut block["citations"] {
                Value::Array(citations) => citations.push(citation.clone()),
                none => *none = json!([citation]),
            },
            (name, Value::String(text)) => {
                let before = block[name].as_str().unwrap_or_default().to_owned();
                block[name] = json!(before + text);
            }
            (name, value) => block[name] = value.clone(),
        }
    }
}

/// Without what the API does not take back: blank text, thinking at the end.
fn sendable(mut content: Vec<Value>) -> Vec<Value> {
    content.retain(|block| block["type"] != "text" || !block["text"].as_str().unwrap().trim().is_empty());
    while content.last().is_some_and(|block| block["type"].as_str().unwrap().contains("thinking")) {
        content.pop();
    }
    content
}

/// What the program says of an error: the message and the request id of the API.
fn check_error(name: &str, recording: &Value, said: &str) {
    let body = recording["body"]
        .as_str()
        .map_or_else(|| recording["body"].clone(), |text| serde_json::from_str(text).unwrap());
    let message = body["error"]["message"].as_str().unwrap();
    let start: String = message.chars().take(60).collect();
    assert!(said.contains(&start), "{name}: `{said}` lacks `{start}`");
    let id = body["request_id"].as_str().or(recording["headers"]["request-id"][0].as_str());
    assert!(id.is_none_or(|id| said.contains(id)), "{name}: `{said}` lacks the request id");
    let kind = body["error"]["type"].as_str().unwrap();
    assert!(said.contains(kind), "{name}: `{said}` lacks `{kind}`");
}

#[test]
fn every_recorded_response_becomes_the_right_message_or_the_right_error() {
    for (name, recording) in recordings() {
        let mut test =
            Test::new().arg("--max-retries=0").stdin("go\nagain\n").allow_violations().allow_unused();
        test = test.reply(answer(&recording));
        for _ in 0..3 {
            test = test.reply(Reply::text("done"));
        }
        let finished = test.run().code(0);
        if recording["status"] != 200 {
            check_error(&name, &recording, &finished.stdout);
            continue;
        }
        let (expected, stop) = folded(&recording);
        let sent = sent_back(finished.request(1));
        match stop.as_str() {
            "refusal" => {
                assert!(finished.stdout.contains("refused to answer"), "{name}: {}", finished.stdout);
                assert_eq!(sent, None, "{name}: a refused turn is taken out");
            }
            _ if expected.is_empty() => assert_eq!(sent, None, "{name}: nothing to send back"),
            _ => assert_eq!(sent, Some(expected), "{name}: {}", finished.stdout),
        }
    }
}

/// The assistant message in a request.
fn sent_back(request: &Request) -> Option<Vec<Value>> {
    let message = request.messages().iter().find(|message| message["role"] == "assistant")?;
    let mut content = message["content"].as_array().unwrap().clone();
    for block in &mut content {
        block.as_object_mut().unwrap().remove("cache_control");
    }
    Some(content)
}

#[test]
fn a_recorded_file_can_be_replayed() {
    for (name, recording) in recordings() {
        let folder = env::var("MEANWHILE_RECORDINGS").unwrap();
        let simple = recording["status"] == 200 && folded(&recording).1 == "end_turn";
        if !simple || folded(&recording).0.is_empty() {
            continue;
        }
        let file = format!("{folder}/{name}.json");
        let finished = Test::new().arg("--replay").arg(&file).print("go").run().code(0);
        let texts = folded(&recording).0;
        let text = texts.iter().rev().find_map(|block| block["text"].as_str()).unwrap_or_default();
        assert!(finished.stdout.contains(text.trim()), "{name}: {}", finished.stdout);
    }
}
