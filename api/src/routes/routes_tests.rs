use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::*;
use crate::service::ServiceConfig;

/// A daemon in a folder of its own. Nothing in these tests starts a machine.
async fn daemon() -> (tempfile::TempDir, Router) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(&ServiceConfig::beneath(folder.path())).await.unwrap();
    (folder, router(service))
}

pub(super) async fn call(
    router: &Router,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(Body::from(body.unwrap_or_default().to_owned())).unwrap();
    let service = TowerToHyperService::new(router.clone());
    let answer = hyper::service::Service::call(&service, request).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Every error has the one shape.
pub(super) fn sentence(body: &Value) -> &str {
    assert!(body["error"]["code"].is_string(), "{body}");
    body["error"]["message"].as_str().unwrap()
}

#[test]
fn the_description_is_whole() {
    let text = description().to_json().unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        // Whoever scrapes looks in this place.
        assert!(path.starts_with("/api/v1/") || path == "/metrics", "{path}");
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(operations.insert(id.to_owned()), "{id} is there twice");
            assert!(
                operation["responses"].as_object().unwrap().len() >= usize::from(id != "readVersion"),
                "{method}"
            );
        }
    }
    for id in [
        "listMachines",
        "createMachine",
        "readMachine",
        "readMetrics",
        "deleteMachine",
        "startMachine",
        "stopMachine",
        "killMachine",
        "pauseMachine",
        "unpauseMachine",
        "updateMachine",
        "waitMachine",
        "execInMachine",
        "copyInMachine",
        "readLogs",
        "readConsole",
        "listImages",
        "importImage",
        "readImage",
        "deleteImage",
        "listVolumes",
        "createVolume",
        "readVolume",
        "deleteVolume",
        "listEvents",
        "readEvent",
        "readDoctor",
        "readVersion",
    ] {
        assert!(operations.remove(id), "{id} is missing");
    }
    assert!(operations.is_empty(), "{operations:?} are new: add them above");
    // Every reference leads somewhere.
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let target = reference.split('"').next().unwrap();
        assert!(document.pointer(target).is_some(), "{target}");
    }
}

