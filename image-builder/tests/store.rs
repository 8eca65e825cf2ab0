//! What is kept, what is removed, and who may do so when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Output;
use std::sync::mpsc;
use std::thread;

use bulkhead_image::Reference;
use bulkhead_image::registry::{Registry, RegistryOptions};
use bulkhead_image::store::{Quiet, Store};
use support::bulkhead_image;
use support::hostile::{blobs, manifest, serve};
use support::layout::{Layer, Layout};

fn registry() -> Registry {
    Registry::new(RegistryOptions { plain_http: true, ..RegistryOptions::default() }).unwrap()
}

fn run(store: &Path, words: &[&str]) -> Output {
    bulkhead_image(&[words, &["--store", &store.to_string_lossy()]].concat())
}

fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_blob_is_kept_as_long_as_an_image_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let layer = |name: &str| Layer::new().file(name, name.as_bytes()).finish();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let layouts = [
        Layout::with_layers(&one, &[layer("shared"), layer("a")]),
        Layout::with_layers(&other, &[layer("shared"), layer("b")]),
    ];
    let store = Store::open(&path).unwrap();
    let references: Vec<Reference> = layouts
        .iter()
        .map(|layout| {
            let server = serve(layout, |_, _| false);
            let reference: Reference = format!("{}/x:1", server.address).parse().unwrap();
            store.pull(&registry(), &reference, &Quiet).unwrap();
            reference
        })
        .collect();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    assert!(run(&path, &["rm", &references[0].to_string()]).status.success());
    let there = |digest: &str| path.join("blobs/sha256").join(&digest[7..]).exists();
    let (gone, kept) = (blobs(&layouts[0]), blobs(&layouts[1]));
    assert_eq!(gone[1], kept[1], "both have the first layer");
    assert!(kept.iter().all(|digest| there(digest)) && there(&manifest(&layouts[1]).0));
    assert!(![&gone[0], &gone[2], &manifest(&layouts[0]).0].into_iter().any(|digest| there(digest)));
    assert!(complaint(&run(&path, &["rm", &references[0].to_string()])).contains("has no image"));
    assert!(run(&path, &["rm", &references[1].to_string()]).status.success());
    assert_eq!(fs::read_dir(path.join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn nothing_is_removed_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (path, outside) = (folder.path().join("store"), folder.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), b"kept").unwrap();
    let store = Store::open(&path).unwrap();
    symlink(outside.join("precious"), path.join("blobs/sha256").join("1".repeat(64))).unwrap();
    symlink(&outside, path.join("partial/folder")).unwrap();
    assert_eq!(store.collect().unwrap().blobs, 2);
    // A folder that is exchanged while the store is open is not followed, and not entered later.
    fs::rename(path.join("partial"), path.join("was")).unwrap();
    symlink(&outside, path.join("partial")).unwrap();
    store.collect().unwrap();
    assert!(complaint(&run(&path, &["gc"])).contains("Cannot open the store"));
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"kept");
}

#[test]
fn a_folder_that_others_may_write_to_is_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fs::create_dir(&path).unwrap();
    support::run("chmod", &["777", &path.to_string_lossy()]);
    assert!(complaint(&run(&path, &["ls"])).contains("others may write to it"));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn nothing_is_removed_while_somebody_pulls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let layout = Layout::with_layers(folder.path(), &[Layer::new().file("a", b"a").finish()]);
    let (arrived, arrivals) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let server = serve(&layout, move |asked, _| {
        if asked.path.contains("blobs") {
            arrived.send(()).unwrap();
            gone.lock().unwrap().recv().unwrap();
        }
        false
    });
    let reference: Reference = format!("{}/x:1", server.address).parse().unwrap();
    thread::scope(|scope| {
        let pull = scope.spawn(|| Store::open(&path).unwrap().pull(&registry(), &reference, &Quiet).unwrap());
        arrivals.recv().unwrap();
        assert!(complaint(&run(&path, &["gc"])).contains("is in use"));
        go.send(()).unwrap();
        arrivals.recv().unwrap();
        go.send(()).unwrap();
        pull.join().unwrap();
    });
    assert!(run(&path, &["gc"]).status.success());
    assert_eq!(fs::read_dir(path.join("blobs/sha256")).unwrap().count(), 3);
}

#[test]
fn a_damaged_record_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(Store::open(&path).unwrap());
    fs::write(path.join("blobs/sha256").join("1".repeat(64)), b"x").unwrap();
    fs::write(path.join("references").join("2".repeat(64)), b"{}").unwrap();
    assert!(complaint(&run(&path, &["gc"])).contains("is damaged"));
    assert_eq!(fs::read_dir(path.join("blobs/sha256")).unwrap().count(), 1);
}
