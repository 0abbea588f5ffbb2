//! What opens a server besides a plain key: headers, fields of the body, files and commands that hold the key, and
//! servers that need none.

use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::support::finished::Finished;
use crate::support::reply::Reply;
use crate::support::server::Server;
use crate::support::{Test, wait_until};

const KEY: &str = "ANTHROPIC_API_KEY";
const TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
const BASE_URL: &str = "ANTHROPIC_BASE_URL";
const HEADERS: &str = "ANTHROPIC_CUSTOM_HEADERS";
const BETAS: &str = "ANTHROPIC_BETAS";
const SECRET: &str = "a-secret-of-some-length";

/// One task that needs one request.
#[track_caller]
fn ask(test: Test) -> Finished {
    test.reply(Reply::text("done")).print("go").run().code(0).stdout("done\n")
}

/// These headers of the request; None stands for one that is not sent.
#[track_caller]
fn check_headers(test: Test, expected: &[(&str, Option<&str>)]) {
    let finished = ask(test);
    let request = finished.request(0);
    let found: Vec<_> = expected.iter().map(|(name, _)| (*name, request.header(name))).collect();
    assert_eq!(found, expected);
}

/// The program ends with code 2 and one sentence that has these words and not the secret; nothing is asked.
#[track_caller]
fn check_refused(test: Test, words: &[&str]) {
    let finished = test.print("go").run().code(2).stdout("").stderr_lacks(SECRET);
    for word in words {
        assert!(finished.stderr.contains(word), "{word} is not named: {}", finished.stderr);
    }
    assert_eq!(finished.stderr.trim_end().lines().count(), 1, "{}", finished.stderr);
    assert_eq!(finished.requests.len(), 0);
}

/// A test whose only credential is what this command prints.
fn printing(script: &str) -> Test {
    Test::new().env_remove(KEY).args(["--key-command", script])
}

#[test]
fn headers_of_the_environment_and_of_the_options_are_sent() {
    let test = || Test::new().env(HEADERS, "X-One: 1\r\n\n x-two : b: 2 \n");
    check_headers(test(), &[("x-one", Some("1")), ("x-two", Some("b: 2"))]);
    let options = ["--header", "X-Two: 3", "--header=x-three:4", "--header", "X-One:"];
    check_headers(test().args(options), &[("x-one", None), ("x-two", Some("3")), ("x-three", Some("4"))]);
    let own = ["--header", "User-Agent: my agent", "--header", "x-name: J\u{fc}rgen"];
    check_headers(
        Test::new().args(own),
        &[("user-agent", Some("my agent")), ("x-name", Some("J\u{fc}rgen"))],
    );
}

#[test]
fn beta_features_are_asked_for_in_one_header() {
    check_headers(Test::new(), &[("anthropic-beta", None)]);
    check_headers(Test::new().env(BETAS, " a, b,"), &[("anthropic-beta", Some("a,b"))]);
    let all =
        Test::new().env(BETAS, "a").env(HEADERS, "Anthropic-Beta: b").args(["--header", "anthropic-beta: c"]);
    check_headers(all, &[("anthropic-beta", Some("b,a,c"))]);
}

#[test]
fn a_header_replaces_the_programs_own_and_may_be_the_credential() {
    let key = Test::new().args(["--header", &format!("X-Api-Key: {SECRET}")]);
    check_headers(key, &[("x-api-key", Some(SECRET)), ("authorization", None)]);
    let bearer = format!("Authorization: Bearer {SECRET}");
    let test = || Test::new().env(HEADERS, &bearer);
    let sent = [("authorization", Some(&bearer[15..])), ("x-api-key", None)];
    check_headers(test().env_remove(KEY), &sent);
    check_headers(test().arg("--header=x-api-key:"), &sent);
}

