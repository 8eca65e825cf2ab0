//! The API's client: one connection a call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::CliError;
use crate::host::exchange::{self, Upgrade};
use crate::host::relay::Wire;
use crate::routes::ErrorBody;

/// The largest answer that is read as a whole.
const MAX_ANSWER: usize = 64 << 20;

/// How long the daemon may take until a process has begun.
const BEGIN: Duration = Duration::from_secs(90);

/// A daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// A word as a segment of a path: everything but letters, digits and `-_.~` is escaped.
pub fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

impl Client {
    /// Behind this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// GET.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.whole(Method::GET, path, None::<&()>).await
    }

    /// POST without a body.
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.whole(Method::POST, path, None::<&()>).await
    }

    /// POST with a body.
    pub async fn post_body<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        self.whole(Method::POST, path, Some(body)).await
    }

    /// PATCH with a body.
    pub async fn patch_body<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        self.whole(Method::PATCH, path, Some(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<(), CliError> {
        self.send(Method::DELETE, path, None::<&()>).await.map(|_| ())
    }

    /// GET, piece by piece.
    pub async fn stream(&self, path: &str) -> Result<Pieces, CliError> {
        let answer = self.send(Method::GET, path, None::<&()>).await?;
        Ok(Pieces { body: answer.into_body(), call: path.to_owned() })
    }

    /// POST with a body, answered piece by piece.
    pub async fn stream_body(&self, path: &str, body: &impl Serialize) -> Result<Pieces, CliError> {
        let answer = self.send(Method::POST, path, Some(body)).await?;
        Ok(Pieces { body: answer.into_body(), call: path.to_owned() })
    }

    /// POST with a body, to speak `protocol` from then on; nothing where the daemon has done what there is to do.
    pub async fn upgrade(
        &self,
        path: &str,
        protocol: &str,
        body: &impl Serialize,
    ) -> Result<Option<Wire>, CliError> {
        let body = serde_json::to_vec(body).map_err(CliError::json)?;
        let upgrade = exchange::upgrade(self.connect().await?, path, protocol, body, BEGIN).await;
        match upgrade.map_err(|error| broken(path, error))? {
            Upgrade::Wire(wire) => Ok(Some(wire)),
            Upgrade::Answer(answer) if answer.status().is_success() => Ok(None),
            Upgrade::Answer(answer) => Err(refusal(answer, path).await),
        }
    }

    async fn whole<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CliError> {
        let answer = self.send(method, path, body).await?;
        let bytes = read(answer.into_body(), path).await?;
        serde_json::from_slice(&bytes).map_err(|error| broken(path, error))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, CliError> {
        let stream = self.connect().await?;
        let mut request = Request::builder().method(method).uri(path).header("host", "bulkhead");
        let bytes = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                serde_json::to_vec(body).map_err(CliError::json)?
            }
            None => Vec::new(),
        };
        let request = request.body(Full::new(Bytes::from(bytes))).map_err(|error| broken(path, error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(path, error))?;
        // Ends with the answer's body.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let answer = sender.send_request(request).await.map_err(|error| broken(path, error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer, path).await)
    }

    async fn connect(&self) -> Result<UnixStream, CliError> {
        UnixStream::connect(&self.socket)
            .await
            .map_err(|source| CliError::Unreachable { socket: self.socket.display().to_string(), source })
    }
}

async fn refusal(answer: Response<Incoming>, path: &str) -> CliError {
    let status = answer.status().as_u16();
    let bytes = match read(answer.into_body(), path).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(ErrorBody { error }) => CliError::Refused { status, word: error.code, message: error.message },
        Err(_) => {
            let message = format!("The daemon answers {status} to {path}");
            CliError::Refused { status, word: String::new(), message }
        }
    }
}

fn broken(path: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
    CliError::Broken { call: path.to_owned(), source: error.into() }
}

async fn read(body: Incoming, path: &str) -> Result<Bytes, CliError> {
    let collected = Limited::new(body, MAX_ANSWER).collect().await;
    Ok(collected.map_err(|error| broken(path, error))?.to_bytes())
}

/// An answer, piece by piece.
#[derive(Debug)]
pub struct Pieces {
    body: Incoming,
    call: String,
}

impl Pieces {
    /// The next piece; nothing at the end.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, CliError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| broken(&self.call, error))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// A stream of lines.
#[derive(Debug)]
pub struct Lines {
    pieces: Pieces,
    buffer: Vec<u8>,
}

impl Lines {
    /// Of these pieces.
    pub fn new(pieces: Pieces) -> Self {
        Self { pieces, buffer: Vec::new() }
    }

    /// The next line, parsed; nothing at the end.
    pub async fn next_line<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CliError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let parsed = serde_json::from_slice(&line);
                return parsed.map(Some).map_err(|error| broken(&self.pieces.call, error));
            }
            match self.pieces.next_piece().await? {
                Some(piece) if self.buffer.len() + piece.len() <= MAX_ANSWER => self.buffer.extend(piece),
                Some(_) => return Err(broken(&self.pieces.call, "a line has no end")),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(segment("a/../b?c#d e%"), "a%2F..%2Fb%3Fc%23d%20e%25");
        assert_eq!(segment("redis-1_2.3~"), "redis-1_2.3~");
    }
}
