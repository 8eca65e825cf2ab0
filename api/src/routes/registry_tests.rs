use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use hyper_util::service::TowerToHyperService;

use bulkhead_image::digest::Sha256;
use serde_json::{Value, json};

use super::tests::{call, sentence};
use super::*;
use crate::service::{RegistryConfig, ServiceConfig};

/// A registry with the images `x`, which is called `copy` too, and, for who knows `me:secret`, `private`. They share
/// their layer.
struct Peer {
    host: String,
    /// What was asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (content, log) = (Arc::new(content()), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, log) = (content.clone(), log.clone());
                std::thread::spawn(move || serve(stream, &content, &log));
            }
        });
        Self { host, asked }
    }

    fn fetched(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.contains("/blobs/")).count()
    }
}

fn serve(mut stream: TcpStream, content: &BTreeMap<String, Vec<u8>>, log: &Mutex<Vec<String>>) {
    // Who speaks TLS waits for an answer to what is no line.
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let known = lines.take_while(|line| !line.is_empty()).any(|line| line.ends_with("Basic bWU6c2VjcmV0"));
    let (status, body) = match content.get(&path) {
        Some(_) if path.starts_with("/v2/private") && !known => (401, &b"{}"[..]),
        Some(body) => (200, body.as_slice()),
        None => (404, &b"{}"[..]),
    };
    log.lock().unwrap().push(path);
    let challenge = "WWW-Authenticate: Basic realm=x";
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} x\r\n{challenge}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn content() -> BTreeMap<String, Vec<u8>> {
    let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
    let mut content = BTreeMap::new();
    for (repository, word) in [("x", "one"), ("copy", "one"), ("private", "two")] {
        // The end of an archive, and nothing before it.
        let layer = vec![0; 1024];
        let config = json!({"os": "linux", "architecture": "amd64", "config": {"Cmd": [word]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}});
        let config = config.to_string().into_bytes();
        let manifest = json!({"schemaVersion": 2, "config": {"digest": digest(&config), "size": config.len()},
            "layers": [{"digest": digest(&layer), "size": layer.len()}]});
        let manifest = manifest.to_string().into_bytes();
        content.insert(format!("/v2/{repository}/manifests/1"), manifest);
        for blob in [config, layer] {
            content.insert(format!("/v2/{repository}/blobs/{}", digest(&blob)), blob);
        }
    }
    content
}

async fn daemon(folder: &Path, peer: &Peer) -> Router {
    router(service(folder, peer).await)
}

async fn service(folder: &Path, peer: &Peer) -> Shared {
    let registries = RegistryConfig { insecure: vec![peer.host.clone()], ..RegistryConfig::default() };
    let config = ServiceConfig { registries, ..ServiceConfig::beneath(folder) };
    Service::open(&config).await.unwrap()
}

async fn import(router: &Router, peer: &Peer, repository: &str, more: &Value) -> (StatusCode, Value) {
    let mut body = json!({"source": format!("docker://{}/{repository}", peer.host)});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call(router, "POST", "/api/v1/images", Some(&body.to_string())).await
}

fn blobs(folder: &Path) -> usize {
    fs::read_dir(folder.join("state/registry/blobs/sha256")).unwrap().count()
}

#[tokio::test]
async fn images_are_pulled_share_layers_and_take_them_along() {
    let (peer, folder) = (Peer::new(), tempfile::tempdir().unwrap());
    let router = daemon(folder.path(), &peer).await;
    let (status, image) = import(&router, &peer, "x:1", &json!({})).await;
    assert_eq!(status, StatusCode::CREATED, "{image}");
    assert_eq!(image["metadata"]["name"], format!("{}/x:1", peer.host));
    assert_eq!(image["status"]["config"]["cmd"], json!(["one"]));
    let digest = image["status"]["digest"].as_str().unwrap();
    assert!(folder.path().join("state/registry/blobs/sha256").join(&digest[7..]).exists());
    // What is there is not fetched again.
    let fetched = peer.fetched();
    assert_eq!((fetched, import(&router, &peer, "x:1", &json!({})).await.1), (2, image));
    let me = json!({"credentials": {"username": "me", "password": "secret"}});
    let (status, other) = import(&router, &peer, "private:1", &me).await;
    assert_eq!(status, StatusCode::CREATED, "{other}");
    assert_eq!((peer.fetched(), blobs(folder.path())), (fetched + 1, 5));

    let name = |image: &Value| image["metadata"]["id"].as_str().unwrap().to_owned();
    for (image, left) in [(&other, 3), (&image_of(&router, &peer).await, 0)] {
        let path = format!("/api/v1/images/{}", name(image));
        assert_eq!(call(&router, "DELETE", &path, None).await.0, StatusCode::NO_CONTENT);
        assert_eq!(blobs(folder.path()), left);
    }
    assert_eq!(fs::read_dir(folder.path().join("state/images")).unwrap().count(), 0);
}

