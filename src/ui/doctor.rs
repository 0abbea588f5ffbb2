//! `meanwhile doctor`: what this machine has and what is missing, a line each.
//!
//! It sends no request that costs anything. The credential goes only into the question about the model, and only to the
//! server that it is for.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io};

use crate::api::connection::Server;
use crate::api::credential::Credential;
use crate::api::models::{self, Answer, Description};
use crate::api::probe;
use crate::api::transport::{Endpoint, Source, Transport};
use crate::command::sandbox::support;
use crate::config::Survey;
use crate::config::environment::temp_folder;
use crate::error::{self, Error};
use crate::text::{duration, one_line, visible};
use crate::threads;

/// How long to wait for the server.
const PATIENCE: Duration = Duration::from_millis(900);

/// How long to wait for what the server says of the credential and the model.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(5);

/// The same if a command has to print the key first, which may take 30 s: it may ask for a password.
const COMMAND_PATIENCE: Duration = Duration::from_secs(35);

/// How much of what the server says is shown, in characters.
const LONGEST_COMPLAINT: usize = 500;

/// TLS and signatures tolerate a few minutes.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// What was found out about one thing.
enum Finding {
    Good(String),
    /// Something works less well without it.
    Poor(String),
    /// Nothing works without it.
    Bad(String),
}

use Finding::{Bad, Good, Poor};

/// Prints the report. Fails if something that is needed is missing.
pub fn run(survey: Survey) -> error::Result<()> {
    let Survey { server, model: name, credential: source, headers, account, state_folder: state } = survey;
    let (network, answer) = network(server, account);
    let mut findings = vec![
        ("shell", useful(shell())),
        ("proc", useful(proc())),
        ("state folder", useful(state_folder(state.as_deref()))),
        ("temp folder", useful(folder(&temp_folder(), "commands may need it"))),
        ("sandbox", sandbox()),
        ("model", needed(name.and_then(|name| model(&name, answer.as_ref())))),
        ("credential", credential(&source, answer.as_ref())),
    ];
    findings.extend(headers.map(|found| ("headers", useful(found))));
    findings.extend(network);
    let is_well = !findings.iter().any(|(_, finding)| matches!(finding, Bad(_)));
    let lines = findings.iter().map(|(name, finding)| match finding {
        Good(text) => format!("ok {name:<13} {text}\n"),
        Poor(text) => format!("-- {name:<13} {text}\n"),
        Bad(text) => format!("!! {name:<13} {text}\n"),
    });
    super::print(&visible(&lines.collect::<String>()))?;
    let broken = || Error::Config("meanwhile can't work until the problems marked !! are fixed".into());
    is_well.then_some(()).ok_or_else(broken)
}

fn useful(found: Result<String, String>) -> Finding {
    found.map_or_else(Poor, Good)
}

fn needed(found: Result<String, String>) -> Finding {
    found.map_or_else(Bad, Good)
}

fn shell() -> Result<String, String> {
    let found = fs::metadata("/bin/sh");
    found.map(|_| "/bin/sh".into()).map_err(|err| format!("/bin/sh: {err}; only the file tools work"))
}

fn proc() -> Result<String, String> {
    let missing = || "no /proc: of a command, only its process group can be ended".into();
    Path::new("/proc/self").exists().then(|| "/proc".into()).ok_or_else(missing)
}

/// Whether the folder can be used, or created if it is missing.
fn state_folder(path: Option<&Path>) -> Result<String, String> {
    let without = "sessions and logs are not kept";
    let path = path.ok_or_else(|| format!("none; {without}"))?;
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    folder(existing, without).map(|_| path.display().to_string())
}

/// Whether files can be created in the folder. If not, says what happens without it.
fn folder(path: &Path, without: &str) -> Result<String, String> {
    let path_text = path.display().to_string();
    match writable(path) {
        Ok(()) => Ok(path_text),
        Err(err) => Err(format!("{path_text}: {err}; {without}")),
    }
}

fn writable(folder: &Path) -> io::Result<()> {
    if !fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?)
}

fn sandbox() -> Finding {
    match support() {
        (true, true) => Good("the kernel can enforce --sandbox and --no-network".into()),
        (true, false) => Poor("the kernel can enforce --sandbox, but not --no-network".into()),
        _ => Poor("the kernel can enforce neither --sandbox nor --no-network".into()),
    }
}

/// Whether the server has the model that `name` names, and how large it is.
fn model(name: &str, answer: Option<&Answer>) -> Result<String, String> {
    match answer {
        Some(Err(err @ Error::Api { status: 404, .. })) => {
            Err(format!("{name} is set, but {}", complaint(err)))
        }
        Some(Ok(Some(description))) => {
            Ok(format!("{name} is set, and the server has the model{}", size(description)))
        }
        _ => Ok(format!("{name} is set")),
    }
}

