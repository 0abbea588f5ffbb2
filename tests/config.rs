//! Every variable and flag, what wins over what, and what is said of a value that is missing or malformed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::Test;
use crate::support::finished::Finished;
use crate::support::reply::Reply;
use crate::support::server::Server;

const KEY: &str = "ANTHROPIC_API_KEY";
const TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
const BASE_URL: &str = "ANTHROPIC_BASE_URL";

/// One task that needs one request.
#[track_caller]
fn ask(test: Test) -> Finished {
    let test = test.reply(Reply::text("done")).print("go");
    test.run().code(0).stdout("done\n")
}

/// The field of the request's body.
#[track_caller]
fn check_body(test: Test, field: &str, expected: Value) {
    assert_eq!(ask(test).request(0).body[field], expected);
}

/// `x-api-key` and `authorization` of the request.
#[track_caller]
fn check_credential(test: Test, key: Option<&str>, authorization: Option<&str>) {
    let finished = ask(test);
    let request = finished.request(0);
    let found = (request.header("x-api-key"), request.header("authorization"));
    assert_eq!(found, (key, authorization));
}

/// The program ends with code 2 and one sentence in which these words stand, and asks nothing of the server.
#[track_caller]
fn check_refused(test: Test, words: &[&str]) {
    let finished = test.print("go").run().code(2).stdout("");
    let sentence = &finished.stderr;
    for word in words {
        assert!(sentence.contains(word), "{word} is not named: {sentence}");
    }
    assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
    assert!(sentence.starts_with("meanwhile: "), "{sentence}");
    assert_eq!(finished.requests.len(), 0);
}

/// What a command prints.
#[track_caller]
fn command_prints(test: Test, command: &str) -> String {
    let test = test.reply(Reply::tool("bash", json!({"command": command})));
    ask(test).request(1).tool_result(0).0
}

