//! `POST /v1/containers/ID/exec`: a process in a container, and the stream to and from it.

use std::sync::{Mutex, PoisonError};

use bulkhead_protocol::agent::Fault;
use bulkhead_protocol::exec::{ExecProcess, UPGRADE};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE as UPGRADE_HEADER};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::body::{self, Answer, Refusal};
use super::connection::Server;
use super::session;
use crate::container::ContainerError;

/// What goes on at a connection when its requests are over.
#[derive(Default)]
pub struct Aftermath(Mutex<Option<JoinHandle<()>>>);

impl Aftermath {
    /// Waits for its end.
    pub async fn end(&self) {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }

    fn set(&self, task: JoinHandle<()>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }
}

/// Runs a process, and answers when its program has begun.
pub async fn answer(
    server: &Server,
    id: &str,
    mut request: Request<Incoming>,
    aftermath: &Aftermath,
) -> Result<Response<Answer>, Refusal> {
    let asks = asks_for_stream(request.headers());
    let upgraded = hyper::upgrade::on(&mut request);
    let wanted: ExecProcess = body::read(request).await?;
    let detach = wanted.detach;
    if !detach && !asks {
        let message = format!("This stream needs Connection: Upgrade and Upgrade: {UPGRADE}");
        return Err(Refusal(StatusCode::UPGRADE_REQUIRED, message));
    }
    let exec = match server.containers.exec(id, wanted).await {
        Ok(exec) => exec,
        Err(error) => return refuse(error),
    };
    if detach {
        tokio::spawn(session::ignore(exec));
        return Ok(body::empty(StatusCode::NO_CONTENT));
    }
    aftermath.set(tokio::spawn(async move {
        // A client that is gone by now has left.
        if let Ok(client) = upgraded.await {
            session::serve(TokioIo::new(client), exec).await;
        }
    }));
    let mut response = body::empty(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE_HEADER, HeaderValue::from_static(UPGRADE));
    Ok(response)
}

/// A refusal with the status that a shell gives, where it has one.
fn refuse(error: ContainerError) -> Result<Response<Answer>, Refusal> {
    let code = match &error {
        ContainerError::Stage { code, .. } => *code,
        _ => None,
    };
    let Refusal(status, message) = error.into();
    Ok(body::json(status, &Fault { message, code }))
}

/// Whether a request asks for frames instead of HTTP.
fn asks_for_stream(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE_HEADER).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(UPGRADE.as_bytes()))
}
