//! Who is notified of system calls (`config-linux.md`, "The Container Process State").

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use bulkhead_protocol::oci::{Spec, State};
use serde::Serialize;

use super::bundle::host_pid;
use super::{StageError, terminal};
use crate::isolation::seccomp::Program;
use crate::rootfs::RootfsError;

/// What is sent along with the descriptor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State,
}

/// A socket that waits for the descriptor.
#[derive(Debug)]
pub struct Listener {
    socket: UnixStream,
    text: Vec<u8>,
}

impl Listener {
    /// Connects with the socket as long as the host's files are there; nothing where nobody is to be notified.
    pub fn connect(filter: &Program, spec: &Spec, state: &State) -> Result<Option<Self>, StageError> {
        let seccomp = spec.linux.seccomp.as_ref();
        let Some(path) =
            seccomp.and_then(|seccomp| seccomp.listener_path.as_deref()).filter(|_| filter.notifies())
        else {
            return Ok(None);
        };
        let socket = UnixStream::connect(path)
            .map_err(RootfsError::step("connect with the socket of linux.seccomp.listenerPath"))?;
        let pid = host_pid()?;
        let first = state.pid == 0;
        let state = State { pid: if first { pid } else { state.pid }, ..state.clone() };
        let text = serde_json::to_vec(&ProcessState {
            oci_version: &state.oci_version,
            fds: ["seccompFd"],
            pid,
            metadata: seccomp.and_then(|seccomp| seccomp.listener_metadata.as_deref()),
            state: &state,
        })?;
        Ok(Some(Self { socket, text }))
    }

    /// Sends the descriptor.
    pub fn send(self, descriptor: &OwnedFd) -> Result<(), StageError> {
        let sent = terminal::send(&self.socket, descriptor, &self.text);
        Ok(sent.map_err(RootfsError::step("send the descriptor to linux.seccomp.listenerPath"))?)
    }
}
