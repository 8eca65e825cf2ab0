//! A registry of one repository, `x`, that serves a layout, and lies where a test has it lie.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;

use super::layout::{Layout, MANIFEST};
use super::server::{Asked, Server, answer};

/// The manifest of a layout, as it is stored.
pub fn manifest(layout: &Layout) -> (String, Vec<u8>) {
    let index: Value = serde_json::from_slice(&fs::read(layout.0.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let bytes = fs::read(layout.blob_path(&digest)).unwrap();
    (digest, bytes)
}

/// The digests of the configuration and the layers.
pub fn blobs(layout: &Layout) -> Vec<String> {
    let document: Value = serde_json::from_slice(&manifest(layout).1).unwrap();
    let layers = document["layers"].as_array().unwrap().iter();
    let digest = |blob: &Value| blob["digest"].as_str().unwrap().to_owned();
    [digest(&document["config"])].into_iter().chain(layers.map(digest)).collect()
}

/// Serves a layout. What `trick` answers is answered; it says so.
pub fn serve(
    layout: &Layout,
    trick: impl Fn(&Asked, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> Server {
    let folder = layout.0.join("blobs/sha256");
    let (_, document) = manifest(layout);
    Server::new(move |asked, stream| {
        if !trick(asked, stream) {
            honestly(&folder, &document, asked, stream);
        }
    })
}

fn honestly(folder: &Path, document: &[u8], asked: &Asked, stream: &mut TcpStream) {
    let path = asked.path.as_str();
    if path.starts_with("/v2/x/manifests/") {
        return answer(stream, 200, &[("Content-Type", MANIFEST)], document);
    }
    let digits = path.strip_prefix("/v2/x/blobs/sha256:").unwrap_or("none");
    let Ok(bytes) = fs::read(folder.join(digits)) else { return answer(stream, 404, &[], b"{}") };
    let from =
        asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match from {
        None => answer(stream, 200, &[], &bytes),
        Some(from) if from < bytes.len() => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            answer(stream, 206, &[("Content-Range", &range)], &bytes[from..]);
        }
        Some(_) => answer(stream, 416, &[("Content-Range", &format!("bytes */{}", bytes.len()))], b""),
    }
}