fn bytes(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[test]
fn the_model_comes_from_the_flag_or_dotenv_or_the_environment() {
    check_body(Test::new(), "model", json!("test-model"));
    let dotenv = || Test::new().file(".env", "MODEL_ID=of-dotenv\n");
    check_body(dotenv(), "model", json!("of-dotenv"));
    check_body(dotenv().env_remove("MODEL_ID"), "model", json!("of-dotenv"));
    check_body(dotenv().args(["--model", "of-flag"]), "model", json!("of-flag"));
    let none = || Test::new().env_remove("MODEL_ID");
    check_body(none().arg("--model=of-flag"), "model", json!("of-flag"));
    let other = |test: Test| test.env("ANTHROPIC_MODEL", "of-others");
    check_body(other(none()), "model", json!("of-others"));
    check_body(none().file(".env", "ANTHROPIC_MODEL=of-dotenv\n"), "model", json!("of-dotenv"));
    check_body(other(Test::new()), "model", json!("test-model"));
    check_body(other(none().env("MODEL_ID", "")), "model", json!("of-others"));
}

#[test]
fn the_longest_reply_is_32000_tokens_unless_said_otherwise() {
    check_body(Test::new(), "max_tokens", json!(32_000));
    check_body(Test::new().args(["--max-output-tokens", "77"]), "max_tokens", json!(77));
}

#[test]
fn the_key_goes_out_as_such_and_a_token_wins_over_it() {
    let token = || Test::new().env(TOKEN, "test-token");
    check_credential(Test::new(), Some("test-key"), None);
    check_credential(token(), None, Some("Bearer test-token"));
    check_credential(token().env(TOKEN, ""), Some("test-key"), None);
    check_credential(token().file(".env", "ANTHROPIC_API_KEY=other\n"), Some("other"), None);
    check_credential(token().env_remove(KEY), None, Some("Bearer test-token"));
    check_credential(token().env(KEY, ""), None, Some("Bearer test-token"));
}

#[test]
fn the_base_url_may_have_a_path_and_be_written_in_any_way() {
    for (suffix, path) in [
        ("", "/v1/messages"),
        ("/", "/v1/messages"),
        ("/a/proxy", "/a/proxy/v1/messages"),
        ("/a/proxy/", "/a/proxy/v1/messages"),
        ("/v1", "/v1/messages"),
        ("/a/v1/", "/a/v1/messages"),
        ("/v1/messages", "/v1/messages"),
    ] {
        let test = Test::new();
        let url = format!("{}{suffix}", test.server().url());
        let finished = ask(test.env(BASE_URL, url));
        assert_eq!(finished.request(0).path, path);
    }
}

#[test]
fn the_time_limit_of_background_tasks_can_be_set() {
    let finished = ask(Test::new()
        .args(["--background-timeout", "1"])
        .reply(Reply::tool("background_run", json!({"command": "sleep 600"})))
        .reply(Reply::tool("check_background", json!({"wait": 60}))));
    let notice = finished.request(2).last_text();
    assert!(notice.contains("] timeout: Error: Timeout (1s) after "), "{notice}");
}

#[test]
fn the_number_of_background_tasks_can_be_set() {
    let finished = ask(Test::new()
        .args(["--max-background", "1"])
        .reply(Reply::tool("background_run", json!({"command": "sleep 600"})))
        .reply(Reply::tool("background_run", json!({"command": "true"})))
        .reply(Reply::with(|request| {
            let history = request.messages();
            let started = history[2]["content"][0]["content"].as_str().unwrap();
            let id = started.split(' ').nth(2).unwrap();
            Reply::tool("kill_background", json!({"task_id": id}))
        })));
    let (text, is_error) = finished.request(2).tool_result(0);
    assert!(is_error && text.starts_with("Error: 1 background task"), "{text}");
}

#[test]
fn what_is_missing_is_named_with_the_way_to_set_it() {
    let demo = "`meanwhile demo`";
    check_refused(Test::new().env_remove("MODEL_ID"), &["MODEL_ID", "--model", ".env"]);
    check_refused(Test::new().env("MODEL_ID", ""), &["MODEL_ID", "--model", ".env"]);
    let elsewhere = || Test::new().env(BASE_URL, "http://api.test");
    check_refused(elsewhere().env_remove(KEY), &[KEY, TOKEN, ".env", demo]);
    check_refused(elsewhere().env(KEY, "").env(TOKEN, ""), &[KEY, TOKEN, ".env", demo]);
}

#[test]
fn what_is_malformed_is_named_with_the_way_to_set_it() {
    let check = |name: &str, value: &OsStr| {
        check_refused(Test::new().env(name, value), &[name, ".env"]);
    };
    check("MODEL_ID", bytes(b"mod\xe9l"));
    for key in [&b"two words"[..], b"line\nend", b" \n", b"\xe9", "schlüssel".as_bytes()] {
        check(KEY, bytes(key));
    }
    for url in ["host", "ftp://host", "http://", "http://a b", "http://host?x", "http://user:pw@host"] {
        check(BASE_URL, OsStr::new(url));
    }
    let token = Test::new().env_remove(KEY).env(TOKEN, "two words");
    check_refused(token, &[TOKEN, ".env"]);
}

#[test]
fn a_line_end_behind_a_value_is_none_of_it() {
    check_credential(Test::new().env(KEY, "other\r\n"), Some("other"), None);
    check_credential(Test::new().env(TOKEN, "other\n"), None, Some("Bearer other"));
    check_credential(Test::new().env(TOKEN, "\n"), Some("test-key"), None);
    check_body(Test::new().env("MODEL_ID", "m\r"), "model", json!("m"));
    let test = Test::new();
    let url = format!("{}\r\n", test.server().url());
    ask(test.env(BASE_URL, url));
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let names = ["SSL_CERT_FILE", "http_proxy", "all_proxy", "ALL_PROXY", "NO_PROXY", "no_proxy", TOKEN];
    let names =
        names.into_iter().chain(["ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_BETAS", "ANTHROPIC_API_KEY_FILE"]);
    ask(names.fold(Test::new(), |test, name| test.env(name, "")));
    check_body(Test::new().env("MODEL_ID", "").env("ANTHROPIC_MODEL", "m"), "model", json!("m"));
    let printed = Test::new().env("TMPDIR", "").arg("doctor").allow_violations().run().stdout;
    assert!(printed.contains("ok temp folder   /tmp\n"), "{printed}");
}

#[test]
fn a_dotenv_of_somebody_else_is_skipped() {
    if rustix::process::getuid().is_root() {
        eprintln!("skipped: root can read every file");
        return;
    }
    let test = Test::new().file(".env", "MODEL_ID=other\n");
    fs::set_permissions(test.workspace().join(".env"), fs::Permissions::from_mode(0o000)).unwrap();
    check_body(test, "model", json!("test-model"));
}

#[test]
fn a_proxy_that_can_not_be_used_is_named() {
    let socks = Test::new().env(BASE_URL, "http://api.test").env("ALL_PROXY", "socks5h://127.0.0.1:9");
    check_refused(socks, &["proxy", "SOCKS"]);
}

#[test]
fn certificates_that_cannot_be_used_are_named_by_their_variable() {
    let test = Test::new().file("no.pem", "no certificate\n");
    let file = test.workspace().join("no.pem");
    check_refused(test.env("SSL_CERT_FILE", file), &["SSL_CERT_FILE"]);
    check_refused(Test::new().env("SSL_CERT_FILE", "/not/there.pem"), &["SSL_CERT_FILE"]);
}

#[test]
fn a_flag_that_makes_no_sense_is_named() {
    let check = |args: &[&str], word: &str| {
        check_refused(Test::new().args(args), &[word, "meanwhile --help"]);
    };
    check(&["--nonsense"], "--nonsense");
    check(&["one", "two"], "two prompts, `one` and `two`");
    for flag in [
        "--max-output-tokens",
        "--context-window",
        "--idle-timeout",
        "--background-timeout",
        "--max-background",
        "--log-limit",
    ] {
        for value in ["0", "-1", "many", "1.5", "99999999999999999999"] {
            check(&[&format!("{flag}={value}")], flag);
        }
    }
}

/// The program ends with code 2, a sentence that names the option and the way out, and no request.
#[track_caller]
fn check_outside_its_mode(args: &[&str], sentence: &str) {
    let finished = Test::new().args(args).run().code(2).stdout("");
    assert_eq!(finished.stderr, format!("meanwhile: {sentence}; try `meanwhile --help`\n"), "{args:?}");
    assert_eq!(finished.requests.len(), 0);
}

#[test]
fn an_option_outside_its_mode_is_a_usage_error() {
    for option in [
        "--output-format=json",
        "--on-end=kill",
        "--max-turns=1",
        "--max-time=1",
        "--max-total-tokens=1",
        "--quiet",
        "--verbose",
    ] {
        let name = option.split('=').next().unwrap();
        // The record is on stdout if that was asked for.
        if name != "--output-format" {
            check_outside_its_mode(&[option], &format!("{name} needs -p"));
            check_outside_its_mode(&["go", option], &format!("{name} needs -p"));
        }
    }
    Test::new().arg("--output-format=json").run().code(2).stderr_contains("--output-format needs -p");
    check_outside_its_mode(&["-p", "go", "--wake"], "--wake can't be used with -p");
    check_outside_its_mode(&["-p", "go", "--no-wake"], "--no-wake can't be used with -p");
    check_outside_its_mode(&["sessions", "--model", "m"], "--model can't be used with `sessions`");
    check_outside_its_mode(&["doctor", "-f", "task.txt"], "--file can't be used with `doctor`");
    check_outside_its_mode(&["demo", "--max-turns", "1"], "--max-turns needs -p");
}

#[test]
fn a_number_of_retries_that_is_none_is_named() {
    check_refused(Test::new().arg("--max-retries=many"), &["--max-retries", "meanwhile --help"]);
}

#[test]
fn an_empty_model_is_no_model() {
    check_refused(Test::new().arg("--model="), &["--model", "MODEL_ID"]);
}

#[test]
fn dotenv_wins_over_the_environment() {
    let dotenv = |text: &str| Test::new().file(".env", text);
    check_credential(dotenv("ANTHROPIC_API_KEY=other\n"), Some("other"), None);
    let both = "MODEL_ID = other # comment\nexport ANTHROPIC_API_KEY='o$ther'\n";
    check_credential(dotenv(both), Some("o$ther"), None);
    check_body(dotenv(both), "model", json!("other"));
    let elsewhere = Server::start();
    elsewhere.push(Reply::text("from elsewhere"));
    let text = format!("{BASE_URL}={}\n{KEY}=other\n", elsewhere.url());
    let finished = dotenv(&text).print("go").run().code(0).stdout("from elsewhere\n");
    assert_eq!(finished.requests.len(), 0);
    assert_eq!(elsewhere.requests()[0].header("x-api-key"), Some("other"));
}

#[test]
fn a_key_of_the_environment_is_never_sent_to_a_server_that_dotenv_names() {
    let elsewhere = Server::start();
    let named = format!("{BASE_URL}={}\n", elsewhere.url());
    for text in [
        named.clone(),
        format!("{named}{KEY}=\n"),
        format!("{KEY}=''\n{TOKEN}=\nexport {named}"),
        format!("{BASE_URL}=\n{named}"),
    ] {
        let test = Test::new().env(TOKEN, "test-token").file(".env", text);
        check_refused(test, &[".env", BASE_URL, KEY, TOKEN]);
    }
    assert!(elsewhere.requests().is_empty());

    // With a token in the file that token is sent, and the key of the environment still is not.
    elsewhere.push(Reply::text("hi"));
    let test = Test::new().file(".env", format!("{named}{TOKEN}=other\n"));
    test.print("go").run().code(0).stdout("hi\n");
    let requests = elsewhere.requests();
    assert_eq!(requests[0].header("authorization"), Some("Bearer other"));
    assert!(!format!("{requests:?}").contains("test-key"));
}

#[test]
fn dollars_in_dotenv_are_not_replaced() {
    let test = Test::new().env("SECRET", "a secret").file(".env", "MODEL_ID=\"$SECRET/${SECRET}\"\n");
    check_body(test, "model", json!("$SECRET/${SECRET}"));
}

#[test]
fn other_variables_in_dotenv_are_ignored_and_none_is_exported() {
    let text = format!("{KEY}=of-dotenv\nMODEL_ID=of-dotenv\nPATH=/nowhere\nOTHER=of-dotenv\nLD_PRELOAD=x\n");
    let test = Test::new().file(".env", text);
    let printed = command_prints(test, "env; ls -d .env");
    assert!(!printed.contains("of-dotenv") && !printed.contains("nowhere"), "{printed}");
    assert!(printed.ends_with("\n.env") && printed.contains("MODEL_ID=test-model"), "{printed}");
}

#[test]
fn commands_see_the_environment_without_the_credentials() {
    let test = Test::new().env(TOKEN, "test-token").env("OTHER", "seen");
    let printed = command_prints(test, "env; tr '\\0' '\\n' < /proc/$PPID/environ");
    assert!(printed.contains("OTHER=seen"), "{printed}");
    for hidden in [KEY, TOKEN, "test-key", "test-token"] {
        assert!(!printed.contains(hidden), "{hidden}: {printed}");
    }
}

#[test]
fn a_dotenv_that_is_no_file_blocks_nothing() {
    let folder = Test::new();
    fs::create_dir(folder.workspace().join(".env")).unwrap();
    check_body(folder, "model", json!("test-model"));
    let fifo = Test::new();
    let made = Command::new("mkfifo").arg(fifo.workspace().join(".env")).status();
    assert!(made.unwrap().success());
    check_body(fifo, "model", json!("test-model"));
}

#[test]
fn a_dotenv_value_that_does_not_end_is_named() {
    check_refused(Test::new().file(".env", "MODEL_ID='open\n"), &[".env", "MODEL_ID"]);
    check_body(Test::new().file(".env", "OTHER='open\n"), "model", json!("test-model"));
}

#[test]
fn a_dotenv_in_the_manner_of_other_systems_is_read() {
    let text = "\u{feff}# comment\r\nMODEL_ID=of-dotenv\r\n\r\nnonsense\r\nOTHER=1\r\n";
    check_body(Test::new().file(".env", text), "model", json!("of-dotenv"));
}
