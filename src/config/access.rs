//! All that opens a server: the credential and the headers of the user.

use std::path::Path;

use super::credential::{Credentials, Found};
use super::environment::in_environment;
use super::gateway::CUSTOM_HEADERS;
use super::variables::Variables;
use super::{gateway, key_command};
use crate::api::headers::Headers;
use crate::cli::args::Gateway;
use crate::error::Result;
use crate::secrets::Secrets;

/// What is set, in use or not.
pub struct Access {
    pub headers: Headers,
    credentials: Credentials,
    /// Only `.env` names the server.
    is_foreign: bool,
    /// What must not be sent or kept.
    pub secrets: Secrets,
}

impl Access {
    /// Fails if a header is malformed, or must not be sent to the server.
    pub fn read(typed: &Gateway, variables: &Variables) -> Result<Access> {
        let headers = gateway::headers(variables, typed)?;
        let credentials = Credentials::read(variables);
        let secrets = Secrets::new([credentials.secrets(), headers.secrets()].concat());
        Ok(Access { headers, credentials, is_foreign: variables.names_foreign_server(), secrets })
    }

    /// The names of the headers, or that some are not sent; None if there are none.
    pub fn header_names(&self) -> Option<Result<String, String>> {
        let is_set = in_environment(CUSTOM_HEADERS).is_ok_and(|lines| lines.is_some());
        if self.is_foreign && is_set {
            return Some(Err(format!("`{CUSTOM_HEADERS}` is not sent to a server that only `.env` names")));
        }
        let names = self.headers.names();
        (!names.is_empty()).then(|| Ok(names.join(", ")))
    }

    /// The credential for the server at `url`. Fails if it is missing or malformed, or must not be sent there.
    pub fn credential(self, url: &str, typed: &Gateway, folder: &Path) -> Result<Found> {
        let command = typed.key_command.as_deref();
        let printed = command.map(|command| key_command::printed(command, folder, &self.secrets));
        self.credentials.find(url, self.is_foreign, &self.headers, printed)
    }
}
