//! Pictures: read by the model, attached by the user, and what the API must not get.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::Test;
use crate::support::reply::Reply;
use crate::support::request::Request;
use crate::tools::{answer, call, run};

/// A picture of one pixel.
pub const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

pub fn pixel() -> Vec<u8> {
    BASE64_STANDARD.decode(PIXEL).unwrap()
}

/// A picture of one pixel that says that it is larger.
fn large(width: u32, height: u32) -> Vec<u8> {
    let mut picture = pixel();
    picture[16..20].copy_from_slice(&width.to_be_bytes());
    picture[20..24].copy_from_slice(&height.to_be_bytes());
    picture
}

fn block(media_type: &str, data: &str) -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}})
}

fn unmarked(request: &Request) -> Vec<Value> {
    let mut content = request.last_content();
    content.iter_mut().for_each(|block| drop(block.as_object_mut().unwrap().remove("cache_control")));
    content
}

#[test]
fn read_file_shows_the_model_a_picture_whatever_its_name_says() {
    for name in ["shot.png", "shot.jpg", "shot.txt"] {
        let finished = run(Test::new().file(name, pixel()), [("read_file", json!({"path": name}))]);
        let text = json!({"type": "text", "text": "PNG picture, 1 x 1 pixels"});
        let result = &finished.request(1).last_content()[0];
        assert_eq!(result["content"], json!([text, block("image/png", PIXEL)]));
        assert_eq!(result.get("is_error"), None);
        assert!(finished.stderr.contains("\nPNG picture, 1 x 1 pixels\n"), "{}", finished.stderr);
    }
}

#[test]
fn a_picture_has_the_type_of_its_bytes() {
    let gif = b"GIF89a\x01\0\x01\0\0\0\0;";
    let finished = run(Test::new().file("a.png", gif), [("read_file", json!({"path": "a.png"}))]);
    let shown = &finished.request(1).last_content()[0]["content"][1];
    assert_eq!(*shown, block("image/gif", &BASE64_STANDARD.encode(gif)));
}

#[test]
fn what_the_api_would_refuse_is_an_error_that_says_what_to_do() {
    let read =
        |content: &[u8]| call(Test::new().file("a.png", content), "read_file", json!({"path": "a.png"}));
    let error = read(&large(8001, 10));
    assert!(error.starts_with("Error: a.png is a PNG picture of 8001 x 10 pixels and 0 kB"), "{error}");
    assert!(error.contains("`convert 'a.png' -resize"), "{error}");
    let cut_off = &pixel()[..60];
    assert_eq!(read(cut_off), "Error: a.png begins like a PNG picture, but it is damaged or not whole");
    assert_eq!(read(b"<html>404</html>"), "<html>404</html>");
}

#[test]
fn a_picture_goes_back_as_it_was_in_a_continued_session() {
    let test = Test::new().file("a.png", pixel());
    let finished = run(test, [("read_file", json!({"path": "a.png"}))]);
    let sent = finished.request(1).messages().to_vec();
    let next = finished.again().arg("-c").print("go on").reply(Reply::text("done")).run().code(0);
    let again = next.request(0).messages();
    assert_eq!(again[2]["content"][0]["content"], sent[2]["content"][0]["content"]);
}

#[test]
fn a_named_picture_goes_before_the_words() {
    let finished = Test::new()
        .file("a.png", pixel())
        .file("note", "text")
        .print("What is in @a.png, and @missing.png or @note?")
        .reply(Reply::text("A dot."))
        .run()
        .code(0)
        .stdout("A dot.\n");
    let words = json!({"type": "text", "text": "What is in @a.png, and @missing.png or @note?"});
    assert_eq!(unmarked(finished.request(0)), [block("image/png", PIXEL), words]);
    assert_eq!(finished.stderr, "");
    let sessions = finished.again().arg("sessions").run().code(0);
    assert!(sessions.stdout.contains("What is in @a.png"), "{}", sessions.stdout);
}

#[test]
fn a_task_may_come_from_anywhere_but_data_beside_it_names_no_pictures() {
    let kinds = |test: Test| -> Vec<Value> {
        let finished = test.file("a.png", pixel()).reply(Reply::text("done")).run().code(0);
        finished.request(0).last_content().iter().map(|block| block["type"].clone()).collect()
    };
    assert_eq!(kinds(Test::new().arg("-p").stdin("see @a.png")), ["image", "text"]);
    assert_eq!(kinds(Test::new().print("compare").stdin("@a.png")), ["text", "text"]);
    let task = Test::new().file("task", "see @a.png").args(["-p", "-f", "task"]);
    assert_eq!(kinds(task), ["image", "text"]);
    let first_message = Test::new().file("task", "see @a.png").args(["-f", "task"]);
    assert_eq!(kinds(first_message), ["image", "text"]);
}

#[test]
fn a_picture_that_cannot_be_attached_is_named() {
    let finished =
        Test::new().file("a.png", large(9000, 1)).print("see @a.png").reply(Reply::text("no")).run().code(0);
    assert_eq!(unmarked(finished.request(0)), [json!({"type": "text", "text": "see @a.png"})]);
    assert!(finished.stderr.contains("meanwhile: did not attach @a.png: a.png is a PNG picture of 9000 x 1"));
}

#[test]
fn at_the_prompt_pictures_and_texts_are_attached() {
    let mut session =
        Test::new().file("a.png", pixel()).file("note", "written").reply(Reply::text("Seen.")).spawn();
    session.send_line("compare @note with @a.png and @a.png.");
    session.expect("Seen.");
    session.close_stdin();
    let finished = session.wait().code(0);
    let text = |text: &str| json!({"type": "text", "text": text});
    let expected = [
        block("image/png", PIXEL),
        text("compare @note with @a.png and @a.png."),
        text("The file note:\nwritten"),
    ];
    assert_eq!(unmarked(finished.request(0)), expected);
}

