//! `meanwhile doctor`: what this machine has and what is missing, a line each. Sends no credential and no
//! request that costs anything.

use std::{
    fs,
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
    cli::Args,
    command::sandbox::support,
    config::{self, Survey},
    error,
    text::duration,
    threads,
};

/// The whole look is over after about a second.
const PATIENCE: Duration = Duration::from_millis(900);

/// TLS and signatures tolerate a few minutes.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// What was found of one thing.
enum Finding {
    Good(String),
    /// Something works less well without it.
    Poor(String),
    /// Nothing works without it.
    Bad(String),
}

/// The report, and whether all that is needed is there.
pub fn examine(args: &Args) -> error::Result<(String, bool)> {
    let survey = config::survey(args)?;
    let state = config::state_folder();
    let mut findings = vec![
        ("shell", shell()),
        ("proc", proc()),
        ("state folder", state_folder(state.as_deref())),
        ("temp folder", temp_folder(&std::env::temp_dir())),
        ("sandbox", sandbox()),
        ("model", needed(&survey.model, "is set")),
        ("credential", credential(&survey.credential)),
    ];
    findings.extend(network(&survey));
    let is_well = !findings.iter().any(|(_, finding)| matches!(finding, Finding::Bad(_)));
    let lines = findings.into_iter().map(|(name, finding)| {
        let (mark, text) = match finding {
            Finding::Good(text) => ("ok", text),
            Finding::Poor(text) => ("--", text),
            Finding::Bad(text) => ("!!", text),
        };
        format!("{mark} {name:<13} {text}\n")
    });
    Ok((lines.collect(), is_well))
}

fn shell() -> Finding {
    match fs::metadata("/bin/sh") {
        Ok(_) => Finding::Good("/bin/sh".into()),
        Err(err) => Finding::Poor(format!("/bin/sh: {err}; only the file tools work")),
    }
}

fn proc() -> Finding {
    match Path::new("/proc/self").exists() {
        true => Finding::Good("/proc".into()),
        false => Finding::Poor("no /proc: of a command only its process group is ended with it".into()),
    }
}

/// Whether files can be made in the folder, which is made where it is missing.
fn state_folder(path: Option<&Path>) -> Finding {
    const WITHOUT: &str = "sessions and logs are not kept";
    let Some(path) = path else {
        return Finding::Poor(format!("none; {WITHOUT}"));
    };
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match writable(existing) {
        Ok(()) => Finding::Good(path.display().to_string()),
        Err(err) => Finding::Poor(format!("{}: {err}; {WITHOUT}", existing.display())),
    }
}

/// Nobody makes this one.
fn temp_folder(path: &Path) -> Finding {
    match writable(path) {
        Ok(()) => Finding::Good(path.display().to_string()),
        Err(err) => Finding::Poor(format!("{}: {err}; commands may miss it", path.display())),
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
        (true, true) => Finding::Good("the kernel can enforce --sandbox and --no-network".into()),
        (true, false) => Finding::Poor("the kernel can enforce --sandbox, but not --no-network".into()),
        _ => Finding::Poor("the kernel can enforce neither --sandbox nor --no-network".into()),
    }
}

fn needed(found: &std::result::Result<String, String>, is: &str) -> Finding {
    match found {
        Ok(name) => Finding::Good(format!("{name} {is}")),
        Err(text) => Finding::Bad(text.clone()),
    }
}

/// Whether it is there, and out of sight: a command may read the environment of the shell that started the program.
fn credential(found: &std::result::Result<String, String>) -> Finding {
    let name = found.as_deref().unwrap_or_default();
    let value = std::env::var_os(name).unwrap_or_default();
    let parent = fs::read(format!("/proc/{}/environ", parent_id())).unwrap_or_default();
    let is_it =
        |variable: &[u8]| variable.starts_with(name.as_bytes()) && variable.ends_with(value.as_bytes());
    match !value.is_empty() && parent.split(|byte| *byte == 0).any(is_it) {
        true => Finding::Poor(
            "is set, but commands can read it in the environment of what started meanwhile: \
             `exec meanwhile` leaves nothing there"
                .into(),
        ),
        false => needed(found, "is set"),
    }
}

/// DNS, TLS and the clock, with one request to the server.
fn network(survey: &Survey) -> Vec<(&'static str, Finding)> {
    let server = match &survey.server {
        Ok(server) => server.clone(),
        Err(text) => return vec![("endpoint", Finding::Bad(text.clone()))],
    };
    let url = server.url.clone();
    let late = || format!("no answer within {}", duration(PATIENCE));
    let until = Instant::now() + PATIENCE;
    let (address, answer) = look_at(server);
    let address = address.recv_deadline(until).unwrap_or_else(|_| Err(late()));
    let answer = answer.recv_deadline(until).unwrap_or_else(|_| Answer { status: Err(late()), date: None });
    let dns = match address {
        Ok(address) => Finding::Good(address),
        Err(text) => Finding::Bad(text),
    };
    let endpoint = match answer.status {
        Ok(status) => {
            Finding::Good(format!("{url} answers (status {status} to a request without a credential)"))
        }
        Err(text) => Finding::Bad(format!("{url}: {text}")),
    };
    let clock = match answer.date {
        None => Finding::Poor("the server told no time to compare with".into()),
        Some(date) => clock(date),
    };
    vec![("dns", dns), ("endpoint", endpoint), ("clock", clock)]
}

/// Looks the server up and asks it, on a thread that may take longer than anybody waits.
fn look_at(server: Server) -> (Receiver<Result<String, String>>, Receiver<Answer>) {
    let (address, found) = crossbeam_channel::bounded(1);
    let (answer, received) = crossbeam_channel::bounded(1);
    let look = move || {
        let _ = address.send(probe::address(&server));
        let _ = answer.send(probe::ask(&server, PATIENCE));
    };
    // Without a thread both stay silent.
    let _ = threads::start("probe", look);
    (found, received)
}

fn clock(server: SystemTime) -> Finding {
    let now = SystemTime::now();
    let off = now.duration_since(server).or_else(|_| server.duration_since(now)).unwrap_or_default();
    match off < CLOCK_TOLERANCE {
        true => Finding::Good(format!("{} off the server's", duration(off))),
        false => {
            Finding::Bad(format!("{} off the server's: certificates may not be accepted", duration(off)))
        }
    }
}