#[tokio::test]
async fn errors_have_one_shape() {
    let (_folder, router) = daemon().await;
    for (method, path, body, status) in [
        ("GET", "/", None, 404),
        ("GET", "/api/v1/nothing", None, 404),
        ("GET", "/api/v1/machines/none", None, 404),
        ("GET", "/api/v1/machines/%00", None, 404),
        ("GET", "/api/v1/machines/%ff", None, 400),
        ("PUT", "/api/v1/machines", None, 405),
        ("TRACE", "/api/v1/machines", None, 405),
        ("GET", "/api/v1/machines?watch=perhaps", None, 400),
        ("GET", "/api/v1/machines?colour=blue", None, 400),
        ("POST", "/api/v1/machines", None, 415),
        ("POST", "/api/v1/machines", Some("{"), 400),
        ("POST", "/api/v1/machines", Some("{} {}"), 400),
        ("POST", "/api/v1/machines", Some("{\"image\":\"x\",\"colour\":1}"), 400),
        ("POST", "/api/v1/machines", Some("{\"image\":\"x\"}"), 404),
        ("POST", "/api/v1/machines", Some("{\"image\":\"x\",\"vcpus\":33}"), 422),
        ("POST", "/api/v1/machines/none/start", None, 404),
        ("POST", "/api/v1/images", Some("{\"source\":\"file:/nowhere\"}"), 404),
        ("POST", "/api/v1/images", Some("{\"source\":\"http://x\"}"), 422),
        ("DELETE", "/api/v1/volumes/none", None, 404),
        ("DELETE", "/api/v1/volumes/none?force=true", None, 400),
        ("DELETE", "/api/v1/machines/none?force=true", None, 404),
        ("DELETE", "/api/v1/machines/none?kill=true", None, 400),
        ("DELETE", "/api/v1/images/none", None, 404),
        ("DELETE", "/api/v1/events/none", None, 405),
        ("GET", "/api/v1/events/none", None, 404),
        ("GET", "/api/v1/events?since=1", None, 400),
    ] {
        let (found, body) = call(&router, method, path, body).await;
        assert_eq!(found.as_u16(), status, "{method} {path}: {body}");
        assert!(!sentence(&body).is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let (_folder, router) = daemon().await;
    let body = format!("{{\"image\":\"{}\"}}", "x".repeat(2 << 20));
    let (status, body) = call(&router, "POST", "/api/v1/machines", Some(&body)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    sentence(&body);
}

#[tokio::test]
async fn volumes_come_and_go_and_leave_events() {
    let (folder, router) = daemon().await;
    let body = json!({"name": "data", "size_mib": 16}).to_string();
    let (status, volume) = call(&router, "POST", "/api/v1/volumes", Some(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{volume}");
    let (status, _) = call(&router, "POST", "/api/v1/volumes", Some(&body)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (_, list) = call(&router, "GET", "/api/v1/volumes", None).await;
    assert_eq!(list["items"][0]["metadata"]["id"], volume["metadata"]["id"]);
    assert!(list["metadata"]["resource_version"].as_u64().unwrap() > 0);
    let (status, _) = call(&router, "DELETE", "/api/v1/volumes/data", None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(std::fs::read_dir(folder.path().join("state/volumes")).unwrap().count(), 0);
    let (_, events) = call(&router, "GET", "/api/v1/events", None).await;
    let actions: Vec<&str> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["spec"]["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["created", "deleted"]);
}

#[tokio::test]
async fn every_kind_of_resource_is_described_and_answers_alike() {
    let (_folder, router) = daemon().await;
    let (_, document) = call(&router, "GET", "/api/v1/openapi.json", None).await;
    for (plural, kind, title) in [
        ("machines", "machine", "Machine"),
        ("images", "image", "Image"),
        ("volumes", "volume", "Volume"),
        ("events", "event", "Event"),
    ] {
        let all = format!("/api/v1/{plural}");
        let (status, list) = call(&router, "GET", &all, None).await;
        assert_eq!((status, &list["items"]), (StatusCode::OK, &json!([])), "{all}");
        let (status, missing) = call(&router, "GET", &format!("{all}/none"), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(sentence(&missing).contains(kind), "{missing}");

        let described = &document["paths"][&all]["get"];
        let schema = |media: &str| described["responses"]["200"]["content"][media]["schema"]["$ref"].clone();
        assert_eq!(schema("application/json"), format!("#/components/schemas/List_{title}"));
        assert_eq!(schema("application/jsonl"), format!("#/components/schemas/WatchEvent_{title}"));
        let items = &document["components"]["schemas"][format!("List_{title}")]["properties"]["items"];
        assert_eq!(items["items"]["$ref"], format!("#/components/schemas/{title}"));
        let one = &document["paths"][format!("{all}/{{name}}")];
        assert_eq!(one["get"]["operationId"], format!("read{title}"));
        assert_eq!(one["delete"]["operationId"].is_string(), kind != "event");
    }
}

#[tokio::test]
async fn a_watch_tells_what_happened_since_a_list() {
    let (_folder, router) = daemon().await;
    let (_, list) = call(&router, "GET", "/api/v1/volumes", None).await;
    let since = list["metadata"]["resource_version"].as_u64().unwrap();
    call(&router, "POST", "/api/v1/volumes", Some("{\"name\":\"one\",\"size_mib\":16}")).await;
    let path = format!("/api/v1/volumes?watch=true&resource_version={since}");
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let service = TowerToHyperService::new(router.clone());
    let mut body = hyper::service::Service::call(&service, request).await.unwrap().into_body();
    let mut next = async || {
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.unwrap();
        serde_json::from_slice::<Value>(&frame.unwrap().unwrap().into_data().unwrap()).unwrap()
    };
    let first = next().await;
    assert_eq!((&first["type"], &first["object"]["metadata"]["name"]), (&json!("added"), &json!("one")));
    call(&router, "DELETE", "/api/v1/volumes/one", None).await;
    assert_eq!(next().await["type"], "deleted");
}
