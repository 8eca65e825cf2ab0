//! What a command raises: one sentence on standard error.

use std::io;

use bulkhead_image::command_line::ManualError;
use bulkhead_image::registry::CredentialsError;
use thiserror::Error;

use crate::host::HostError;
use crate::service::{ServiceError, chain};

/// What a command raises.
#[derive(Debug, Error)]
pub enum CliError {
    /// The daemon is not there.
    #[error("Cannot reach the daemon at {socket} (is \"bulkhead serve\" running?)")]
    Unreachable {
        /// Its socket.
        socket: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The exchange with the daemon broke.
    #[error("The daemon did not answer {call}")]
    Broken {
        /// Method and path.
        call: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon refused.
    #[error("{message}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// Its word for programs.
        word: String,
        /// Its sentence.
        message: String,
    },
    /// An argument cannot be understood.
    #[error("{what} {given:?}: {message}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// As it was given.
        given: String,
        /// What is wrong.
        message: String,
    },
    /// A machine could not be run.
    #[error("{message}")]
    Run {
        /// A sentence.
        message: String,
        /// What the machine's console said last, free of control characters.
        console: Vec<String>,
        /// Docker's 125, 126 or 127.
        code: u8,
    },
    /// A copy that is not whole.
    #[error("{message}")]
    Copy {
        /// A sentence.
        message: String,
    },
    /// Credentials for a registry cannot be had.
    #[error("Cannot take credentials for {registry}")]
    Credentials {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: CredentialsError,
    },
    /// `run` could not do its part.
    #[error(transparent)]
    Before(Box<CliError>),
    /// Completions or manual pages.
    #[error(transparent)]
    Manual(#[from] ManualError),
    /// JSON cannot be written.
    #[error("Cannot write JSON")]
    Json {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Nobody reads what is printed.
    #[error("Cannot print")]
    Print {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process cannot do what a client does.
    #[error("Cannot start")]
    Runtime {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The daemon cannot serve.
    #[error("Cannot serve")]
    Serve {
        /// Why.
        #[source]
        source: ServiceError,
    },
}

impl CliError {
    /// JSON cannot be written.
    pub fn json(source: serde_json::Error) -> Self {
        Self::Json { source }
    }

    /// Nobody reads what is printed.
    pub fn print(source: io::Error) -> Self {
        Self::Print { source }
    }

    /// Tells people on standard error: a sentence, and below it what a console said last.
    pub fn tell(&self) {
        eprintln!("bulkhead: {}", chain(self));
        let mut error = self;
        while let Self::Before(inner) = error {
            error = inner;
        }
        if let Self::Run { console, .. } = error {
            console.iter().for_each(|line| eprintln!("    {line}"));
        }
    }

    /// The process's exit status.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Run { code, .. } => *code,
            Self::Before(_) => 125,
            _ => 1,
        }
    }
}

impl From<HostError> for CliError {
    fn from(error: HostError) -> Self {
        Self::Serve { source: error.into() }
    }
}
