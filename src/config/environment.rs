//! The variables of the environment. An empty one counts as not set. A line end behind a value is not a part of it: a
//! file with variables may have been written on another system.

use std::env;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// The value of the environment; None if it is not set or empty. Fails if it is not UTF-8.
pub fn in_environment(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) => {
            let value = value.trim_end_matches(['\r', '\n']);
            Ok(Some(value.to_owned()).filter(|value| !value.is_empty()))
        }
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(malformed(name, "is not UTF-8")),
    }
}

/// Says what is wrong with the variable `name`, and where to set it.
pub fn malformed(name: &str, what: &str) -> Error {
    Error::Config(format!("`{name}` {what}; set it in the environment or in `.env`"))
}

/// `TMPDIR`, or else `/tmp`.
pub fn temp_folder() -> PathBuf {
    // The standard library takes an empty variable for a path.
    Some(env::temp_dir()).filter(|folder| !folder.as_os_str().is_empty()).unwrap_or("/tmp".into())
}