#[test]
fn a_header_that_can_not_be_sent_is_named_without_its_value() {
    let option = |line: &str| Test::new().args(["--header", line]);
    check_refused(option(SECRET), &["--header", "`Name: value`"]);
    check_refused(option(&format!("Content-Length: {SECRET}")), &["--header", "Content-Length"]);
    check_refused(option(&format!("X-One: {SECRET}\u{7f}")), &["--header", "X-One"]);
    check_refused(Test::new().env(HEADERS, format!("x-one: 1\n{SECRET}")), &["line 2", HEADERS]);
    check_refused(Test::new().env(BETAS, "a\u{1}b"), &[BETAS]);
    check_refused(Test::new().env(HEADERS, format!("x-one: {}", "x".repeat(100_000))), &["line 1", "32768"]);
    // What is just short enough can be sent.
    check_headers(
        option(&format!("x-one: {}", "x".repeat(32_000))).arg("--header=x-two: 2"),
        &[("x-two", Some("2"))],
    );
}

#[test]
fn the_value_of_a_header_is_masked_and_hidden_from_commands() {
    let look = json!({"command": format!("env; echo {SECRET}; echo {SECRET}-of-body")});
    let finished = ask(Test::new()
        .env(HEADERS, format!("X-Gateway: {SECRET}"))
        .env(BETAS, "a-feature-of-the-server")
        .args(["--body", &format!("{{\"metadata\":{{\"access_token\":\"{SECRET}-of-body\"}}}}")])
        .reply(Reply::tool("bash", look)));
    let printed = finished.request(1).tool_result(0).0;
    assert!(!printed.contains(HEADERS) && printed.contains("a-feature-of-the-server"), "{printed}");
    assert!(printed.ends_with("[credential]\n[credential]"), "{printed}");
}

