//! `meanwhile doctor`: what this machine has and what is missing, a line each. Sends no credential and no
//! request that costs anything.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use crate::{
    api::probe::{Probe, probe},
    cli::Args,
    command::sandbox::support,
    config::{self, Survey},
    error::Result,
    text::duration,
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
pub fn examine(args: &Args) -> Result<(String, bool)> {
    let survey = config::survey(args)?;
    let state = config::state_folder();
    let mut findings = vec![
        ("shell", shell()),
        ("proc", proc()),
        (
            "state folder",
            folder(state.as_deref(), "sessions and logs are not kept"),
        ),
        (
            "temp folder",
            folder(Some(&std::env::temp_dir()), "commands may miss it"),
        ),
        ("sandbox", sandbox()),
        ("model", needed(&survey.model, "is set")),
        ("credential", needed(&survey.credential, "is set")),
    ];
    findings.extend(network(&survey));
    let is_well = !findings
        .iter()
        .any(|(_, finding)| matches!(finding, Finding::Bad(_)));
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
        false => {
            Finding::Poor("no /proc: of a command only its process group is ended with it".into())
        }
    }
}

/// Whether a file can be made in the folder, or where it would be made.
fn folder(path: Option<&Path>, without: &str) -> Finding {
    let Some(path) = path else {
        return Finding::Poor(format!("none; {without}"));
    };
    let existing = path
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    let writable = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK);
    match writable {
        Ok(()) => Finding::Good(path.display().to_string()),
        Err(err) => {
            let err = std::io::Error::from(err);
            Finding::Poor(format!("{}: {err}; {without}", existing.display()))
        }
    }
}

fn sandbox() -> Finding {
    match support() {
        (true, true) => Finding::Good("the kernel can enforce --sandbox and --no-network".into()),
        (true, false) => {
            Finding::Poor("the kernel can enforce --sandbox, but not --no-network".into())
        }
        _ => Finding::Poor("the kernel can enforce neither --sandbox nor --no-network".into()),
    }
}

fn needed(found: &std::result::Result<String, String>, is: &str) -> Finding {
    match found {
        Ok(name) => Finding::Good(format!("{name} {is}")),
        Err(text) => Finding::Bad(text.clone()),
    }
}

/// DNS, TLS and the clock, with one request to the server.
fn network(survey: &Survey) -> Vec<(&'static str, Finding)> {
    let target = match &survey.target {
        Ok(target) => target.clone(),
        Err(text) => return vec![("endpoint", Finding::Bad(text.clone()))],
    };
    let url = target.url.clone();
    let (sender, found) = crossbeam_channel::bounded(1);
    let look = move || drop(sender.send(probe(&target, PATIENCE)));
    let started = thread::Builder::new().name("probe".into()).spawn(look);
    let slow = || Probe {
        address: Err(format!("no answer within {}", duration(PATIENCE))),
        ..Probe::default()
    };
    let probe = match started {
        Ok(_) => found.recv_timeout(PATIENCE).unwrap_or_else(|_| slow()),
        Err(_) => slow(),
    };
    let mut findings = vec![(
        "dns",
        match &probe.address {
            Ok(address) => Finding::Good(address.clone()),
            Err(text) => Finding::Bad(text.clone()),
        },
    )];
    findings.push((
        "endpoint",
        match &probe.status {
            Ok(status) => Finding::Good(format!(
                "{url} answers (status {status} to a request without a credential)"
            )),
            Err(text) => Finding::Bad(format!("{url}: {text}")),
        },
    ));
    findings.push((
        "clock",
        match probe.date {
            None => Finding::Poor("the server told no time to compare with".into()),
            Some(date) => clock(date),
        },
    ));
    findings
}

fn clock(server: SystemTime) -> Finding {
    let now = SystemTime::now();
    let off = now
        .duration_since(server)
        .or_else(|_| server.duration_since(now))
        .unwrap_or_default();
    match off < CLOCK_TOLERANCE {
        true => Finding::Good(format!("{} off the server's", duration(off))),
        false => Finding::Bad(format!(
            "{} off the server's: certificates may not be accepted",
            duration(off)
        )),
    }
}
