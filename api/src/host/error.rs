//! What the host raises.

use std::io;
use std::path::Path;

use thiserror::Error;

/// What the host raises.
#[derive(Debug, Error)]
pub enum HostError {
    /// The VMM's API gives no answer.
    #[error("Cannot {call} of the VMM")]
    VmmCall {
        /// What was called.
        call: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The VMM refuses a call.
    #[error("The VMM refuses {call}: {message}")]
    VmmRefused {
        /// What was called.
        call: String,
        /// Its sentence.
        message: String,
    },
    /// A file operation failed.
    #[error("Cannot {operation} {path}")]
    File {
        /// A verb: open, write, remove.
        operation: &'static str,
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process could not be started or watched.
    #[error("Cannot {operation} {program}")]
    Process {
        /// A verb: start, watch, kill.
        operation: &'static str,
        /// The program or the process id.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program that was run for its effect failed.
    #[error("{program} failed: {message}")]
    Program {
        /// The program.
        program: &'static str,
        /// What it said, cut.
        message: String,
    },
    /// A link could not be made, changed or removed.
    #[error("Cannot {operation} the network link {link}")]
    Link {
        /// A verb: make, set up, remove.
        operation: &'static str,
        /// The link's name.
        link: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address range is in use.
    #[error(
        "The machines' range {subnet} collides with the route {route} by {link}; choose another with --subnet"
    )]
    RangeTaken {
        /// The daemon's range.
        subnet: String,
        /// The route that is there.
        route: String,
        /// The link of that route.
        link: String,
    },
    /// passt is not installed.
    #[error("passt is not installed (Debian's package passt); without it machines are on the bridge only")]
    NoPasst,
    /// The bridge needs a privilege that this daemon has not.
    #[error("Only root can make the machines' bridge; the network passt (--net passt) needs no privilege")]
    NoBridge,
    /// No address is left.
    #[error("The range {subnet} has no free address")]
    RangeFull {
        /// The daemon's range.
        subnet: String,
    },
    /// The guest's agent cannot be reached.
    #[error("Cannot reach the guest's agent at {socket}")]
    AgentConnect {
        /// The vsock's socket.
        socket: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A call to the guest's agent failed on its way.
    #[error("The call {call} to the guest's agent failed")]
    AgentCall {
        /// Method and path.
        call: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The guest's agent refused.
    #[error("{message}")]
    AgentRefused {
        /// The answer's status.
        status: u16,
        /// The agent's sentence, cut.
        message: String,
        /// The status that a shell gives for it.
        code: Option<u8>,
    },
}

impl HostError {
    /// A file operation that failed, for `map_err`.
    pub fn file<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::File { operation, path: path.display().to_string(), source }
    }
}