#[test]
fn fields_are_added_to_the_body() {
    let bodies = [r#"{"service_tier": "auto", "metadata": {"user_id": "u"}}"#, r#"{"metadata": {"x": [1]}}"#];
    let finished = ask(bodies.iter().fold(Test::new(), |test, body| test.args(["--body", body])));
    let body = &finished.request(0).body;
    assert_eq!(body["service_tier"], "auto");
    assert_eq!(body["metadata"], json!({"user_id": "u", "x": [1]}));
    for name in ["messages", "tools", "stream", "model", "system", "max_tokens"] {
        check_refused(Test::new().args(["--body", &format!("{{\"{name}\": 1}}")]), &["--body", name]);
    }
    check_refused(Test::new().args(["--body", "[]"]), &["--body", "JSON object"]);
}

#[test]
fn a_dotenv_sets_neither_headers_nor_files() {
    let text =
        format!("{HEADERS}=x-one: 1\n{BETAS}=a\n{KEY}_FILE=/etc/hostname\n{TOKEN}_FILE=/etc/hostname\n");
    let test = Test::new().file(".env", text);
    check_headers(test, &[("x-one", None), ("anthropic-beta", None), ("x-api-key", Some("test-key"))]);
}

#[test]
fn a_server_that_only_dotenv_names_gets_nothing_from_elsewhere() {
    let named = |server: &Server, more: &str| {
        let test = Test::new().env(HEADERS, format!("x-one: {SECRET}")).env(BETAS, "a");
        test.file(".env", format!("{BASE_URL}={}\n{more}", server.url()))
    };
    let server = Server::start();
    let with_key = || named(&server, "ANTHROPIC_API_KEY=other\n");
    server.push(Reply::text("hi"));
    with_key().print("go").run().code(0).stdout("hi\n");
    let request = &server.requests()[0];
    assert_eq!((request.header("x-api-key"), request.header("x-one")), (Some("other"), None));
    assert_eq!(request.header("anthropic-beta"), Some("a"));
    check_refused(with_key().args(["--key-command", "touch ran"]), &["--key-command", BASE_URL]);
    check_refused(with_key().args(["--header", "x-two: 2"]), &["--header", BASE_URL]);
    let file = named(&server, "").env_remove(KEY).file("key", SECRET);
    let path = file.workspace().join("key");
    check_refused(file.env("ANTHROPIC_API_KEY_FILE", path), &[".env", BASE_URL]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_only_dotenv_names_reads_no_secret_that_is_for_another() {
    let server = Server::start();
    server.push(Reply::tool("read_file", json!({"path": "notes"})));
    server.push(Reply::text("done"));
    let named = || {
        let dotenv = format!("{BASE_URL}={}\n{KEY}=other\n", server.url());
        Test::new().env(HEADERS, format!("x-one: {SECRET}")).file(".env", dotenv).file("notes", SECRET)
    };
    named().print("go").run().code(0);
    assert_eq!(server.requests()[1].tool_result(0).0, "[credential]");
    let malformed = named().env(HEADERS, format!("x-one: {SECRET}\nx-two"));
    check_refused(malformed, &[HEADERS, "line 2"]);
    let body = format!("{{\"metadata\": {{\"api_key\": \"{SECRET}\"}}}}");
    check_refused(named().args(["--body", &body]), &["--body", BASE_URL]);
    server.push(Reply::text("done"));
    named().args(["--body", r#"{"service_tier": "auto"}"#]).print("go").run().code(0);
}

#[test]
fn a_server_that_the_environment_names_too_gets_all() {
    let test = Test::new().env(HEADERS, "x-one: 1");
    let text = format!("{BASE_URL}={}/v1\n", test.server().url());
    check_headers(test.file(".env", text), &[("x-api-key", Some("test-key")), ("x-one", Some("1"))]);
}

#[test]
fn a_server_on_this_machine_needs_no_credential() {
    // The scripted server asks for one all the same.
    let finished = Test::new().env_remove(KEY).print("go").allow_violations().run().code(3);
    let request = finished.request(0);
    assert_eq!((request.header("x-api-key"), request.header("authorization")), (None, None));
    let elsewhere = Test::new().env_remove(KEY).env(BASE_URL, "http://localhost.evil.test");
    check_refused(elsewhere, &[KEY, TOKEN]);
}

#[test]
fn a_credential_is_read_from_a_file_and_masked() {
    let test = || Test::new().env_remove(KEY).file("key", format!("{SECRET}\n"));
    let with_file = |test: Test, name: &str| {
        let path = test.workspace().join("key");
        test.env(name, path)
    };
    let (key_file, token_file) = ("ANTHROPIC_API_KEY_FILE", "ANTHROPIC_AUTH_TOKEN_FILE");
    let bearer = format!("Bearer {SECRET}");
    check_headers(with_file(test(), key_file), &[("x-api-key", Some(SECRET))]);
    check_headers(with_file(test(), token_file), &[("authorization", Some(&bearer)), ("x-api-key", None)]);
    check_headers(with_file(test(), key_file).env(KEY, "plain"), &[("x-api-key", Some("plain"))]);
    let look = json!({"command": "env | grep FILE; cat key"});
    let finished = ask(with_file(test(), key_file).reply(Reply::tool("bash", look)));
    assert_eq!(finished.request(1).tool_result(0).0, "[credential]");

    check_refused(test().env(key_file, "/not/there"), &[key_file, "/not/there"]);
    check_refused(with_file(test().file("key", format!("{SECRET} {SECRET}")), key_file), &[key_file]);
    check_refused(with_file(test().file("key", "\n"), key_file), &[key_file]);
}

#[test]
fn a_command_prints_the_key_once_for_all_requests() {
    let finished = printing(&format!("echo run >> runs; echo; echo ' {SECRET} '"))
        .env(TOKEN, "loses")
        .reply(Reply::tool("bash", json!({"command": "cat runs"})))
        .reply(Reply::text("done"))
        .print("go")
        .run()
        .code(0);
    assert_eq!(finished.request(1).tool_result(0).0, "run");
    for request in &finished.requests {
        assert_eq!((request.header("x-api-key"), request.header("authorization")), (Some(SECRET), None));
    }
    let bearer = format!("Bearer {SECRET}");
    check_headers(
        printing(&format!("echo {bearer}")),
        &[("authorization", Some(&bearer)), ("x-api-key", None)],
    );
}

#[test]
fn the_command_runs_once_more_after_a_401() {
    let script = format!("echo run >> runs; echo {SECRET}-$(wc -l < runs)");
    let rejected = || Reply::error(401, "authentication_error", "expired");
    let echo = json!({"command": format!("echo {SECRET}-1 {SECRET}-2; cat runs")});
    let finished = ask(printing(&script).reply(rejected()).reply(Reply::tool("bash", echo)));
    let keys: Vec<_> = finished.requests.iter().map(|request| request.header("x-api-key").unwrap()).collect();
    assert_eq!(keys, [1, 2, 2].map(|n| format!("{SECRET}-{n}")));
    assert_eq!(finished.request(2).tool_result(0).0, "[credential] [credential]\nrun\nrun");

    let finished = printing(&script).reply(rejected()).reply(rejected()).print("go").run().code(3);
    assert_eq!(finished.requests.len(), 2);
    // The same key again would be rejected again.
    let finished = printing(&format!("echo {SECRET}")).reply(rejected()).print("go").run().code(3);
    assert_eq!(finished.requests.len(), 1);
}

#[test]
fn a_command_that_prints_no_key_is_an_error_with_its_own_words() {
    let failing = printing("echo 'the vault\nis locked' >&2; exit 3");
    check_refused(failing, &["--key-command failed (exit code 3): the vault is locked"]);
    check_refused(printing("no-such-program"), &["--key-command failed (exit code 127)", "no-such-program"]);
    check_refused(printing("true"), &["--key-command", "one key"]);
    check_refused(printing(&format!("echo {SECRET} {SECRET}")), &["--key-command", "one key"]);
    check_refused(printing(""), &["--key-command", "one key"]);
    // More than a pipe holds, on both outputs.
    let much = "head -c 300000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero >&2";
    check_refused(printing(much), &["--key-command", "one key"]);
}

#[test]
fn what_the_command_leaves_behind_is_ended() {
    let finished = ask(printing(&format!("sleep 600 & echo $! > pid; echo {SECRET}")));
    assert_eq!(finished.request(0).header("x-api-key"), Some(SECRET));
    let pid = finished.dir.read("pid");
    wait_until("it has ended", || !Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn an_interruption_while_the_command_runs_sends_nothing() {
    let mut session =
        printing("touch started; until [ -e go ]; do sleep 0.02; done; touch ended; echo some-key")
            .reply(Reply::text("later"))
            .spawn();
    session.send_line("go");
    let folder = session.dir().workspace();
    wait_until("the command runs", || folder.join("started").exists());
    session.signal(Signal::INT);
    session.expect("interrupted");
    session.dir().write("go", "");
    wait_until("the command ends", || folder.join("ended").exists());
    session.send_line("again");
    session.expect("later");
    session.close_stdin();
    let finished = session.wait().code(0);
    assert_eq!(finished.requests.len(), 1, "{:?}", finished.requests);
    assert!(finished.request(0).last_text().contains("again"));
}

#[test]
fn doctor_names_what_the_credential_comes_from_and_the_headers() {
    let says = |test: Test, expected: &str| {
        let finished = test.arg("doctor").allow_violations().run();
        assert!(finished.stdout.contains(expected), "{expected}: {}", finished.stdout);
        assert!(!finished.stdout.contains(SECRET), "{}", finished.stdout);
    };
    says(Test::new().env(TOKEN, SECRET), "ok credential    ANTHROPIC_AUTH_TOKEN is set");
    let file = Test::new().env_remove(KEY).file("key", SECRET);
    let path = file.workspace().join("key");
    says(file.env("ANTHROPIC_API_KEY_FILE", path), "ok credential    ANTHROPIC_API_KEY_FILE is set");
    says(printing(&format!("echo {SECRET}")), "ok credential    --key-command is set");
    says(Test::new().env_remove(KEY), "credential    none is set");
    let header = Test::new().env_remove(KEY).args(["--header", &format!("authorization: Bearer {SECRET}")]);
    says(header, "ok credential    a header is set");
    says(
        Test::new().env_remove("MODEL_ID").env("ANTHROPIC_MODEL", "m"),
        "ok model         ANTHROPIC_MODEL is set",
    );
}
