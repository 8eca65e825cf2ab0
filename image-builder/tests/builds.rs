//! Builds from a store that are killed, or go on at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;
use support::layout::{Layer, Layout, MANIFEST};
use support::server::{Server, answer};
use support::{bulkhead_image, tree};

fn layer(name: &str, size: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (0..size).map(|at| (at * 31 + at / 251) as u8).collect();
    Layer::new().file(name, &bytes).finish()
}

/// A registry that has manifests, each in a repository of its name, and all blobs of a layout; it gives none before as
/// many manifests were asked for as `begun` says.
fn registry(layout: Layout, manifests: Vec<(&'static str, Value)>, begun: usize) -> Server {
    let asked_for = Arc::new((Mutex::new(0), Condvar::new()));
    Server::new(move |asked, stream| {
        let (count, changed) = &*asked_for;
        let (front, name) = asked.path.rsplit_once('/').unwrap();
        if let Some(repository) = front.strip_suffix("/manifests") {
            let manifest = manifests.iter().find(|(name, _)| repository.ends_with(name)).unwrap();
            *count.lock().unwrap() += 1;
            changed.notify_all();
            answer(stream, 200, &[("Content-Type", MANIFEST)], manifest.1.to_string().as_bytes());
            return;
        }
        drop(changed.wait_while(count.lock().unwrap(), |count| *count < begun).unwrap());
        answer(stream, 200, &[], &fs::read(layout.blob_path(name)).unwrap());
    })
}

fn build(store: &Path, source: &str, output: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead-image"));
    command.args(["build", source, "--plain-http", "--store"]).arg(store).arg("--output").arg(output);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ok(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn two_builds_at_once_fetch_what_they_share_once() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let shared = [layer("base", 500_000), layer("more", 3000)];
    let one = layout.manifest(&[shared[0].clone(), shared[1].clone(), layer("one", 1000)]);
    let two = layout.manifest(&[shared[0].clone(), shared[1].clone(), layer("two", 2000)]);
    let layers = |manifest: &Value| -> Vec<String> {
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
    };
    let wanted: Vec<String> = layers(&one).into_iter().chain(layers(&two)).collect();
    let server = registry(layout, vec![("one", one), ("two", two)], 2);

    let path = |name: &str| folder.path().join(name);
    let source = |name: &str| format!("docker://{}/{name}:1", server.address);
    let builds = ["one", "two"].map(|name| build(&path("store"), &source(name), &path(name)));
    builds.into_iter().for_each(ok);
    for digest in wanted {
        let fetched = server.asked().iter().filter(|asked| asked.path.ends_with(&digest)).count();
        assert_eq!(fetched, 1, "{digest}");
    }
    for name in ["one", "two"] {
        let said = bulkhead_image(&["inspect", "--verify", "--files", &path(name).to_string_lossy()]);
        let files = String::from_utf8(said.stdout).unwrap();
        assert!(files.contains("/base") && files.contains(&format!("/{name}")), "{files}");
    }
}

#[test]
fn a_killed_build_leaves_the_store_as_it_was_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let manifest = layout.manifest(&[layer("a", 3_000_000), layer("b", 100_000), layer("c", 10)]);
    let server = registry(layout, vec![("app", manifest)], 1);
    let (store, output) = (folder.path().join("store"), folder.path().join("output"));
    fs::create_dir(&output).unwrap();
    let reference = format!("{}/app:1", server.address);
    let pulled =
        bulkhead_image(&["pull", &reference, "--plain-http", "--store", &store.display().to_string()]);
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));

    let source = format!("store:{reference}");
    let before = tree::names(&store);
    let mut killed = 0;
    for delay in (0..100).step_by(6) {
        let mut child = build(&store, &source, &output.join("image"));
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(tree::names(&store), before, "killed after {delay} ms");
        let left: Vec<_> = fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().path()).collect();
        if left.is_empty() {
            killed += 1;
            continue;
        }
        // It has its name when it is whole, and a name of its own is all that it ever has.
        assert_eq!(left, [output.join("image")], "killed after {delay} ms");
        let said = bulkhead_image(&["inspect", "--verify", &left[0].to_string_lossy()]);
        assert!(said.status.success(), "killed after {delay} ms: {}", String::from_utf8_lossy(&said.stderr));
        fs::remove_file(&left[0]).unwrap();
    }
    assert!(killed > 3, "{killed}");
    ok(build(&store, &source, &output.join("image")));
}
