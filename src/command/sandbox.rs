//! Limits what a command may write and connect to, with Landlock. The supervisor restricts itself, and so
//! everything it starts.
//!
//! This needs no user namespace, helper program or root, so it works in an unprivileged container. If the kernel
//! can't enforce a rule, the command is not run, except with best effort.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, path_beneath_rules,
};

/// The first ABI with a rule for truncation: without it, a command can empty a file that it may not write.
const FILES: ABI = ABI::V3;
/// The first ABI with rules for TCP.
const NETWORK: ABI = ABI::V4;

/// Files in `/dev` that programs write to and that store nothing.
const DEVICES: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"];

/// What commands may not do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sandbox {
    /// The only folders in which a command may write; None allows all.
    pub writable: Option<Vec<PathBuf>>,
    /// Forbid TCP, both connecting and listening.
    pub no_network: bool,
    /// Enforce only what the kernel can.
    pub best_effort: bool,
}

impl Sandbox {
    /// The arguments of the supervisor: one word of flags, the number of folders, the folders.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let flags = [('w', self.writable.is_some()), ('n', self.no_network), ('b', self.best_effort)];
        let flags: String = flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag).collect();
        let folders = self.writable.iter().flatten();
        let mut arguments = vec![flags.into(), folders.clone().count().to_string().into()];
        arguments.extend(folders.map(|folder| folder.clone().into_os_string()));
        arguments
    }

    /// Reads what `to_arguments` made. None if the arguments are invalid.
    pub fn from_arguments(arguments: &mut impl Iterator<Item = OsString>) -> Option<Sandbox> {
        let flags = arguments.next()?.into_string().ok()?;
        let count: usize = arguments.next()?.to_str()?.parse().ok()?;
        let folders = arguments.take(count).map(PathBuf::from).collect();
        Some(Sandbox {
            writable: flags.contains('w').then_some(folders),
            no_network: flags.contains('n'),
            best_effort: flags.contains('b'),
        })
    }

    /// Restricts this process and everything that it starts from now on. Fails with what the kernel lacks, as a
    /// message for the model.
    pub fn enforce(&self) -> Result<(), String> {
        let level = if self.best_effort { CompatLevel::BestEffort } else { CompatLevel::HardRequirement };
        if let Some(folders) = &self.writable {
            enforce_files(level, folders).map_err(|err| lacks("rules for files (Linux 6.2)", &err))?;
        }
        if self.no_network {
            let enforced = network_rules(level).and_then(RulesetCreated::restrict_self);
            enforced.map_err(|err| lacks("rules for TCP (Linux 6.7)", &err))?;
        }
        Ok(())
    }
}

/// Whether the kernel has rules for files, and for TCP.
pub fn support() -> (bool, bool) {
    let hard = CompatLevel::HardRequirement;
    (file_rules(hard).is_ok(), network_rules(hard).is_ok())
}

/// Rules that forbid writing to any file, not in force yet.
fn file_rules(level: CompatLevel) -> Result<RulesetCreated, RulesetError> {
    Ruleset::default().set_compatibility(level).handle_access(AccessFs::from_write(FILES))?.create()
}

/// Rules that forbid all TCP, not in force yet.
fn network_rules(level: CompatLevel) -> Result<RulesetCreated, RulesetError> {
    Ruleset::default().set_compatibility(level).handle_access(AccessNet::from_all(NETWORK))?.create()
}

fn enforce_files(level: CompatLevel, folders: &[PathBuf]) -> Result<(), RulesetError> {
    let devices = DEVICES.iter().map(|name| Path::new("/dev").join(name));
    let places = folders.iter().cloned().chain(devices).filter(|place| place.exists());
    let exceptions = path_beneath_rules(places, AccessFs::from_write(FILES));
    file_rules(level)?.add_rules(exceptions)?.restrict_self()?;
    Ok(())
}

fn lacks(what: &str, err: &RulesetError) -> String {
    format!(
        "the sandbox can't be enforced, so the command was not run: this kernel lacks Landlock's {what}: {err}; \
         use `--sandbox off`, or add `,best-effort` to the mode"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_the_same_on_the_other_side() {
        let folders = vec!["/a b".into(), "/c".into()];
        for sandbox in [
            Sandbox::default(),
            Sandbox { writable: Some(folders), no_network: true, best_effort: false },
            Sandbox { writable: Some(vec![]), no_network: false, best_effort: true },
        ] {
            let mut arguments = sandbox.to_arguments().into_iter().chain(["rest".into()]);
            assert_eq!(Sandbox::from_arguments(&mut arguments), Some(sandbox));
            assert_eq!(arguments.next(), Some("rest".into()));
        }
    }
}
