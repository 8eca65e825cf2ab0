//! What every kind of resource has: `GET` of all and of one, `DELETE`, and the description of them.

use std::future::Future;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::{Content, HttpMethod, PathItem, Paths, Ref, RefOr, Required, ResponseBuilder, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::{Name, Params};
use super::watch::{LINES, ListParams, WatchEvent, stream_changes};
use crate::service::ServiceError;
use crate::service::collection::Collection;
use crate::service::model::List;

/// A kind of resource that clients can delete.
pub trait Deletable: Collection + ToSchema {
    /// What a client may say about it.
    type How: DeserializeOwned + IntoParams + Send;
    /// A sentence on what keeps one from being deleted (409).
    const KEPT: &'static str;

    /// Deletes the one with that id, name or start of an id.
    fn delete(
        service: &Shared,
        name: &str,
        how: Self::How,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

/// There is nothing to say about it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Plainly {}

async fn list_or_watch<T: Collection>(
    State(service): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    if params.watch {
        return stream_changes::<T>(&service, params.resource_version).await;
    }
    Ok(Json(service.list::<T>().await?).into_response())
}

async fn read<T: Collection>(State(service): State<Shared>, Name(name): Name) -> Result<Json<T>, ApiError> {
    Ok(Json(service.find(&name).await?))
}

async fn remove<T: Deletable>(
    State(service): State<Shared>,
    Name(name): Name,
    Params(how): Params<T::How>,
) -> Result<StatusCode, ApiError> {
    T::delete(&service, &name, how).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The routes of a kind of resource that cannot be deleted.
pub fn routes<T: Collection + ToSchema>(router: OpenApiRouter<Shared>) -> OpenApiRouter<Shared> {
    let mut schemas = Vec::new();
    for (name, schema) in [
        (T::name().into_owned(), T::schema()),
        (of::<List<T>, T>(), List::<T>::schema()),
        (of::<WatchEvent<T>, T>(), WatchEvent::<T>::schema()),
        (ErrorBody::name().into_owned(), ErrorBody::schema()),
    ] {
        schemas.push((name, schema));
    }
    List::<T>::schemas(&mut schemas);
    WatchEvent::<T>::schemas(&mut schemas);
    ErrorBody::schemas(&mut schemas);
    let (all, one) = (format!("/api/v1/{}", T::COLLECTION), one::<T>());
    router
        .routes(route(schemas, &all, HttpMethod::Get, describe_list::<T>(), get(list_or_watch::<T>)))
        .routes(route(Vec::new(), &one, HttpMethod::Get, describe_read::<T>(), get(read::<T>)))
}

/// The routes of a kind of resource that can be deleted.
pub fn routes_with_delete<T: Deletable>(router: OpenApiRouter<Shared>) -> OpenApiRouter<Shared> {
    let operation = describe_delete::<T>();
    routes::<T>(router).routes(route(
        Vec::new(),
        &one::<T>(),
        HttpMethod::Delete,
        operation,
        delete(remove::<T>),
    ))
}

fn one<T: Collection>() -> String {
    format!("/api/v1/{}/{{name}}", T::COLLECTION)
}

fn route(
    schemas: Vec<(String, RefOr<Schema>)>,
    path: &str,
    method: HttpMethod,
    operation: OperationBuilder,
    handler: MethodRouter<Shared>,
) -> UtoipaMethodRouter<Shared> {
    let mut paths = Paths::new();
    paths.paths.insert(path.to_owned(), PathItem::new(method, operation));
    (schemas, paths, handler)
}

fn describe_list<T: Collection + ToSchema>() -> OperationBuilder {
    let kind = T::COLLECTION;
    let listed = ResponseBuilder::new()
        .description(format!("The {kind}, or with `watch` their changes"))
        .content("application/json", content(&of::<List<T>, T>()))
        .content(LINES, content(&of::<WatchEvent<T>, T>()));
    let operation = describe::<T>("list", kind)
        .summary(Some(format!("List all {kind}, or watch them.")))
        .response("200", listed);
    let operation = parameters(operation, ListParams::into_params(|| Some(ParameterIn::Query)));
    errors(
        operation,
        &[("400", "The query cannot be understood"), ("410", "Changes since then are no longer kept")],
    )
}

fn describe_read<T: Collection + ToSchema>() -> OperationBuilder {
    let kind = T::KIND;
    let found = ResponseBuilder::new()
        .description(format!("The {kind}"))
        .content("application/json", content(&T::name()));
    let operation = describe::<T>("read", kind)
        .summary(Some(format!("Read {} {kind}.", article(kind))))
        .parameter(named(kind))
        .response("200", found);
    errors(
        operation,
        &[
            ("400", "The path cannot be understood"),
            ("404", &format!("There is no such {kind}")),
            ("409", "Several ids start so"),
        ],
    )
}

fn describe_delete<T: Deletable>() -> OperationBuilder {
    let kind = T::KIND;
    let operation = describe::<T>("delete", kind)
        .summary(Some(format!("Delete {} {kind}.", article(kind))))
        .parameter(named(kind))
        .response("204", ResponseBuilder::new().description("It is gone"));
    let operation = parameters(operation, T::How::into_params(|| Some(ParameterIn::Query)));
    errors(
        operation,
        &[
            ("400", "Path or query cannot be understood"),
            ("404", &format!("There is no such {kind}")),
            ("409", T::KEPT),
        ],
    )
}

/// An operation called `verb` and `noun`, as in `listImages`.
fn describe<T: Collection>(verb: &str, noun: &str) -> OperationBuilder {
    let (first, rest) = noun.split_at(1);
    OperationBuilder::new()
        .tag(T::COLLECTION)
        .operation_id(Some(format!("{verb}{}{rest}", first.to_uppercase())))
}

fn parameters(operation: OperationBuilder, parameters: Vec<Parameter>) -> OperationBuilder {
    parameters.into_iter().fold(operation, OperationBuilder::parameter)
}

fn named(kind: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name("name")
        .parameter_in(ParameterIn::Path)
        .description(Some(format!("The {kind}'s id, its name, or the start of its id")))
        .required(Required::True)
        .schema(Some(Object::with_type(Type::String)))
}

/// Adds errors, and the one that every operation may have.
fn errors(operation: OperationBuilder, errors: &[(&str, &str)]) -> OperationBuilder {
    errors.iter().chain(&[("500", "The host failed")]).fold(operation, |operation, (status, description)| {
        let response = ResponseBuilder::new()
            .description(*description)
            .content("application/json", content(&ErrorBody::name()));
        operation.response(*status, response)
    })
}

fn content(schema: &str) -> Content {
    Content::new(Some(Ref::from_schema_name(schema)))
}

/// The name of a generic schema, as utoipa composes it.
fn of<G: ToSchema, T: ToSchema>() -> String {
    format!("{}_{}", G::name(), T::name())
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}
