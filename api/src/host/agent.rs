//! Calls to the guest's init: HTTP/1.1 over the VMM's hybrid vsock socket.
//!
//! The guest is hostile: every answer is bounded in size and in time.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_protocol::agent::{
    ContainerStatus, CreateContainer, ExitStatus, Fault, PORT, PowerOff, Ready, SignalRequest,
};
use bulkhead_protocol::copy::CopyRequest;
use bulkhead_protocol::exec::{ExecProcess, UPGRADE};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::HostError;
use super::exchange::{self, Upgrade, exchange, plain};
use super::log_frame::{Decoder, Frame};
use super::relay::Wire;

/// The longest answer to `CONNECT`.
const MAX_GREETING: usize = 64;
/// How long a call may take that is answered at once.
const PROMPT: Duration = Duration::from_secs(30);
/// How long a process may take to begin: as long as the agent gives its two steps, and somewhat more.
const BEGIN: Duration = Duration::from_secs(65);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The agent of one machine.
#[derive(Debug, Clone)]
pub struct Agent {
    socket: PathBuf,
}

impl Agent {
    /// Behind this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The guest is up.
    pub async fn ready(&self) -> Result<Ready, HostError> {
        self.call(Method::GET, "/v1/ready", None::<&()>, Some(CONNECT)).await
    }

    /// Makes a container.
    pub async fn create(&self, body: &CreateContainer) -> Result<ContainerStatus, HostError> {
        self.call(Method::POST, "/v1/containers", Some(body), Some(PROMPT)).await
    }

    /// A container as it is.
    pub async fn status(&self, id: &str) -> Result<ContainerStatus, HostError> {
        self.call(Method::GET, &format!("/v1/containers/{id}"), None::<&()>, Some(PROMPT)).await
    }

    /// Starts a container.
    pub async fn start(&self, id: &str) -> Result<ContainerStatus, HostError> {
        self.call(Method::POST, &format!("/v1/containers/{id}/start"), None::<&()>, Some(PROMPT)).await
    }

    /// Sends a signal to a container.
    pub async fn signal(&self, id: &str, body: &SignalRequest) -> Result<(), HostError> {
        let path = format!("/v1/containers/{id}/signal");
        self.call_without_answer(Method::POST, &path, Some(body)).await
    }

    /// Waits for a container's end, however long it takes.
    pub async fn wait(&self, id: &str) -> Result<ExitStatus, HostError> {
        self.call(Method::GET, &format!("/v1/containers/{id}/wait"), None::<&()>, None).await
    }

    /// Powers the guest off.
    pub async fn power_off(&self, code: u8) -> Result<(), HostError> {
        self.call_without_answer(Method::POST, "/v1/power-off", Some(&PowerOff { code })).await
    }

