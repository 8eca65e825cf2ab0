//! One request and its answer over a socket that is open already: HTTP/1.1, bounded in size and in time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::relay::Wire;

/// The largest answer that is read as a whole, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Why there is no answer.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Sends a request with a JSON body, if any, and waits for the head of its answer.
pub async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Vec<u8>,
    patience: Duration,
) -> Result<Response<Incoming>, Cause> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(Full::new(Bytes::from(body)))?;
    let exchange = async {
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(128 << 10).handshake(TokioIo::new(stream)).await?;
        // Ends with the answer's body, or when the other side does.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender.send_request(request).await?)
    };
    timeout(patience, exchange).await.map_err(|_| late())?
}

/// What comes of a request for another protocol.
#[derive(Debug)]
pub enum Upgrade {
    /// It is spoken from now on.
    Wire(Wire),
    /// The answer is an ordinary one.
    Answer(Response<Incoming>),
}

/// Asks for another protocol on this socket, by a request with a JSON body.
pub async fn upgrade(
    stream: UnixStream,
    path: &str,
    protocol: &str,
    body: Vec<u8>,
    patience: Duration,
) -> Result<Upgrade, Cause> {
    let request = Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("connection", "upgrade")
        .header("upgrade", protocol)
        .body(Full::new(Bytes::from(body)))?;
    let exchange = async {
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(128 << 10).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Upgrade::Answer(answer));
        }
        Ok(Upgrade::Wire(Wire::of(hyper::upgrade::on(answer).await?)?))
    };
    timeout(patience, exchange).await.map_err(|_| late())?
}

/// Reads the whole of an answer.
pub async fn read(body: Incoming, patience: Duration) -> Result<Bytes, Cause> {
    let collected = timeout(patience, Limited::new(body, MAX_ANSWER).collect()).await.map_err(|_| late())?;
    Ok(collected?.to_bytes())
}

/// It is over time.
pub fn late() -> Cause {
    "it takes too long".into()
}

/// A sentence from outside, cut and without what could trick a terminal.
pub fn plain(sentence: &str) -> String {
    sentence.chars().filter(|character| !character.is_control()).take(1000).collect()
}
