//! `meanwhile doctor`: what this machine has and what is missing, a line each.
//!
//! It sends no credential, and no request that costs anything.

use std::{
    env, fs,
    os::unix::{ffi::OsStrExt, process::parent_id},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::Receiver;

use crate::{
    api::{
        connection::Server,
        probe::{self, Answer},
    },
    command::sandbox::support,
    config::Survey,
    error::{self, Error},
    text::{duration, visible},
    threads,
};

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
        ("shell", shell()),
        ("proc", proc()),
        ("state folder", state_folder(survey.state_folder.as_deref())),
        ("temp folder", folder(&env::temp_dir(), "commands may need it")),
        ("sandbox", sandbox()),
        ("model", needed(&survey.model)),
        ("credential", credential(&survey.credential)),
    ];
    findings.extend(network(survey));
    let is_well = !findings.iter().any(|(_, finding)| matches!(finding, Bad(_)));
    let lines = findings.into_iter().map(|(name, finding)| {
        let (mark, text) = match finding {
            Good(text) => ("ok", text),
            Poor(text) => ("--", text),
            Bad(text) => ("!!", text),
        };
        format!("{mark} {name:<13} {text}\n")
    });
    super::print(&visible(&lines.collect::<String>()))?;
    if is_well {
        Ok(())
    } else {
        Err(Error::Config("meanwhile can't work until the lines marked !! are fixed".into()))
    }
}

fn shell() -> Finding {
    match fs::metadata("/bin/sh") {
        Ok(_) => Good("/bin/sh".into()),
        Err(err) => Poor(format!("/bin/sh: {err}; only the file tools work")),
    }
}

fn proc() -> Finding {
    if Path::new("/proc/self").exists() {
        Good("/proc".into())
    } else {
        Poor("no /proc: of a command, only its process group can be ended".into())
    }
}

/// Whether the folder can be used, or created where it is missing.
fn state_folder(path: Option<&Path>) -> Finding {
    const WITHOUT: &str = "sessions and logs are not kept";
    let Some(path) = path else {
        return Poor(format!("none; {WITHOUT}"));
    };
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match folder(existing, WITHOUT) {
        Good(_) => Good(path.display().to_string()),
        finding => finding,
    }
}

/// Whether files can be created in the folder.
fn folder(path: &Path, without: &str) -> Finding {
    let shown = path.display();
    match writable(path) {
        Ok(()) => Good(shown.to_string()),
        Err(err) => Poor(format!("{shown}: {err}; {without}")),
    }
}

fn writable(folder: &Path) -> std::io::Result<()> {
    if !fs::metadata(folder)?.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
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

fn needed(found: &Result<String, String>) -> Finding {
    match found {
        Ok(name) => Good(format!("{name} is set")),
        Err(text) => Bad(text.clone()),
    }
}

/// Whether it is set, and hidden: a command can read the environment of the shell that started the program.
fn credential(found: &Result<String, String>) -> Finding {
    let name = found.as_deref().unwrap_or_default();
    let value = env::var_os(name).unwrap_or_default();
    let parent = fs::read(format!("/proc/{}/environ", parent_id())).unwrap_or_default();
    let is_it =
        |variable: &[u8]| variable.starts_with(name.as_bytes()) && variable.ends_with(value.as_bytes());
    if !value.is_empty() && parent.split(|byte| *byte == 0).any(is_it) {
        let text = "is set, but commands can read it in the environment of the process that started meanwhile: \
                    start it with `exec meanwhile`";
        return Poor(text.into());
    }
    needed(found)
}

/// DNS, TLS and the clock, with one request to the server.
fn network(survey: &Survey) -> Vec<(&'static str, Finding)> {
    let server = match &survey.server {
        Ok(server) => server.clone(),
        Err(text) => return vec![("endpoint", Bad(text.clone()))],
    };
    let url = server.url.clone();
    let late = || format!("no answer within {}", duration(PATIENCE));
    let until = Instant::now() + PATIENCE;
    let (address, answer) = look_at(server);
    let address = address.recv_deadline(until).unwrap_or_else(|_| Err(late()));
    let answer = answer.recv_deadline(until).unwrap_or_else(|_| Answer { status: Err(late()), date: None });
    let dns = match address {
        Ok(address) => Good(address),
        Err(text) => Bad(text),
    };
    let endpoint = match answer.status {
        Ok(status) => Good(format!("{url} answers (status {status} to a request without a credential)")),
        Err(text) => Bad(format!("{url}: {text}")),
    };
    let clock = match answer.date {
        None => Poor("the server sent no date to compare with".into()),
        Some(date) => clock(date),
    };
    vec![("dns", dns), ("endpoint", endpoint), ("clock", clock)]
}

/// Looks up the server and asks it, on a thread of its own: it may take longer than `PATIENCE`.
fn look_at(server: Server) -> (Receiver<Result<String, String>>, Receiver<Answer>) {
    let (address, found) = crossbeam_channel::bounded(1);
    let (answer, received) = crossbeam_channel::bounded(1);
    let look = move || {
        let _ = address.send(probe::address(&server));
        let _ = answer.send(probe::ask(&server, PATIENCE));
    };
    // If no thread can be started, nothing is received.
    let _ = threads::start("probe", look);
    (found, received)
}

fn clock(server: SystemTime) -> Finding {
    let now = SystemTime::now();
    let off = now.duration_since(server).or_else(|_| server.duration_since(now)).unwrap_or_default();
    let text = format!("{} off the server's", duration(off));
    if off < CLOCK_TOLERANCE { Good(text) } else { Bad(format!("{text}: certificates may be rejected")) }
}