    /// Follows a container's output from a sequence number on.
    pub async fn logs(&self, id: &str, since: u64) -> Result<LogStream, HostError> {
        let path = format!("/v1/containers/{id}/logs?since={since}&follow=true");
        let answer = self.send(Method::GET, &path, None::<&()>, PROMPT).await?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(answer, &path).await);
        }
        Ok(LogStream { body: answer.into_body(), decoder: Decoder::default(), call: path })
    }

    /// Runs a process in a container. What comes back is the stream to and from it, unless nobody waits for it.
    pub async fn exec(&self, id: &str, process: &ExecProcess) -> Result<Option<Wire>, HostError> {
        self.upgrade(format!("/v1/containers/{id}/exec"), process).await
    }

    /// Begins a copy from or to a container.
    pub async fn copy(&self, id: &str, request: &CopyRequest) -> Result<Option<Wire>, HostError> {
        self.upgrade(format!("/v1/containers/{id}/copy"), request).await
    }

    async fn upgrade(&self, path: String, body: &impl Serialize) -> Result<Option<Wire>, HostError> {
        let body = serde_json::to_vec(body).map_err(|error| failed(&path, error))?;
        let stream = self.connected().await?;
        let upgrade = exchange::upgrade(stream, &path, UPGRADE, body, BEGIN).await;
        match upgrade.map_err(|error| failed(&path, error))? {
            Upgrade::Wire(wire) => Ok(Some(wire)),
            Upgrade::Answer(answer) if answer.status().is_success() => Ok(None),
            Upgrade::Answer(answer) => Err(refusal(answer, &path).await),
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        patience: Option<Duration>,
    ) -> Result<T, HostError> {
        let whole = async {
            let head_patience = patience.unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
            let answer = self.send(method, path, body, head_patience).await?;
            if !answer.status().is_success() {
                return Err(refusal(answer, path).await);
            }
            let bytes = read(answer.into_body(), path).await?;
            serde_json::from_slice(&bytes).map_err(|error| failed(path, error))
        };
        match patience {
            Some(patience) => timeout(patience, whole).await.map_err(|_| failed(path, exchange::late()))?,
            None => whole.await,
        }
    }

    async fn call_without_answer(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(), HostError> {
        let answer = self.send(method, path, body, PROMPT).await?;
        if answer.status().is_success() { Ok(()) } else { Err(refusal(answer, path).await) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        patience: Duration,
    ) -> Result<Response<Incoming>, HostError> {
        let stream = self.connected().await?;
        let bytes = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| failed(path, error))?,
            None => Vec::new(),
        };
        exchange(stream, method, path, bytes, patience).await.map_err(|error| failed(path, error))
    }

    async fn connected(&self) -> Result<UnixStream, HostError> {
        let connected = timeout(CONNECT, self.connect()).await;
        connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| HostError::AgentConnect { socket: self.socket.display().to_string(), source })
    }

    /// The VMM's handshake: `CONNECT PORT`, `OK PORT`, then bytes to and from the guest.
    async fn connect(&self) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(format!("CONNECT {PORT}\n").as_bytes()).await?;
        let mut greeting = Vec::with_capacity(16);
        // Byte by byte: what comes behind the line belongs to the guest.
        while greeting.last() != Some(&b'\n') {
            if greeting.len() >= MAX_GREETING {
                return Err(io::Error::other("the answer to CONNECT has no end"));
            }
            greeting.push(stream.read_u8().await?);
        }
        if greeting.starts_with(b"OK ") {
            return Ok(stream);
        }
        let words = String::from_utf8_lossy(&greeting);
        Err(io::Error::other(format!("the answer to CONNECT is {:?}", words.trim_end())))
    }
}

fn failed(path: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HostError {
    HostError::AgentCall { call: path.to_owned(), source: error.into() }
}

async fn read(body: Incoming, path: &str) -> Result<Bytes, HostError> {
    exchange::read(body, PROMPT).await.map_err(|error| failed(path, error))
}

/// The agent's sentence.
async fn refusal(answer: Response<Incoming>, path: &str) -> HostError {
    let status = answer.status().as_u16();
    let bytes = match read(answer.into_body(), path).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    let (message, code) = match serde_json::from_slice::<Fault>(&bytes) {
        Ok(fault) => (fault.message, fault.code),
        Err(_) => (format!("The agent answers {status} to {path}"), None),
    };
    HostError::AgentRefused { status, message: plain(&message), code }
}

/// A container's output, as it comes.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
    decoder: Decoder,
    call: String,
}

impl LogStream {
    /// The next frame; nothing when the container has ended and all is read.
    pub async fn next_frame(&mut self) -> Result<Option<Frame>, HostError> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(|error| failed(&self.call, error))? {
                return Ok(Some(frame));
            }
            match self.body.frame().await {
                None if self.decoder.pending() > 0 => {
                    return Err(failed(&self.call, "the stream ends within a frame"));
                }
                None => return Ok(None),
                Some(piece) => {
                    let piece = piece.map_err(|error| failed(&self.call, error))?;
                    if let Some(data) = piece.data_ref() {
                        self.decoder.push(data);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
