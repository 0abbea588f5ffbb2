//! `meanwhile doctor`: what this machine has and what is missing, a line each.
//!
//! It sends no credential, and no request that costs anything.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io};

use crate::api::probe::{self, Answer};
use crate::command::sandbox::support;
use crate::config::Survey;
use crate::config::environment::temp_folder;
use crate::error::{self, Error};
use crate::text::{duration, visible};
use crate::threads;

/// How long to wait for the server.
const PATIENCE: Duration = Duration::from_millis(900);

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
pub fn run(survey: &Survey) -> error::Result<()> {
    let mut findings = vec![
        ("shell", useful(shell())),
        ("proc", useful(proc())),
        ("state folder", useful(state_folder(survey.state_folder.as_deref()))),
        ("temp folder", useful(folder(&temp_folder(), "commands may need it"))),
        ("sandbox", sandbox()),
        ("model", needed(survey.model.clone().map(|name| format!("{name} is set")))),
        ("credential", credential(&survey.credential)),
    ];
    findings.extend(network(survey));
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

/// Whether it is set, and hidden: a command can read the environment of the shell that started the program.
fn credential(found: &Result<Option<&'static str>, String>) -> Finding {
    let name = match found {
        Ok(Some(name)) => name,
        Ok(None) => return Good("none is set, and a server on this machine may need none".into()),
        Err(text) => return Bad(text.clone()),
    };
    let value = env::var_os(name).unwrap_or_default();
    let parent = fs::read(format!("/proc/{}/environ", parent_id())).unwrap_or_default();
    let is_it =
        |variable: &[u8]| variable.starts_with(name.as_bytes()) && variable.ends_with(value.as_bytes());
    if !value.is_empty() && parent.split(|byte| *byte == 0).any(is_it) && !name.ends_with("_FILE") {
        return Poor(format!(
            "{name} is set, but commands can read it in the environment of the process that started meanwhile: \
             start it with `exec meanwhile`"
        ));
    }
    Good(format!("{name} is set"))
}

/// DNS, TLS and the clock, with one request to the server.
fn network(survey: &Survey) -> Vec<(&'static str, Finding)> {
    let server = match &survey.server {
        Ok(server) => server.clone(),
        Err(text) => return vec![("endpoint", Bad(text.clone()))],
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
    let answer = answer.recv_deadline(until).unwrap_or_else(|_| Answer { status: Err(late()), date: None });
    let answered = |status| format!("{url} answers (status {status} to a request without a credential)");
    let endpoint = answer.status.map(answered).map_err(|text| format!("{url}: {text}"));
    let clock = match answer.date {
        None => Poor("the server sent no date to compare with".into()),
        Some(date) => clock(date),
    };
    vec![("dns", needed(address)), ("endpoint", needed(endpoint)), ("clock", clock)]
}

fn clock(server: SystemTime) -> Finding {
    let now = SystemTime::now();
    let off = now.duration_since(server).or_else(|_| server.duration_since(now)).unwrap_or_default();
    let text = format!("{} off the server's", duration(off));
    if off < CLOCK_TOLERANCE { Good(text) } else { Bad(format!("{text}: certificates may be rejected")) }
}
