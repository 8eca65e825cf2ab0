//! What goes wrong with registries and credentials. No message holds a secret.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::http::HttpError;
use crate::oci::OciError;

/// Why credentials cannot be had.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// Words that are none.
    #[error("Credentials are USER:PASSWORD without control characters, or a token, of at most 16 KiB each")]
    Words,
    /// A file that is no JSON of the right shape.
    #[error("It is not the JSON of a credentials file")]
    Json,
    /// A file.
    #[error("Cannot read the credentials file {0}")]
    Read(PathBuf, #[source] io::Error),
    /// What is in a file, or behind it.
    #[error("Cannot take credentials from {0}")]
    File(PathBuf, #[source] Box<Self>),
    /// A helper's name.
    #[error("The credential helper {0:?} is refused: its name has letters, digits, '-', '_' and '.' alone")]
    HelperName(String),
    /// A helper.
    #[error("Cannot run {0}")]
    Helper(String, #[source] io::Error),
    /// A helper's answer.
    #[error("{0} failed, took too long, or gave an answer that is not understood")]
    HelperAnswer(String),
}

/// Why something cannot be fetched from a registry or sent to it.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The exchange.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// What was fetched.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// It is not there.
    #[error("{registry} has no {what}, or does not show it to everybody")]
    NotFound {
        /// Who answered.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// It is not given.
    #[error(
        "{registry} denies {what} (status {status}{code}); credentials come from --creds or `docker login`"
    )]
    Denied {
        /// Who answered.
        registry: String,
        /// What was asked for.
        what: String,
        /// The status, 401 or 403.
        status: u16,
        /// The registry's code for the reason, behind a comma.
        code: String,
    },
    /// It fails in another way.
    #[error("{registry} answers {what} with the status {status}{code}")]
    Failed {
        /// Who answered.
        registry: String,
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
        /// The registry's code for the reason, behind a comma.
        code: String,
    },
    /// A challenge.
    #[error("{0} asks for credentials in a way that is refused: {1}")]
    Challenge(String, &'static str),
    /// A token.
    #[error("The token server of {0} gives no token that can be used")]
    Token(String),
    /// A mirror.
    #[error("The mirror {0:?} is not HOST=URL with an address of http or https")]
    Mirror(String),
}