fn size(description: &Description) -> String {
    let Description { max_input_tokens: Some(window), max_tokens: Some(most), .. } = description else {
        return String::new();
    };
    format!(": a window of {window} tokens, replies of up to {most}")
}

/// Whether it is set, accepted, and hidden: a command can read the environment of the shell that started the program.
fn credential(found: &Result<Option<&'static str>, String>, answer: Option<&Answer>) -> Finding {
    let name = match found {
        Ok(name) => name.unwrap_or_default(),
        Err(text) => return Bad(text.clone()),
    };
    let set = match name {
        "" => "none is set".into(),
        name => format!("{name} is set"),
    };
    match answer {
        Some(Err(err)) if is_refused(err) => return Bad(format!("{set}, but {}", complaint(err))),
        _ if name.is_empty() => return Good(format!("{set}, and a server on this machine may need none")),
        _ => {}
    }
    let value = env::var_os(name).unwrap_or_default();
    let parent = fs::read(format!("/proc/{}/environ", parent_id())).unwrap_or_default();
    let is_it =
        |variable: &[u8]| variable.starts_with(name.as_bytes()) && variable.ends_with(value.as_bytes());
    if !value.is_empty() && parent.split(|byte| *byte == 0).any(is_it) && !name.ends_with("_FILE") {
        return Poor(format!(
            "{set}, but commands can read it in the environment of the process that started meanwhile: \
             start it with `exec meanwhile`"
        ));
    }
    match answer {
        Some(Ok(Some(_))) => Good(format!("{set}, and the server accepts it")),
        Some(_) => Good(format!("{set}; the server does not say whether it is right")),
        None => Good(set),
    }
}

/// Whether there is no key, or the server refuses it.
fn is_refused(err: &Error) -> bool {
    match err {
        Error::Api { status: 401, .. } | Error::Config(_) => true,
        // A proxy may forbid the question.
        Error::Api { status: 403, kind, .. } => kind != "error",
        _ => false,
    }
}

/// What is wrong, without advice to run `doctor`.
fn complaint(err: &Error) -> String {
    match err {
        Error::Api { status, kind, message, .. } => {
            // On one line, so that a server can't add findings of its own.
            one_line(&format!("the server answers {status} {kind}: {message}"), LONGEST_COMPLAINT)
        }
        _ => err.to_string(),
    }
}

/// DNS, TLS and the clock, with one request to the server; and with another, what it says of the account. None if it was
/// not asked.
fn network(
    server: Result<Server, String>,
    account: Option<(Endpoint, String)>,
) -> (Vec<(&'static str, Finding)>, Option<Answer>) {
    let server = match server {
        Ok(server) => server,
        Err(text) => return (vec![("endpoint", Bad(text))], None),
    };
    let url = server.url.clone();
    let (address_sender, address) = crossbeam_channel::bounded(1);
    let (answer_sender, answer) = crossbeam_channel::bounded(1);
    let look = move || {
        let _ = address_sender.send(probe::address(&server));
        let _ = answer_sender.send(probe::ask(&server, PATIENCE));
    };
    // A thread of its own, since it may take longer than `PATIENCE`. If none can be started, nothing is received.
    let _ = threads::start("probe", look);
    let late = || format!("no answer within {}", duration(PATIENCE));
    let until = Instant::now() + PATIENCE;
    let address = address.recv_deadline(until).unwrap_or_else(|_| Err(late()));
    let seen =
        answer.recv_deadline(until).unwrap_or_else(|_| probe::Answer { status: Err(late()), date: None });
    let answered = |status| format!("{url} answers (status {status} to a request without a credential)");
    let endpoint = seen.status.map(answered).map_err(|text| format!("{url}: {text}"));
    let clock = match seen.date {
        None => Poor("the server sent no date to compare with".into()),
        Some(date) => clock(date),
    };
    let said = account.filter(|_| endpoint.is_ok()).map(|(account, model)| ask(account, &model));
    (vec![("dns", needed(address)), ("endpoint", needed(endpoint)), ("clock", clock)], said)
}

/// Asks the server about the model, with the credential.
fn ask(endpoint: Endpoint, model: &str) -> Answer {
    let patience = match endpoint.credential {
        Credential::Known(_) => ACCOUNT_PATIENCE,
        Credential::Printed(_) => COMMAND_PATIENCE,
    };
    let transport = Arc::new(Transport::new(Source::Api(endpoint), None)?);
    let answer = models::ask(&transport, model, |to, model| models::find(to, model, false), None);
    answer.recv_timeout(patience).unwrap_or(Ok(None))
}

fn clock(server: SystemTime) -> Finding {
    let now = SystemTime::now();
    let off = now.duration_since(server).or_else(|_| server.duration_since(now)).unwrap_or_default();
    let text = format!("{} off the server's", duration(off));
    if off < CLOCK_TOLERANCE { Good(text) } else { Bad(format!("{text}: certificates may be rejected")) }
}
