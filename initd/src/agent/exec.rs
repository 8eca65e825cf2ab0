//! `POST /v1/containers/ID/exec` and `copy`: a process in a container, and the stream to and from it.

use std::sync::{Mutex, PoisonError};

use bulkhead_protocol::agent::Fault;
use bulkhead_protocol::copy::CopyRequest;
use bulkhead_protocol::exec::{ExecProcess, UPGRADE};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE as UPGRADE_HEADER};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::body::{self, Answer, Refusal};
use super::connection::Server;
use super::session;
use crate::container::ContainerError;
use crate::container::exec::Exec;

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
pub async fn exec(
    server: &Server,
    id: &str,
    request: Request<Incoming>,
    aftermath: &Aftermath,
) -> Result<Response<Answer>, Refusal> {
    let (wanted, wire) = asked::<ExecProcess>(request).await?;
    if wanted.detach {
        return match server.containers.exec(id, wanted).await {
            Ok(exec) => {
                tokio::spawn(session::ignore(exec));
                Ok(body::empty(StatusCode::NO_CONTENT))
            }
            Err(error) => refuse(error),
        };
    }
    let wire = wire?;
    answer(server.containers.exec(id, wanted).await, wire, aftermath)
}

/// Begins a copy, and answers when what it begins with has been found.
pub async fn copy(
    server: &Server,
    id: &str,
    request: Request<Incoming>,
    aftermath: &Aftermath,
) -> Result<Response<Answer>, Refusal> {
    let (wanted, wire) = asked::<CopyRequest>(request).await?;
    let wire = wire?;
    answer(server.containers.copy(id, wanted).await, wire, aftermath)
}

/// What is asked, and the connection where it asks for frames.
async fn asked<T: DeserializeOwned>(
    mut request: Request<Incoming>,
) -> Result<(T, Result<OnUpgrade, Refusal>), Refusal> {
    let asked = request.headers().get(UPGRADE_HEADER);
    let asks = asked.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(UPGRADE.as_bytes()));
    let upgraded = hyper::upgrade::on(&mut request);
    let wire = match asks {
        true => Ok(upgraded),
        false => {
            let message = format!("This stream needs Connection: Upgrade and Upgrade: {UPGRADE}");
            Err(Refusal(StatusCode::UPGRADE_REQUIRED, message))
        }
    };
    Ok((body::read(request).await?, wire))
}

fn answer(
    exec: Result<Exec, ContainerError>,
    wire: OnUpgrade,
    aftermath: &Aftermath,
) -> Result<Response<Answer>, Refusal> {
    let exec = match exec {
        Ok(exec) => exec,
        Err(error) => return refuse(error),
    };
    aftermath.set(tokio::spawn(async move {
        // A client that is gone by now has left.
        if let Ok(client) = wire.await {
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