async fn image_of(router: &Router, peer: &Peer) -> Value {
    import(router, peer, "x:1", &json!({})).await.1
}

fn roots(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder.join("state/images")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn delete(router: &Router, collection: &str, name: &Value) -> StatusCode {
    let path = format!("/api/v1/{collection}/{}", name["metadata"]["id"].as_str().unwrap());
    call(router, "DELETE", &path, None).await.0
}

#[tokio::test]
async fn one_image_by_two_names_is_built_once_and_goes_with_its_last_name() {
    let (peer, folder) = (Peer::new(), tempfile::tempdir().unwrap());
    let service = service(folder.path(), &peer).await;
    let router = router(service.clone());
    let none = json!({});
    let (one, other) =
        tokio::join!(import(&router, &peer, "x:1", &none), import(&router, &peer, "copy:1", &none));
    assert_eq!((one.0, other.0), (StatusCode::CREATED, StatusCode::CREATED), "{one:?} {other:?}");
    let (one, other) = (one.1, other.1);
    assert_ne!(one["metadata"]["id"], other["metadata"]["id"]);
    assert_eq!(other["metadata"]["name"], format!("{}/copy:1", peer.host));
    assert_eq!(one["status"]["root"], other["status"]["root"]);
    let file = format!("{}.img", one["status"]["root"].as_str().unwrap());
    assert_eq!(roots(folder.path()), [file.as_str()]);
    let figures = service.exposition().await.unwrap();
    assert!(figures.contains("\nbulkhead_image_builds_total 1\n"), "{figures}");

    // A machine keeps its image, and another name of the root goes and comes back without it.
    let spec = json!({"name": "m", "image": other["metadata"]["name"]}).to_string();
    let (status, machine) = call(&router, "POST", "/api/v1/machines", Some(&spec)).await;
    assert_eq!(status, StatusCode::CREATED, "{machine}");
    assert_eq!(delete(&router, "images", &other).await, StatusCode::CONFLICT);
    assert_eq!(delete(&router, "images", &one).await, StatusCode::NO_CONTENT);
    assert_eq!(roots(folder.path()), [file.as_str()]);
    assert_eq!(import(&router, &peer, "x:1", &none).await.1["metadata"]["id"], one["metadata"]["id"]);
    assert_eq!(delete(&router, "images", &one).await, StatusCode::NO_CONTENT);
    assert!(service.exposition().await.unwrap().contains("\nbulkhead_image_builds_total 1\n"));
    assert_eq!(delete(&router, "machines", &machine).await, StatusCode::NO_CONTENT);
    assert_eq!(delete(&router, "images", &other).await, StatusCode::NO_CONTENT);
    assert!(roots(folder.path()).is_empty());
}

#[tokio::test]
async fn what_a_killed_daemon_left_is_swept_and_images_of_before_stay() {
    let (peer, folder) = (Peer::new(), tempfile::tempdir().unwrap());
    let images = folder.path().join("state/images");
    let first = service(folder.path(), &peer).await;
    let (_, image) = import(&router(first.clone()), &peer, "x:1", &json!({})).await;
    let id = image["metadata"]["id"].as_str().unwrap();
    let root = images.join(format!("{}.img", image["status"]["root"].as_str().unwrap()));
    // An image as it was recorded before roots were shared, with the file of its own that it had.
    let own = images.join(format!("{id}.img"));
    fs::hard_link(&root, &own).unwrap();
    let records = first.records();
    records
        .update(id, |image: &mut Image| {
            image.status.root = None;
            Ok(())
        })
        .await
        .unwrap();
    fs::hard_link(&root, images.join("0123456789ab.draft")).unwrap();
    fs::write(images.join(".bulkhead-x.part"), "half").unwrap();
    drop(first);
    let second = service(folder.path(), &peer).await;
    assert_eq!(roots(folder.path()), [format!("{id}.img")]);
    let router = router(second);
    assert_eq!(import(&router, &peer, "x:1", &json!({})).await.1["metadata"]["id"], id, "it is known");
    assert_eq!(delete(&router, "images", &image).await, StatusCode::NO_CONTENT);
    assert!(roots(folder.path()).is_empty());
}

#[tokio::test]
async fn a_damaged_root_is_made_anew() {
    let (peer, folder) = (Peer::new(), tempfile::tempdir().unwrap());
    let router = daemon(folder.path(), &peer).await;
    let (_, image) = import(&router, &peer, "x:1", &json!({})).await;
    let root = format!("{}.img", image["status"]["root"].as_str().unwrap());
    let path = folder.path().join("state/images").join(&root);
    let whole = fs::read(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(8192).unwrap();
    assert_eq!(import(&router, &peer, "copy:1", &json!({})).await.0, StatusCode::CREATED);
    assert!(fs::read(&path).unwrap() == whole);
    assert_eq!(roots(folder.path()), [root]);
}

/// What an import tells on its way, line by line.
async fn watched(router: &Router, body: &Value) -> Vec<Value> {
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/images?progress=true")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let service = TowerToHyperService::new(router.clone());
    let answer = hyper::service::Service::call(&service, request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/jsonl");
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let lines = std::str::from_utf8(&bytes).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_import_tells_how_far_it_is_and_ends_with_the_image_or_the_error() {
    let (peer, folder) = (Peer::new(), tempfile::tempdir().unwrap());
    let router = daemon(folder.path(), &peer).await;
    let body = |repository: &str| json!({"source": format!("docker://{}/{repository}", peer.host)});
    let mut lines = watched(&router, &body("x:1")).await;
    let last = lines.pop().unwrap();
    assert_eq!(last["type"], "imported");
    assert_eq!(last["object"], import(&router, &peer, "x:1", &json!({})).await.1);
    let mut ended = BTreeMap::new();
    for line in &lines {
        assert_eq!(line["type"], "progress", "{line}");
        for item in line["items"].as_array().unwrap().iter().filter(|item| item["outcome"].is_string()) {
            assert_eq!(item["size"], item["current"], "{item}");
            ended.insert(item["name"].as_str().unwrap().to_owned(), item["outcome"].clone());
        }
    }
    assert_eq!(ended.len(), 4, "a configuration, a layer, what was read of it, and a root: {ended:?}");
    assert!(ended.values().all(|outcome| outcome == "transferred"));
    assert!(ended.contains_key("layers") && ended.contains_key("root"));

    let lines = watched(&router, &body("copy:1")).await;
    let root = |line: &Value| line["items"].as_array()?.iter().find(|item| item["name"] == "root").cloned();
    assert_eq!(lines.iter().find_map(root).unwrap()["outcome"], "present");

    let lines = watched(&router, &body("nothing:1")).await;
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["type"], &lines[0]["status"]), (&json!("failed"), &json!(404)));
    assert!(sentence(&lines[0]).contains("nothing:1"), "{}", lines[0]);
    let path = "/api/v1/images?progress=perhaps";
    assert_eq!(call(&router, "POST", path, Some("{}")).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_import_does_not_wait_for_who_watches_it() {
    let (peer, folder) = (Peer::new(), tempfile::tempdir().unwrap());
    let service = service(folder.path(), &peer).await;
    let mut images = service.records().watch::<Image>(None).await.unwrap();
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/images?progress=true")
        .header("content-type", "application/json")
        .body(Body::from(json!({"source": format!("docker://{}/x:1", peer.host)}).to_string()))
        .unwrap();
    let answering = TowerToHyperService::new(router(service.clone()));
    let unread = hyper::service::Service::call(&answering, request).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), images.live.recv()).await.unwrap().unwrap();
    assert_eq!(service.list::<Image>().await.unwrap().items.len(), 1);
    drop(unread);
}

#[tokio::test]
async fn credentials_are_used_once_and_kept_nowhere() {
    let (peer, folder) = (Peer::new(), tempfile::tempdir().unwrap());
    let router = daemon(folder.path(), &peer).await;
    let (status, body) = import(&router, &peer, "private:1", &json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(sentence(&body).contains("denies manifest private:1 (status 401)"), "{body}");
    for wrong in
        [json!({"username": "me", "password": "hunter2"}), json!({"username": "m:e", "password": "hunter2"})]
    {
        let (status, body) = import(&router, &peer, "private:1", &json!({"credentials": wrong})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(!sentence(&body).contains("hunter2"), "{body}");
    }
    let me = json!({"credentials": {"username": "me", "password": "secret"}});
    assert_eq!(import(&router, &peer, "private:1", &me).await.0, StatusCode::CREATED);
    let (status, _) = import(&router, &peer, "private:1", &json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "nobody remembers");
    let record = fs::read(folder.path().join("state/store.redb")).unwrap();
    assert!(!record.windows(6).any(|bytes| bytes == b"secret"));
    let local = json!({"source": "dir:/", "credentials": {"username": "me", "password": "x"}}).to_string();
    let (status, body) = call(&router, "POST", "/api/v1/images", Some(&local)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_said() {
    let (peer, folder) = (Peer::new(), tempfile::tempdir().unwrap());
    let router = daemon(folder.path(), &peer).await;
    assert_eq!(import(&router, &peer, "nothing:1", &json!({})).await.0, StatusCode::NOT_FOUND);
    let (status, body) = import(&router, &peer, "X:1", &json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(sentence(&body).contains("uppercase"), "{body}");
    let other = tempfile::tempdir().unwrap();
    let strict = router_without(other.path()).await;
    let (status, body) = import(&strict, &peer, "x:1", &json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(sentence(&body).contains("No answer from https://"), "{body}");
    assert_eq!(blobs(other.path()), 0);
}

async fn router_without(folder: &Path) -> Router {
    router(Service::open(&ServiceConfig::beneath(folder)).await.unwrap())
}
