//! `meanwhile doctor`: a line for each thing that is there or missing, an exit code, and nothing sent that costs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::{ServerConnection, StreamOwned};
use serde_json::json;

use crate::bare::{bare_root, run_in};
use crate::support::finished::Finished;
use crate::support::tls::{named, server_config};
use crate::support::{Test, copy_program};

/// The program waits a second for an answer; a busy machine may need more, and an idle connection has minutes.
const DEADLINE: Duration = Duration::from_secs(30);

const LINES: [&str; 10] = [
    "shell",
    "proc",
    "state folder",
    "temp folder",
    "sandbox",
    "model",
    "credential",
    "dns",
    "endpoint",
    "clock",
];

/// A server that answers every request the same, and keeps what it was sent.
struct Web {
    url: String,
    received: Arc<Mutex<Vec<u8>>>,
}

/// What it does with a connection.
#[derive(Clone)]
enum Answer {
    Bytes(String),
    /// What it says of a model, and of all models.
    Account {
        model: String,
        list: String,
    },
    /// It accepts, and says nothing.
    Silence,
}

impl Web {
    fn start(answer: Answer) -> Web {
        Web::serve("http", move |mut client, received| match &answer {
            Answer::Bytes(answer) => {
                read_head(&mut client, received);
                let _ = client.write_all(answer.as_bytes());
            }
            Answer::Account { model, list } => {
                let head = read_head(&mut client, received);
                let path = head.split(' ').nth(1).unwrap_or_default();
                let answer = match path.split(['?', '/']).collect::<Vec<_>>().as_slice() {
                    [_, "v1", "models", _, ..] if !path.contains('?') => model.clone(),
                    [_, "v1", "models", ..] => list.clone(),
                    _ => self::answer(Some(SystemTime::now())),
                };
                let _ = client.write_all(answer.as_bytes());
            }
            Answer::Silence => {
                read_head(&mut client, received);
                // Until the other side has had enough.
                let _ = client.read(&mut [0]);
            }
        })
    }

    /// With TLS, for 127.0.0.1. Returns the certificate (PEM) too.
    fn start_tls(answer: &str) -> (Web, String) {
        let (config, certificate) = server_config(named("127.0.0.1"));
        let answer = answer.to_owned();
        let web = Web::serve("https", move |client, received| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut client = StreamOwned::new(connection, client);
            read_head(&mut client, received);
            let _ = client.write_all(answer.as_bytes());
            let _ = client.flush();
        });
        (web, certificate)
    }

    fn serve(scheme: &str, each: impl Fn(std::net::TcpStream, &Mutex<Vec<u8>>) + Send + 'static) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        thread::Builder::new()
            .name("web".to_owned())
            .spawn(move || {
                for client in listener.incoming().flatten() {
                    each(client, &kept);
                }
            })
            .unwrap();
        Web { url, received }
    }

    fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap()).into_owned()
    }
}

fn read_head(client: &mut impl Read, received: &Mutex<Vec<u8>>) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    received.lock().unwrap().extend(&head);
    String::from_utf8_lossy(&head).into_owned()
}

fn answer(date: Option<SystemTime>) -> String {
    let date = date.map_or(String::new(), |date| format!("date: {}\r\n", http_date(date)));
    format!("HTTP/1.1 405 Method Not Allowed\r\n{date}content-length: 0\r\nconnection: close\r\n\r\n")
}

