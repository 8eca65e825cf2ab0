//! One arm an endpoint. The protocol's `agent` module has the table.

use std::sync::Arc;

use bulkhead_protocol::agent::{CreateContainer, PowerOff, SignalRequest};
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::body::{self, Answer, Refusal};
use super::connection::Server;
use super::exec::{self, Aftermath};
use super::logs;
use crate::console;
use crate::container::{Blame, ContainerError};

impl From<ContainerError> for Refusal {
    fn from(error: ContainerError) -> Self {
        let status = match error.blame() {
            Blame::Caller => StatusCode::BAD_REQUEST,
            Blame::Missing => StatusCode::NOT_FOUND,
            Blame::Conflict => StatusCode::CONFLICT,
            Blame::Guest => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, console::chain(&error))
    }
}

/// Answers one request.
pub async fn answer(
    server: &Arc<Server>,
    request: Request<Incoming>,
    aftermath: &Aftermath,
) -> Response<Answer> {
    route(server, request, aftermath).await.unwrap_or_else(body::refuse)
}

async fn route(
    server: &Arc<Server>,
    request: Request<Incoming>,
    aftermath: &Aftermath,
) -> Result<Response<Answer>, Refusal> {
    let path = request.uri().path().to_owned();
    let segments: Vec<_> = path.split('/').skip(1).collect();
    let containers = &server.containers;
    let ["v1", rest @ ..] = segments.as_slice() else { return Err(no_such(&path)) };
    match (request.method().clone(), rest) {
        (Method::GET, ["ready"]) => Ok(body::json(StatusCode::OK, &server.ready)),
        (Method::GET, ["containers"]) => Ok(body::json(StatusCode::OK, &containers.list())),
        (Method::POST, ["containers"]) => {
            let wanted: CreateContainer = body::read(request).await?;
            let container = containers.create(wanted).await?;
            Ok(body::json(StatusCode::CREATED, &container.status()))
        }
        (Method::GET, ["containers", id]) => Ok(body::json(StatusCode::OK, &containers.find(id)?.status())),
        (Method::DELETE, ["containers", id]) => {
            containers.delete(id).await?;
            Ok(body::empty(StatusCode::NO_CONTENT))
        }
        (Method::POST, ["containers", id, "start"]) => {
            let container = containers.find(id)?;
            container.start().await?;
            Ok(body::json(StatusCode::OK, &container.status()))
        }
        (Method::POST, ["containers", id, "signal"]) => {
            let container = containers.find(id)?;
            let signal: SignalRequest = body::read(request).await?;
            container.signal(&signal)?;
            Ok(body::empty(StatusCode::NO_CONTENT))
        }
        (Method::GET, ["containers", id, "wait"]) => match containers.find(id)?.wait().await {
            Some(exit) => Ok(body::json(StatusCode::OK, &exit)),
            None => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("Container {id} is gone"))),
        },
        (Method::GET, ["containers", id, "logs"]) => {
            let container = containers.find(id)?;
            let query = logs::Query::parse(request.uri().query())?;
            Ok(body::stream(logs::stream(Arc::clone(&container.log), &query)))
        }
        (Method::POST, ["containers", id, "exec"]) => exec::exec(server, id, request, aftermath).await,
        (Method::POST, ["containers", id, "copy"]) => exec::copy(server, id, request, aftermath).await,
        (Method::POST, ["power-off"]) => {
            let wanted: PowerOff = body::read(request).await?;
            containers.end_machine(wanted.code);
            Ok(body::empty(StatusCode::ACCEPTED))
        }
        (_, rest) => wrong_method(rest).ok_or_else(|| no_such(&path)),
    }
}

fn no_such(path: &str) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, format!("There is no resource {path}"))
}

/// The answer to a wrong method on a right path.
fn wrong_method(rest: &[&str]) -> Option<Response<Answer>> {
    let allowed = match rest {
        ["ready"] | ["containers", _, "wait" | "logs"] => "GET",
        ["containers"] => "GET, POST",
        ["containers", _] => "GET, DELETE",
        ["containers", _, "start" | "signal" | "exec" | "copy"] | ["power-off"] => "POST",
        _ => return None,
    };
    let refusal = Refusal(StatusCode::METHOD_NOT_ALLOWED, format!("This resource has {allowed}"));
    let mut response = body::refuse(refusal);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    Some(response)
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
