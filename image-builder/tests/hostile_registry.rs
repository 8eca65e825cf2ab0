//! Pulls from registries, mirrors and token servers that mean harm or fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};

use serde_json::{Value, json};
use support::hostile::{blobs, manifest, serve};
use support::layout::{INDEX, Layer, Layout, MANIFEST};
use support::server::{Server, answer, head, until_closed};
use support::{bulkhead_image, tree};

fn layout(folder: &Path) -> Layout {
    let file = |name: &str, size: usize| {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 31 + at / 251) as u8).collect();
        Layer::new().file(name, &bytes).finish()
    };
    Layout::with_layers(folder, &[file("a", 500_000), file("b", 1000)])
}

/// A test's folder with a layout in it.
struct Place {
    folder: tempfile::TempDir,
    layout: Layout,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        Self { folder, layout }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn arguments(&self, server: &Server, flags: &[&str]) -> Vec<String> {
        let reference = format!("{}/x:1", server.address);
        let store = self.store().display().to_string();
        let words = ["pull", &reference, "--plain-http", "--store", &store];
        words.iter().chain(flags).map(|word| (*word).to_owned()).collect()
    }

    fn pull(&self, server: &Server, flags: &[&str]) -> Output {
        let arguments = self.arguments(server, flags);
        bulkhead_image(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn spawn(&self, server: &Server) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead-image"));
        let command = command.args(self.arguments(server, &[])).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn refused(&self, server: &Server, flags: &[&str]) -> String {
        let output = self.pull(server, flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    /// Every blob is in the store, and nothing partial.
    fn is_whole(&self) {
        for digest in blobs(&self.layout) {
            let ours = fs::read(self.store().join("blobs/sha256").join(&digest[7..])).unwrap();
            assert_eq!(ours, fs::read(self.layout.blob_path(&digest)).unwrap());
        }
        assert!(tree::names(&self.store().join("partial")).len() == 1);
    }
}

fn ok(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn documents_that_lie_are_refused() {
    let place = Place::new();
    let endless = serve(&place.layout, |asked, stream| {
        if asked.path.contains("manifests") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[b' '; 65536]).is_ok() {}
        }
        true
    });
    assert!(place.refused(&endless, &[]).contains("is larger than 4194304 bytes"));

    let document = |text: Value, kind: &'static str| {
        let bytes = text.to_string();
        Server::new(move |_, stream| answer(stream, 200, &[("Content-Type", kind)], bytes.as_bytes()))
    };
    let (_, honest) = manifest(&place.layout);
    let mut both: Value = serde_json::from_slice(&honest).unwrap();
    both["manifests"] = json!([]);
    assert!(place.refused(&document(both, MANIFEST), &[]).contains("an index and a manifest at once"));
    let plain: Value = serde_json::from_slice(&honest).unwrap();
    assert!(place.refused(&document(plain.clone(), INDEX), &[]).contains("an index by its type"));
    let first = json!({"schemaVersion": 1, "fsLayers": [], "history": []});
    assert!(place.refused(&document(first, MANIFEST), &[]).contains("schemaVersion is not 2"));
    let mut huge = plain.clone();
    huge["layers"][0]["size"] = json!(u64::MAX);
    assert!(place.refused(&document(huge, MANIFEST), &[]).contains("larger than any image"));
    let mut large = plain;
    large["config"]["size"] = json!(5 << 20);
    assert!(place.refused(&document(large, MANIFEST), &[]).contains("larger than 4194304 bytes"));
    let other = serve(&place.layout, |asked, stream| {
        asked.path.contains("manifests") && {
            let digest = format!("sha256:{}", "1".repeat(64));
            answer(stream, 200, &[("Docker-Content-Digest", &digest)], b"{}");
            true
        }
    });
    assert!(place.refused(&other, &[]).contains("does not match its digest"));
    assert_eq!(fs::read_dir(place.store().join("references")).unwrap().count(), 0);
}

#[test]
fn blobs_that_lie_are_refused_and_not_kept() {
    let place = Place::new();
    let layer = blobs(&place.layout)[1].clone();
    let wrong = {
        let layer = layer.clone();
        let size = fs::metadata(place.layout.blob_path(&layer)).unwrap().len();
        serve(&place.layout, move |asked, stream| {
            asked.path.ends_with(&layer) && {
                answer(stream, 200, &[], &vec![b'x'; size as usize]);
                true
            }
        })
    };
    assert!(place.refused(&wrong, &[]).contains("does not match its digest"));
    let longer = {
        let layer = layer.clone();
        serve(&place.layout, move |asked, stream| {
            asked.path.ends_with(&layer) && {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                while stream.write_all(&[0; 65536]).is_ok() {}
                true
            }
        })
    };
    assert!(place.refused(&longer, &[]).contains("is larger than"));
    assert!(!place.store().join("blobs/sha256").join(&layer[7..]).exists());
    // What came of it is found out with the next source, and does no harm.
    let honest = serve(&place.layout, |_, _| false);
    ok(&place.pull(&honest, &[]));
    place.is_whole();
}

#[test]
fn what_breaks_off_is_taken_up_where_it_ended() {
    let place = Place::new();
    let layer = blobs(&place.layout)[1].clone();
    let bytes = fs::read(place.layout.blob_path(&layer)).unwrap();
    let half = bytes.len() / 2;
    let served = Arc::new(AtomicUsize::new(0));
    let breaking = {
        let (layer, served, broken) = (layer.clone(), served.clone(), AtomicBool::new(false));
        serve(&place.layout, move |asked, stream| {
            if !asked.path.ends_with(&layer) || broken.swap(true, Ordering::SeqCst) {
                return false;
            }
            head(stream, 200, &[], bytes.len() as u64);
            let _ = stream.write_all(&bytes[..half]);
            served.fetch_add(half, Ordering::SeqCst);
            true
        })
    };
    ok(&place.pull(&breaking, &[]));
    place.is_whole();
    let ranges: Vec<_> = breaking.asked().into_iter().filter(|asked| asked.path.ends_with(&layer)).collect();
    assert_eq!(ranges.len(), 2);
    assert_eq!(ranges[1].header("range"), Some(format!("bytes={half}-").as_str()));

    // Without a byte it is given up.
    let place = Place::new();
    let folder = place.layout.0.join("blobs/sha256");
    let empty = serve(&place.layout, move |asked, stream| {
        let Some(digits) = asked.path.strip_prefix("/v2/x/blobs/sha256:") else { return false };
        head(stream, 200, &[], fs::metadata(folder.join(digits)).unwrap().len());
        true
    });
    assert!(place.refused(&empty, &[]).contains("cannot be read to its end"));
}

#[test]
fn a_killed_pull_is_taken_up_too() {
    let place = Place::new();
    let layer = blobs(&place.layout)[1].clone();
    let bytes = fs::read(place.layout.blob_path(&layer)).unwrap();
    let half = bytes.len() / 2;
    let (sender, receiver) = mpsc::channel();
    let first = AtomicBool::new(true);
    let server = {
        let layer = layer.clone();
        serve(&place.layout, move |asked, stream| {
            if !asked.path.ends_with(&layer) || !first.swap(false, Ordering::SeqCst) {
                return false;
            }
            head(stream, 200, &[], bytes.len() as u64);
            let _ = stream.write_all(&bytes[..half]);
            sender.send(()).unwrap();
            until_closed(stream);
            true
        })
    };
    let mut child = place.spawn(&server);
    receiver.recv().unwrap();
    // What was sent is in the file when the file has that size.
    let partial = place.store().join("partial").join(&layer[7..]);
    while fs::metadata(&partial).map_or(0, |file| file.len()) < half as u64 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ok(&place.pull(&server, &[]));
    place.is_whole();
    let last = server.asked().into_iter().rfind(|asked| asked.path.ends_with(&layer)).unwrap();
    assert_eq!(last.header("range"), Some(format!("bytes={half}-").as_str()));
}

#[test]
fn a_lie_about_the_rest_is_refused() {
    for range in ["bytes 0-9/10", "bytes 100-200/9999999", "bytes 5-4/3", "everything"] {
        let place = Place::new();
        let layer = blobs(&place.layout)[1].clone();
        let lying = {
            let layer = layer.clone();
            serve(&place.layout, move |asked, stream| {
                if !asked.path.ends_with(&layer) {
                    return false;
                }
                match asked.header("range") {
                    Some(_) => answer(stream, 206, &[("Content-Range", range)], b"0123456789"),
                    None => {
                        head(stream, 200, &[], 100_000);
                        let _ = stream.write_all(&[1; 1000]);
                    }
                }
                true
            })
        };
        let error = place.refused(&lying, &[]);
        assert!(error.contains("another piece") || error.contains("does not match its size"), "{error}");
        ok(&place.pull(&serve(&place.layout, |_, _| false), &[]));
        place.is_whole();
    }
}

#[test]
fn silence_has_an_end() {
    let place = Place::new();
    let silent = serve(&place.layout, |asked, stream| {
        asked.path.contains("manifests") && {
            head(stream, 200, &[], 1000);
            until_closed(stream);
            true
        }
    });
    assert!(place.refused(&silent, &["--timeout", "1"]).contains("cannot be read to its end"));
}

#[test]
fn two_pulls_at_once_fetch_each_blob_once() {
    let place = Place::new();
    let seen = Arc::new((Mutex::new(0), Condvar::new()));
    let server = serve(&place.layout, move |asked, _| {
        let (count, changed) = &*seen;
        let mut count = count.lock().unwrap();
        if asked.path.contains("manifests") {
            *count += 1;
            changed.notify_all();
        } else {
            // Nobody gets a blob before both have begun.
            drop(changed.wait_while(count, |count| *count < 2).unwrap());
        }
        false
    });
    let pulls = [place.spawn(&server), place.spawn(&server)];
    for pull in pulls {
        ok(&pull.wait_with_output().unwrap());
    }
    place.is_whole();
    for digest in blobs(&place.layout) {
        assert_eq!(server.count("GET", &format!("/v2/x/blobs/{digest}")), 1, "{digest}");
    }
}

/// `me:secret`.
const BASIC: &str = "Basic bWU6c2VjcmV0";

#[test]
fn a_token_is_fetched_with_credentials_and_used_without_them() {
    let place = Place::new();
    let realm = Server::new(|asked, stream| match asked.header("authorization") {
        Some(BASIC) => answer(stream, 200, &[], br#"{"token": "t0ken", "expires_in": 60}"#),
        _ => answer(stream, 401, &[], b""),
    });
    let challenge = format!(r#"Bearer realm="{}",service="a registry""#, realm.url("/token"));
    let server = serve(&place.layout, move |asked, stream| {
        asked.header("authorization") != Some("Bearer t0ken") && {
            answer(stream, 401, &[("WWW-Authenticate", &challenge)], b"{}");
            true
        }
    });
    let denied = place.refused(&server, &["--creds", "me:wrong"]);
    assert!(denied.contains("denies a token for repository:x:pull") && !denied.contains("wrong"), "{denied}");
    ok(&place.pull(&server, &["--creds", "me:secret"]));
    place.is_whole();
    assert!(
        server
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none_or(|value| value == "Bearer t0ken"))
    );
    assert_eq!(realm.asked()[0].path, "/token?service=a%20registry&scope=repository%3Ax%3Apull");
}

#[test]
fn nobody_else_gets_credentials() {
    let place = Place::new();
    let layer = blobs(&place.layout)[1].clone();
    let thief = Server::new(|_, stream| answer(stream, 200, &[], br#"{"token": "t"}"#));
    // Where layers really are, it says.
    let realm = format!(r#"Bearer realm="{}""#, thief.url("/"));
    let elsewhere = Server::new(move |_, stream| {
        answer(stream, 401, &[("WWW-Authenticate", &realm), ("WWW-Authenticate", "Basic realm=x")], b"");
    });
    let there = elsewhere.url("/blob");
    let server = serve(&place.layout, move |asked, stream| {
        let signed = asked.header("authorization") == Some(BASIC);
        match (signed, asked.path.ends_with(&layer)) {
            (false, _) => answer(stream, 401, &[("WWW-Authenticate", "Basic realm=x")], b"{}"),
            (true, true) => answer(stream, 307, &[("Location", &there)], b""),
            (true, false) => return false,
        }
        true
    });
    let denied = place.refused(&server, &["--creds", "me:secret"]);
    assert!(denied.contains("status 401") && !denied.contains("secret"), "{denied}");
    assert!(thief.asked().is_empty());
    assert!(!elsewhere.asked().is_empty());
    assert!(elsewhere.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn a_mirror_is_asked_first_and_not_believed() {
    let place = Place::new();
    let server = serve(&place.layout, |_, _| false);
    let mirror = |url: String| format!("{}={url}", server.address);
    let honest = serve(&place.layout, |_, _| false);
    ok(&place.pull(&server, &["--mirror", &mirror(honest.url("")), "--creds", "me:secret"]));
    place.is_whole();
    assert!(server.asked().is_empty());
    assert!(honest.asked().iter().all(|asked| asked.header("authorization").is_none()));

    let failing = Server::new(|_, stream| answer(stream, 500, &[], b"{}"));
    let lying = serve(&place.layout, |asked, stream| {
        asked.path.contains("blobs") && {
            answer(stream, 200, &[], b"something else");
            true
        }
    });
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [failing.url(""), lying.url(""), format!("http://{closed}")] {
        let place = Place { layout: layout(place.folder.path()), folder: tempfile::tempdir().unwrap() };
        ok(&place.pull(&server, &["--mirror", &mirror(url)]));
        place.is_whole();
    }
}