#[test]
fn a_record_has_the_picture_as_the_model_got_it() {
    let test = Test::new().file("a.png", pixel()).args(["--output-format", "stream-json"]);
    let finished = run(test, [("read_file", json!({"path": "a.png"}))]);
    let records = finished.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let user: Vec<Value> = records.filter(|record| record["type"] == "user").collect();
    let content = &user[0]["message"]["content"][0]["content"];
    assert_eq!(*content, finished.request(1).last_content()[0]["content"]);
}

#[test]
fn a_saved_conversation_names_pictures() {
    let test = Test::new()
        .file("a.png", pixel())
        .reply(Reply::tool("read_file", json!({"path": "a.png"})))
        .reply(Reply::text("Seen."));
    let mut session = test.spawn();
    session.send_line("see @a.png");
    session.expect("Seen.");
    session.send_line("/save out.md");
    session.expect("out.md");
    session.close_stdin();
    let finished = session.wait().code(0);
    let saved = finished.dir.read("out.md");
    assert!(saved.contains("\n(a picture)\n\nsee @a.png\n"), "{saved}");
    assert!(saved.contains("```\nPNG picture, 1 x 1 pixels\n(a picture)\n```"), "{saved}");
}

#[test]
fn rules_are_asked_about_a_picture_too() {
    let test = Test::new().file("a.png", pixel()).args(["--deny", "read_file:*.png"]);
    let finished = run(test, [("read_file", json!({"path": "a.png"}))]);
    assert!(answer(&finished, 0).starts_with("Error: "));
}

/// Whether the last request holds a picture.
fn has_picture(request: &Request) -> bool {
    request.body["messages"].to_string().contains("\"type\":\"image\"")
}

#[test]
fn a_picture_that_the_server_refuses_leaves_the_history_and_the_turn_goes_on() {
    let refused = || Reply::error(400, "invalid_request_error", "Could not process image");
    let finished = Test::new()
        .file("a.png", pixel())
        .print("go")
        .reply(Reply::tool("read_file", json!({"path": "a.png"})))
        .reply(refused())
        .reply(Reply::text("done"))
        .run()
        .code(0)
        .stdout("done\n");
    assert!(has_picture(finished.request(1)) && !has_picture(finished.request(2)));
    let (text, is_error) = finished.request(2).tool_result(0);
    let expected = "PNG picture, 1 x 1 pixels\n(a picture was here, and was taken out of the conversation)";
    assert_eq!((text.as_str(), is_error), (expected, false));
    assert_eq!(finished.stderr.matches("the server refused a picture").count(), 1, "{}", finished.stderr);
    let next = finished.again().arg("-c").print("more").reply(Reply::text("done")).run().code(0);
    assert!(!has_picture(next.request(0)));
}

#[test]
fn of_a_request_that_is_too_large_the_older_pictures_are_taken_out() {
    let too_large = || Reply::error(413, "request_too_large", "Request exceeds the maximum size");
    let finished = Test::new()
        .file("a.png", pixel())
        .file("b.png", pixel())
        .print("see @a.png and @b.png")
        .reply(too_large())
        .reply(Reply::text("done"))
        .run()
        .code(0);
    let kinds = |n: usize| -> Vec<Value> {
        finished.request(n).last_content().iter().map(|block| block["type"].clone()).collect()
    };
    assert_eq!(kinds(0), ["image", "image", "text"]);
    assert_eq!(kinds(1), ["text", "image", "text"]);
}

#[test]
fn a_refusal_that_stays_is_told_once() {
    let refused = || Reply::error(404, "not_found_error", "No endpoints found that support image input");
    let test = Test::new().file("a.png", pixel()).print("see @a.png");
    let finished = test.reply(refused()).reply(refused()).run().code(3);
    assert_eq!(finished.requests.len(), 2);
    assert!(!has_picture(finished.request(1)));
}

#[test]
fn of_too_many_pictures_the_last_ones_stay() {
    let read = || Reply::tool("read_file", json!({"path": "a.png"}));
    let test = (0..21).fold(Test::new().file("a.png", pixel()).print("go"), |test, _| test.reply(read()));
    let finished = test.reply(Reply::text("done")).run().code(0);
    let pictures = |n: usize| finished.request(n).body.to_string().matches("\"type\":\"image\"").count();
    assert_eq!((pictures(20), pictures(21)), (20, 10));
    assert!(finished.stderr.contains("older pictures were taken out"), "{}", finished.stderr);
}

#[test]
fn a_model_that_takes_no_pictures_gets_none() {
    let blind = || {
        let capabilities = json!({"image_input": {"supported": false}});
        Reply::json(&json!({"type": "model", "id": "test-model", "capabilities": capabilities}))
    };
    let mut test = Test::new().file("a.png", pixel()).describe_model(blind).allow_unused();
    for _ in 0..200 {
        test = test.reply(Reply::with(|request| {
            let text = request.body["messages"].to_string();
            let is_over = text.contains("takes no pictures") || text.contains("see @a.png");
            let read = || Reply::tool("read_file", json!({"path": "a.png"}));
            if is_over { Reply::text("That is all.") } else { read() }
        }));
    }
    let mut session = test.spawn();
    session.send_line("go");
    // The description comes beside the first request, so some pictures may be read before it.
    session.expect("Error: a.png is a picture, and this model takes no pictures");
    session.send_line("see @a.png");
    session.expect("the model takes no pictures: what was attached is left out");
    session.expect("tokens in");
    session.close_stdin();
    session.wait().code(0);
}
