//! The HTTP server on vsock: nothing but parse, call, render.

pub mod autostart;
mod body;
mod connection;
mod exec;
pub mod life;
mod logs;
mod power_button;
mod router;
mod session;
mod vsock;

use std::io;

use bulkhead_protocol::agent::PORT;

use crate::container::ContainerError;

/// Why the guest cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody can be heard on vsock.
    #[error("Cannot listen on vsock port {PORT}")]
    Listen(#[source] io::Error),
    /// Children's ends cannot be heard of.
    #[error("Cannot hear of the ends of processes")]
    Signals(#[source] io::Error),
    /// The appliance's own container could not be made or started.
    #[error("Cannot run the appliance's container")]
    Autostart(#[source] ContainerError),
}
