//! What is sent to a registry, and what is not since it is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use support::bulkhead_image;
use support::layout::{Layer, Layout};
use support::registry::{DockerRegistry, Wants};
use support::server::{Asked, Server, answer};

/// A registry that has one repository, `team/app`, with everything in it, and gives what is asked to be taken from there.
fn lender() -> Server {
    let there = Arc::new(Mutex::new(BTreeSet::new()));
    Server::new(move |asked: &Asked, stream| {
        let mut there = there.lock().unwrap();
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        match asked.method.as_str() {
            "HEAD" if there.contains(path.rsplit('/').next().unwrap()) => answer(stream, 200, &[], b""),
            "HEAD" => answer(stream, 404, &[], b""),
            "POST" => {
                let digest =
                    query.strip_prefix("mount=").and_then(|query| query.strip_suffix("&from=team/app"));
                there.insert(digest.expect("a blob is asked for").to_owned());
                answer(stream, 201, &[("Location", "/")], b"");
            }
            "PUT" if path.contains("/manifests/") => answer(stream, 201, &[], b""),
            _ => answer(stream, 405, &[], b""),
        }
    })
}

#[test]
fn what_a_registry_has_is_not_sent() {
    let registry = DockerRegistry::new(Wants::default());
    let folder = tempfile::tempdir().unwrap();
    let layers = ["a", "b", "c", "d", "e"].map(|name| Layer::new().file(name, name.as_bytes()).finish());
    let layout = Layout::with_layers(folder.path(), &layers);
    let store = folder.path().join("store").display().to_string();
    let image = |words: &[&str]| {
        let said = bulkhead_image(&[words, &["--plain-http", "--store", &store]].concat());
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    };
    // Six blobs, first from another place, and once more.
    let lender = lender();
    let sent = |method: &str| lender.asked().iter().filter(|asked| asked.method == method).count();
    let host = lender.address.to_string();
    // What was pulled is known to be there: under the lender's name, so the real registry stands in for it.
    let mirror = format!("{host}=http://{}", registry.host);
    let (app, copy) = (format!("{host}/team/app:1"), format!("{host}/team/copy:1"));
    image(&["push", &layout.source(), &format!("{}/team/app:1", registry.host)]);
    image(&["pull", &app, "--mirror", &mirror]);
    image(&["push", &format!("store:{app}"), &copy]);
    assert_eq!((sent("HEAD"), sent("POST"), sent("PUT")), (6, 6, 1));
    image(&["push", &format!("store:{app}"), &copy]);
    assert_eq!((sent("HEAD"), sent("POST"), sent("PUT")), (12, 6, 2));
}
