//! Clients that leave while something is made for them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::service::{RegistryConfig, ServiceConfig};

/// How long what was left may go on.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves a daemon on a socket in `folder` for as long as the sender lives.
async fn serve(folder: &Path, insecure: Vec<String>) -> (Shared, watch::Sender<bool>) {
    let registries = RegistryConfig { insecure, ..RegistryConfig::default() };
    let config = ServiceConfig { registries, ..ServiceConfig::beneath(folder) };
    let service = Service::open(&config).await.unwrap();
    let listener = server::listen(&folder.join("socket")).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server::serve(listener, router(service.clone()), stopped));
    (service, stop)
}

/// Asks, and waits for no answer.
async fn ask(folder: &Path, path: &str, body: &Value) -> UnixStream {
    let mut stream = UnixStream::connect(folder.join("socket")).await.unwrap();
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    stream
}

/// A folder whose one file takes minutes to read, and no room.
fn endless(folder: &Path) -> String {
    let source = folder.join("source");
    fs::create_dir(&source).unwrap();
    fs::File::create(source.join("zeros")).unwrap().set_len(1 << 40).unwrap();
    source.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_ends_with_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let (service, _stop) = serve(folder.path(), Vec::new()).await;
    let mut busy = service.builds();
    let source = format!("dir:{}", endless(folder.path()));
    let client = ask(folder.path(), "/api/v1/images", &json!({"source": source})).await;
    timeout(PATIENCE, busy.wait_for(|busy| *busy == 1)).await.unwrap().unwrap();
    drop(client);
    timeout(PATIENCE, busy.wait_for(|busy| *busy == 0)).await.unwrap().unwrap();
    assert_eq!(fs::read_dir(folder.path().join("state/images")).unwrap().count(), 0);
}

/// A registry whose image has a layer without an end. Tells when that is asked for, and when nobody takes it any more.
fn registry() -> (String, mpsc::Receiver<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || answer(stream, &tell));
        }
    });
    (host, told)
}

fn answer(mut stream: std::net::TcpStream, tell: &mpsc::Sender<&'static str>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let digest =
        |bytes: &[u8]| format!("sha256:{}", hex::encode(bulkhead_image::digest::Sha256::digest(bytes)));
    let layer = format!("sha256:{}", "0".repeat(64));
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [layer]}});
    let config = config.to_string().into_bytes();
    let manifest = json!({"schemaVersion": 2, "config": {"digest": digest(&config), "size": config.len()},
        "layers": [{"digest": layer, "size": 100_u64 << 30}]});
    let body = match path.rsplit('/').next().unwrap() {
        "1" => manifest.to_string().into_bytes(),
        name if name == digest(&config) => config,
        _ => {
            let head = format!("HTTP/1.1 200 x\r\nContent-Length: {}\r\n\r\n", 100_u64 << 30);
            stream.write_all(head.as_bytes()).unwrap();
            tell.send("asked").unwrap();
            let _ = std::io::copy(&mut std::io::repeat(0).take(100 << 30), &mut stream);
            let _ = tell.send("left");
            return;
        }
    };
    let head = format!("HTTP/1.1 200 x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

/// The daemon asks the registry for its client, and leaves it when the client leaves.
async fn is_left_with(client: UnixStream, told: mpsc::Receiver<&'static str>) {
    let next = move || told.recv_timeout(PATIENCE).map(|word| (word, told));
    let (word, told) = tokio::task::spawn_blocking(next).await.unwrap().unwrap();
    assert_eq!(word, "asked");
    drop(client);
    let last = tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE)).await.unwrap();
    assert_eq!(last.unwrap(), "left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_ends_with_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let (host, told) = registry();
    let (service, _stop) = serve(folder.path(), vec![host.clone()]).await;
    let client =
        ask(folder.path(), "/api/v1/images", &json!({"source": format!("docker://{host}/x:1")})).await;
    is_left_with(client, told).await;
    assert_eq!(*service.builds().borrow(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_watched_tells_ten_times_a_second_and_ends_with_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let (host, told) = registry();
    let (_service, _stop) = serve(folder.path(), vec![host.clone()]).await;
    let body = json!({"source": format!("docker://{host}/x:1")});
    let client = ask(folder.path(), "/api/v1/images?progress=true", &body).await;
    let mut lines = tokio::io::BufReader::new(client).lines();
    let mut next = async || loop {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        if line.contains(&"0".repeat(64)) {
            return line;
        }
    };
    next().await;
    let start = std::time::Instant::now();
    for _ in 0..5 {
        let line: Value = serde_json::from_str(&next().await).unwrap();
        assert_eq!(line["items"].as_array().unwrap().len(), 1, "{line}");
    }
    // The first may have been waiting.
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    drop(lines);
    let words =
        tokio::task::spawn_blocking(move || [told.recv_timeout(PATIENCE), told.recv_timeout(PATIENCE)]);
    assert_eq!(words.await.unwrap(), [Ok("asked"), Ok("left")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_ends_with_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let (host, told) = registry();
    let (_service, _stop) = serve(folder.path(), Vec::new()).await;
    let source =
        json!({"location": format!("http://{host}/disk"), "format": "raw", "sha256": "0".repeat(64)});
    let client = ask(folder.path(), "/api/v1/volumes", &json!({"name": "v", "source": source})).await;
    is_left_with(client, told).await;
    assert_eq!(fs::read_dir(folder.path().join("state/volumes")).unwrap().count(), 0);
}