/// The form of dates in HTTP (RFC 9110, 5.6.7). Who reads it may not care for the day of the week.
fn http_date(time: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const WEEK: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let seconds = time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = (shifted + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        WEEK[(days % 7) as usize],
        MONTHS[month as usize],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

fn well() -> Web {
    Web::start(Answer::Bytes(answer(Some(SystemTime::now()))))
}

fn doctor(web: &Web) -> Test {
    Test::new().env("ANTHROPIC_BASE_URL", &web.url).arg("doctor")
}

/// The line about one thing: its mark, and what was found.
#[track_caller]
fn line(finished: &Finished, name: &str) -> (String, String) {
    let found = finished.stdout.lines().find_map(|line| {
        let (mark, rest) = line.split_once(' ')?;
        let text = rest.strip_prefix(name)?;
        Some((mark.to_owned(), text.trim().to_owned()))
    });
    found.unwrap_or_else(|| panic!("no line for {name}:\n{}\n{}", finished.stdout, finished.stderr))
}

#[track_caller]
fn check_line(finished: &Finished, name: &str, mark: &str, text: &str) {
    let (found, rest) = line(finished, name);
    assert_eq!(found, mark, "{name}: {rest}\n{}", finished.stdout);
    assert!(rest.contains(text), "`{text}` in {name}: {rest}");
}

#[test]
fn there_is_a_line_for_each_thing_and_all_is_well() {
    let web = well();
    let finished = doctor(&web).run().code(0);
    let names: Vec<&str> = finished.stdout.lines().map(|line| line[3..].trim()).collect();
    assert_eq!(names.len(), LINES.len(), "{}", finished.stdout);
    for (line, name) in names.iter().zip(LINES) {
        assert!(line.starts_with(name), "{name} in {}", finished.stdout);
    }
    assert_eq!(finished.stderr, "");
    check_line(&finished, "shell", "ok", "/bin/sh");
    check_line(&finished, "proc", "ok", "/proc");
    let state = finished.dir.state().display().to_string();
    check_line(&finished, "state folder", "ok", &state);
    let temp = finished.dir.tmp().display().to_string();
    check_line(&finished, "temp folder", "ok", &temp);
    check_line(&finished, "model", "ok", "MODEL_ID");
    check_line(&finished, "credential", "ok", "ANTHROPIC_API_KEY");
    check_line(&finished, "dns", "ok", "127.0.0.1");
    check_line(&finished, "endpoint", "ok", "405");
    check_line(&finished, "clock", "ok", "");
}

#[test]
fn the_credential_goes_only_into_the_question_about_the_model_and_nothing_costs() {
    let web = well();
    doctor(&web).env("ANTHROPIC_API_KEY", "secret-key").run().code(0);
    let received = web.received();
    let (first, question) = received.split_once("\r\n\r\n").unwrap();
    assert!(first.starts_with("HEAD /v1/messages "), "{received}");
    for header in ["secret", "x-api-key", "authorization"] {
        assert!(!first.to_lowercase().contains(header), "{first}");
    }
    assert!(question.starts_with("GET /v1/models/test-model HTTP/1.1\r\n"), "{received}");
    assert!(question.contains("x-api-key: secret-key"), "{received}");
    assert_eq!(received.matches("HTTP/1.1").count(), 2, "{received}");
}

#[test]
fn a_server_that_only_a_file_of_the_folder_names_gets_no_credential() {
    let web = well();
    let finished =
        Test::new().file(".env", format!("ANTHROPIC_BASE_URL={}\n", web.url)).arg("doctor").run().code(2);
    check_line(&finished, "credential", "!!", "is not sent to a server");
    let received = web.received();
    assert!(!received.contains("test-key") && !received.contains("GET"), "{received}");
}

fn page(status: u16, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Some\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn error(status: u16, kind: &str) -> String {
    let body = json!({"type": "error", "error": {"type": kind, "message": "what the API says"}});
    page(status, "application/json", &body.to_string())
}

fn list(ids: &[&str]) -> String {
    let models: Vec<_> = ids.iter().map(|id| json!({"type": "model", "id": id})).collect();
    page(200, "application/json", &json!({"data": models, "has_more": false}).to_string())
}

#[test]
fn the_server_says_whether_the_key_and_the_model_are_right() {
    let description = |limits: serde_json::Value| {
        let mut model = json!({"type": "model", "id": "test-model"});
        model.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        page(200, "application/json", &model.to_string())
    };
    let whole = description(json!({"max_input_tokens": 1_000_000, "max_tokens": 128_000}));
    let older = description(json!({}));
    let html = |status| page(status, "text/html", "<html>no</html>");
    let other = page(200, "application/json", &json!({"object": "model", "id": "m"}).to_string());
    let unknown = "does not say whether it is right";
    // What it says of the model and of all models; then the lines about the credential and the model.
    let cases = [
        (
            whole,
            html(404),
            ("ok", "the server accepts it"),
            ("ok", "a window of 1000000 tokens, replies of up to 128000"),
        ),
        (older, html(404), ("ok", "the server accepts it"), ("ok", "the server has the model")),
        (
            error(401, "authentication_error"),
            html(404),
            ("!!", "401 authentication_error: what the API says"),
            ("ok", "MODEL_ID is set"),
        ),
        (html(401), html(404), ("!!", "401"), ("ok", "MODEL_ID is set")),
        (
            error(403, "permission_error"),
            html(404),
            ("!!", "403 permission_error"),
            ("ok", "MODEL_ID is set"),
        ),
        (html(403), html(404), ("ok", unknown), ("ok", "MODEL_ID is set")),
        (
            error(404, "not_found_error"),
            list(&["other"]),
            ("ok", unknown),
            ("!!", "404 not_found_error: what the API says"),
        ),
        (error(404, "not_found_error"), list(&["test-model"]), ("ok", unknown), ("ok", "MODEL_ID is set")),
        (
            error(404, "not_found_error"),
            error(404, "not_found_error"),
            ("ok", unknown),
            ("ok", "MODEL_ID is set"),
        ),
        (html(404), list(&["other"]), ("ok", unknown), ("ok", "MODEL_ID is set")),
        (other, html(404), ("ok", unknown), ("ok", "MODEL_ID is set")),
        (error(529, "overloaded_error"), html(404), ("ok", unknown), ("ok", "MODEL_ID is set")),
        ("no HTTP".to_owned(), html(404), ("ok", unknown), ("ok", "MODEL_ID is set")),
    ];
    for (model, list, credential, name) in cases {
        let web = Web::start(Answer::Account { model, list });
        let is_well = credential.0 == "ok" && name.0 == "ok";
        let finished = doctor(&web).run().code(if is_well { 0 } else { 2 });
        check_line(&finished, "credential", credential.0, credential.1);
        check_line(&finished, "model", name.0, name.1);
        check_line(&finished, "endpoint", "ok", "405");
    }
}

#[test]
fn a_server_adds_no_lines_of_its_own() {
    let error =
        json!({"type": "error", "error": {"type": "authentication_error", "message": "no\nok credential"}});
    let model = page(401, "application/json", &error.to_string());
    let web = Web::start(Answer::Account { model, list: list(&[]) });
    let finished = doctor(&web).run().code(2);
    check_line(&finished, "credential", "!!", "401 authentication_error: no ok credential");
}

#[test]
fn without_a_credential_a_server_on_this_machine_may_still_want_one() {
    let refusing = Answer::Account {
        model: error(401, "authentication_error"),
        list: error(401, "authentication_error"),
    };
    let finished = doctor(&Web::start(refusing)).env_remove("ANTHROPIC_API_KEY").run().code(2);
    check_line(&finished, "credential", "!!", "none is set, but the server answers 401");
    let finished = doctor(&well()).env_remove("ANTHROPIC_API_KEY").run().code(0);
    check_line(&finished, "credential", "ok", "may need none");
}

#[test]
fn no_credential_is_shown() {
    let web = well();
    let finished = doctor(&web).env("ANTHROPIC_API_KEY", "secret-key").run().code(0);
    assert!(!finished.stdout.contains("secret"), "{}", finished.stdout);
}

#[test]
fn a_credential_that_the_shell_shows_to_commands_is_said() {
    let web = well();
    for (script, expected) in [
        ("\"$@\"; exit $?", "-- credential    ANTHROPIC_API_KEY is set, but commands can read it"),
        ("exec \"$@\"", "ok credential    ANTHROPIC_API_KEY is set;"),
    ] {
        let test = doctor(&web);
        let program = test.command();
        let variables = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().envs(variables).args(["-c", script, "sh"]);
        shell.arg(program.get_program()).args(program.get_args());
        let output = shell.current_dir(test.workspace()).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stdout}");
        assert!(stdout.contains(expected), "{script}: {stdout}");
    }
}

#[test]
fn what_is_needed_and_missing_has_an_exit_code() {
    let web = well();
    let elsewhere =
        doctor(&web).env("ANTHROPIC_BASE_URL", "http://api.test").env("http_proxy", "http://127.0.0.1:1");
    let finished = elsewhere.env_remove("ANTHROPIC_API_KEY").run().code(2);
    check_line(&finished, "credential", "!!", "ANTHROPIC_API_KEY");
    check_line(&finished, "model", "ok", "");
    let finished = doctor(&web).env_remove("MODEL_ID").run().code(2);
    check_line(&finished, "model", "!!", "MODEL_ID");
    check_line(&finished, "credential", "ok", "");
    finished.stderr_contains("meanwhile: ");
    doctor(&web).env_remove("MODEL_ID").args(["--model", "m"]).run().code(0);
}

#[test]
fn an_empty_model_is_missing() {
    let web = well();
    let finished = doctor(&web).args(["--model", ""]).run().code(2);
    check_line(&finished, "model", "!!", "");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let web = Web { url: "http://127.0.0.1:1".to_owned(), received: Arc::default() };
    let finished = doctor(&web).run().code(2);
    check_line(&finished, "dns", "ok", "127.0.0.1");
    check_line(&finished, "endpoint", "!!", "http://127.0.0.1:1");
    check_line(&finished, "shell", "ok", "");
}

#[test]
fn a_base_url_that_is_none_is_named_beside_everything_else() {
    let web = Web { url: "nowhere".to_owned(), received: Arc::default() };
    let finished = doctor(&web).run().code(2);
    check_line(&finished, "endpoint", "!!", "ANTHROPIC_BASE_URL");
    check_line(&finished, "credential", "ok", "");
}

/// Whoever looks has a second, and what was found before the silence is not lost.
#[test]
fn a_silent_server_does_not_hold_it_up() {
    let web = Web::start(Answer::Silence);
    let started = Instant::now();
    let finished = doctor(&web).run().code(2);
    let took = started.elapsed();
    assert!(took < DEADLINE, "it took {took:?}");
    check_line(&finished, "endpoint", "!!", "");
    check_line(&finished, "dns", "ok", "127.0.0.1");
    check_line(&finished, "clock", "--", "");
}

/// Bytes that trickle in keep a reader busy, but not for longer.
#[test]
fn a_server_that_speaks_without_end_does_not_hold_it_up() {
    let web = Web::serve("http", |mut client, received| {
        read_head(&mut client, received);
        let mut line = String::from("HTTP/1.1 200 OK\r\n");
        while client.write_all(line.as_bytes()).is_ok() {
            line = "x-more: 1\r\n".to_owned();
            thread::sleep(Duration::from_millis(50));
        }
    });
    let started = Instant::now();
    doctor(&web).run().code(2);
    let took = started.elapsed();
    assert!(took < DEADLINE, "it took {took:?}");
}

#[test]
fn the_clock_is_compared_with_the_servers() {
    let hours = Duration::from_secs(3 * 3600);
    for (date, mark, code) in [
        (Some(SystemTime::now()), "ok", 0),
        (Some(SystemTime::now() + Duration::from_secs(60)), "ok", 0),
        (Some(SystemTime::now() + hours), "!!", 2),
        (Some(SystemTime::now() - hours), "!!", 2),
        (None, "--", 0),
    ] {
        let web = Web::start(Answer::Bytes(answer(date)));
        let finished = doctor(&web).run().code(code);
        check_line(&finished, "clock", mark, "");
    }
}

#[test]
fn an_answer_that_is_no_http_is_none() {
    let web = Web::start(Answer::Bytes("SSH-2.0-nonsense\r\n".to_owned()));
    let finished = doctor(&web).run().code(2);
    check_line(&finished, "endpoint", "!!", "");
}

#[test]
fn tls_is_tried_with_the_certificates_that_count() {
    let (web, certificate) = Web::start_tls(&answer(Some(SystemTime::now())));
    let finished = doctor(&web).file("ca.pem", certificate).env("SSL_CERT_FILE", "ca.pem").run().code(0);
    check_line(&finished, "endpoint", "ok", "https://127.0.0.1");
    let received = web.received();
    assert_eq!(received.matches("HTTP/1.1").count(), 2, "{received}");
    let finished = doctor(&web).run().code(2);
    check_line(&finished, "endpoint", "!!", "certificate");
    assert_eq!(web.received(), received, "nothing more");
    check_line(&finished, "dns", "ok", "");
    let finished = doctor(&web).env("SSL_CERT_FILE", "missing.pem").run().code(2);
    check_line(&finished, "endpoint", "!!", "SSL_CERT_FILE");
}

#[test]
fn without_a_home_the_state_goes_to_the_temp_folder() {
    let web = well();
    let finished = doctor(&web).env_remove("HOME").env_remove("XDG_STATE_HOME").run().code(0);
    let temp = finished.dir.tmp().display().to_string();
    check_line(&finished, "state folder", "ok", &temp);
}

#[test]
fn a_state_folder_that_cannot_be_made_is_said() {
    let web = well();
    let test = doctor(&web).file("file", "");
    let below_a_file = test.workspace().join("file/state");
    let finished = test.env("XDG_STATE_HOME", below_a_file).run().code(0);
    check_line(&finished, "state folder", "--", "not kept");
}

/// The program makes its own folder, but no folder for temporary files.
#[test]
fn a_temp_folder_that_is_not_there_is_said() {
    let web = well();
    let finished = doctor(&web).env("TMPDIR", "/nowhere/at/all").run().code(0);
    check_line(&finished, "temp folder", "--", "/nowhere/at/all");
}

#[test]
fn a_folder_of_somebody_else_is_not_taken_for_ours() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: it takes root to be somebody else");
        return;
    }
    let web = well();
    let test = doctor(&web);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // The folder of the build may be closed to others.
    let program = folder.path().join("program");
    copy_program(env!("CARGO_BIN_EXE_meanwhile"), &program);
    let direct = test.command();
    let mut command = Command::new(program);
    command
        .arg("doctor")
        .env_clear()
        .envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("XDG_STATE_HOME", folder.path().join("state"))
        .current_dir(folder.path())
        .stdin(Stdio::null());
    std::os::unix::process::CommandExt::uid(&mut command, 12345);
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    let state = stdout.lines().find(|line| line.contains("state folder"));
    let state = state.unwrap_or_default();
    assert!(state.starts_with("--") && state.contains("Permission denied"), "{stdout}");
}

#[test]
fn in_a_bare_container_it_says_what_is_missing() {
    let Some(root) = bare_root() else { return };
    fs::remove_dir_all(root.path().join("bin")).unwrap();
    let web = well();
    let variables = [
        ("ANTHROPIC_API_KEY", "test-key"),
        ("MODEL_ID", "test-model"),
        ("ANTHROPIC_BASE_URL", web.url.as_str()),
    ];
    let (code, stdout, stderr) = run_in(root.path(), &variables, &["doctor"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    for expected in ["-- shell", "-- proc", "-- temp folder", "ok credential", "ok endpoint", "ok clock"] {
        assert!(stdout.contains(expected), "{expected} in\n{stdout}");
    }
    let (code, stdout, _) = run_in(root.path(), &[variables[0], variables[2]], &["doctor"]);
    assert_eq!(code, Some(2), "{stdout}");
}
