//! Starting a container: its process becomes its program.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use bulkhead_protocol::agent::ContainerState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::create::{Failure, heard};
use super::{Container, ContainerError, stage};
use crate::clock;

/// How long the program may take to be found and begun.
const PATIENCE: Duration = Duration::from_secs(30);

impl Container {
    /// Starts the container's program. An error of this is final: the container has ended with 126 or 127.
    pub async fn start(&self) -> Result<(), ContainerError> {
        let Some(mut control) = self.take_control() else {
            return Err(self.state_error("started"));
        };
        let started = clock::uptime_us();
        self.status.send_if_modified(|status| {
            let waiting = status.state == ContainerState::Created;
            if waiting {
                status.state = ContainerState::Running;
                status.started_us = Some(started);
            }
            waiting
        });
        let begun = tokio::time::timeout(PATIENCE, begin(&mut control)).await;
        let begun = begun.unwrap_or_else(|_| Err(Failure::Io(io::ErrorKind::TimedOut.into())));
        if begun.is_err() {
            // Whoever looks after this answer finds it ended.
            let _ = tokio::time::timeout(PATIENCE, self.wait()).await;
        }
        begun.map_err(|failure| failure.into_error(&self.id, "start"))
    }

    /// The one right to start the container.
    pub(super) fn take_control(&self) -> Option<UnixStream> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Says the word, and returns when the program has begun.
pub async fn begin(control: &mut UnixStream) -> Result<(), Failure> {
    control.write_u8(stage::START).await.map_err(Failure::Io)?;
    // The kernel closes the other end when the program begins.
    match control.read_u8().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(Failure::Io(error)),
        Ok(first) => Err(heard(first, control).await),
    }
}
