//! The native API under `/api/v1`: parse, call, render. What anything means is the service's.

#![allow(unused_qualifications, reason = "the macro that describes a route qualifies its parameters")]

mod doctor;
mod error;
mod extract;
mod images;
mod import;
mod machine_actions;
mod machine_exec;
mod machine_output;
mod machines;
mod metrics;
mod resource;
pub mod server;
mod volumes;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::service::Service;
use crate::service::model::{Event, Image, Machine, Volume};
use error::ApiError;

pub use error::{ErrorBody, ErrorDetail, NOT_EXECUTABLE, NOT_FOUND};
pub use import::ImportEvent;
pub use watch::{WatchEvent, WatchEventKind};

/// What handlers share.
pub type Shared = Arc<Service>;

/// The description's head.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bulkhead",
        description = "Container images as sealed appliances: every workload in a microVM of its own. \
                       Served on a Unix socket that its owner alone may use.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/"))
)]
struct Description;

fn described() -> OpenApiRouter<Shared> {
    let router = OpenApiRouter::with_openapi(Description::openapi());
    let router = resource::routes_with_delete::<Machine>(router);
    let router = resource::routes_with_delete::<Image>(router);
    let router = resource::routes_with_delete::<Volume>(router);
    resource::routes::<Event>(router)
        .routes(routes!(machines::create))
        .routes(routes!(machine_actions::start))
        .routes(routes!(machine_actions::stop))
        .routes(routes!(machine_actions::kill))
        .routes(routes!(machine_actions::pause))
        .routes(routes!(machine_actions::unpause))
        .routes(routes!(machine_actions::update))
        .routes(routes!(machine_actions::wait))
        .routes(routes!(machine_exec::exec))
        .routes(routes!(machine_exec::copy))
        .routes(routes!(machine_output::logs))
        .routes(routes!(machine_output::console))
        .routes(routes!(import::import))
        .routes(routes!(volumes::create))
        .routes(routes!(doctor::doctor))
        .routes(routes!(doctor::version))
        .routes(routes!(metrics::metrics))
}

/// The API's description (OpenAPI 3.1).
pub fn description() -> utoipa::openapi::OpenApi {
    described().split_for_parts().1
}

/// The whole router.
pub fn router(service: Shared) -> Router {
    let (router, description) = described().split_for_parts();
    // It is made once, and it is always the same.
    let text = description.to_json().unwrap_or_default();
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    router
        .route("/api/v1/openapi.json", get(move || async move { (json, text) }))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn(refuse_trace))
        .with_state(service)
}

async fn no_such_path(request: Request) -> ApiError {
    let path: String = request.uri().path().chars().take(200).collect();
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("There is nothing at {path}"))
}

async fn wrong_method(method: Method) -> ApiError {
    let message = format!("The method {method} is not for this path");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// HEAD is answered by GET's handlers elsewhere; a stream has none, and TRACE has no use here at all.
async fn refuse_trace(request: Request, next: Next) -> Response {
    if request.method() == Method::TRACE {
        return wrong_method(Method::TRACE).await.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "registry_tests.rs"]
mod registry_tests;

#[cfg(test)]
#[path = "leaving_tests.rs"]
mod leaving_tests;
