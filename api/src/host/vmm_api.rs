//! Calls to a machine's VMM: Firecracker's API on a Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::HostError;
use super::exchange::{exchange, plain, read};

/// How long a call may take. A VMM answers at once, unless its host is busy.
const PROMPT: Duration = Duration::from_secs(10);

/// The API of one VMM.
#[derive(Debug, Clone)]
pub struct VmmApi {
    socket: PathBuf,
}

impl VmmApi {
    /// Behind this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Holds the machine's processors. To hold a machine that is held already changes nothing.
    pub async fn pause(&self) -> Result<(), HostError> {
        self.call(Method::PATCH, "/vm", &json!({"state": "Paused"})).await
    }

    /// Lets the machine's processors go on.
    pub async fn resume(&self) -> Result<(), HostError> {
        self.call(Method::PATCH, "/vm", &json!({"state": "Resumed"})).await
    }

    /// Changes the limits of a drive; `limiter` is Firecracker's `RateLimiter`.
    pub async fn limit_drive(&self, id: &str, limiter: &Value) -> Result<(), HostError> {
        let body = json!({"drive_id": id, "rate_limiter": limiter});
        self.call(Method::PATCH, &format!("/drives/{id}"), &body).await
    }

    /// Changes the limits of a network interface in both directions.
    pub async fn limit_interface(
        &self,
        id: &str,
        receive: &Value,
        transmit: &Value,
    ) -> Result<(), HostError> {
        let body = json!({"iface_id": id, "rx_rate_limiter": receive, "tx_rate_limiter": transmit});
        self.call(Method::PATCH, &format!("/network-interfaces/{id}"), &body).await
    }

    /// Its figures in Prometheus's text format.
    pub async fn figures(&self) -> Result<Bytes, HostError> {
        self.request(Method::GET, "/metrics/prometheus", Vec::new()).await
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Result<(), HostError> {
        self.request(method, path, body.to_string().into_bytes()).await.map(drop)
    }

    async fn request(&self, method: Method, path: &str, bytes: Vec<u8>) -> Result<Bytes, HostError> {
        let call = || format!("{method} {path}");
        let failed = |source| HostError::VmmCall { call: call(), source };
        let connected = timeout(PROMPT, UnixStream::connect(&self.socket)).await;
        let stream = connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| failed(error.into()))?;
        let answer = exchange(stream, method.clone(), path, bytes, PROMPT).await.map_err(failed)?;
        let status = answer.status();
        let text = read(answer.into_body(), PROMPT).await.map_err(failed)?;
        if status.is_success() {
            return Ok(text);
        }
        let fault = serde_json::from_slice::<Value>(&text).unwrap_or_default();
        let message = match fault.get("fault_message").and_then(Value::as_str) {
            Some(message) => plain(message),
            None => format!("it answers {status}"),
        };
        Err(HostError::VmmRefused { call: call(), message })
    }
}
