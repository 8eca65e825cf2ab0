//! Pulls from a real registry, whose images another tool has pushed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use support::layout::{INDEX, Layer, Layout, MANIFEST};
use support::registry::{DockerRegistry, Wants};
use support::{bulkhead_image, run};

/// An image with layers of every compression, the second of them a lower one again.
fn layout(folder: &Path) -> Layout {
    let file = |name: &str, size: usize| {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 31 + at / 7) as u8).collect();
        Layer::new().file(name, &bytes).finish()
    };
    Layout::with_layers(folder, &[file("a", 300_000), file("b", 1000), file("c", 70_000), file("d", 5)])
}

fn image(store: &Path, arguments: &[&str]) -> Output {
    let store = store.to_string_lossy();
    bulkhead_image(&[arguments, &["--store", &store]].concat())
}

fn ok(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn what_skopeo_pushed_is_pulled_and_built_byte_by_byte() {
    let registry = DockerRegistry::new(Wants::default());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let layout = layout(folder.path());
    let reference = format!("{}/team/app:1", registry.host);
    registry.skopeo(&layout.source(), &format!("docker://{reference}"), &["--preserve-digests"]);

    let pulled = path("pulled.img").display().to_string();
    let source = format!("docker://{reference}");
    ok(image(&path("store"), &["build", &source, "--plain-http", "--output", &pulled]));
    let local = support::build(folder.path(), &layout.source());
    let verified = bulkhead_image(&["inspect", "--verify", &pulled]);
    assert!(ok(verified).contains(&format!("name          {reference:?}")));
    let root = |path: &Path| {
        let manifest: Value = serde_json::from_str(&run(
            env!("CARGO_BIN_EXE_bulkhead-image"),
            &["--json", "inspect", &path.to_string_lossy()],
        ))
        .unwrap();
        manifest["parts"]["root"].clone()
    };
    assert_eq!(root(Path::new(&pulled)), root(&local));
    for blob in fs::read_dir(layout.0.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let ours = path("store/blobs/sha256").join(blob.file_name());
        assert_eq!(fs::read(ours).unwrap(), fs::read(blob.path()).unwrap());
    }

    // Nothing but the store is needed any more.
    drop(registry);
    let again = path("again.img").display().to_string();
    ok(image(&path("store"), &["build", &format!("store:{reference}"), "--output", &again]));
    assert_eq!(fs::read(&again).unwrap(), fs::read(&pulled).unwrap());
    assert!(ok(image(&path("store"), &["ls"])).starts_with(&reference));
}

#[test]
fn an_image_is_looked_at_without_its_layers() {
    let registry = DockerRegistry::new(Wants::default());
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let layout = layout(folder.path());
    let remote = format!("docker://{}/team/app:1", registry.host);
    registry.skopeo(&layout.source(), &remote, &["--preserve-digests"]);

    let seen = ok(image(&store, &["--json", "inspect", &remote, "--plain-http"]));
    // The manifest and the configuration.
    assert_eq!(fs::read_dir(store.join("blobs/sha256")).unwrap().count(), 2);
    let theirs: Value =
        serde_json::from_str(&run("skopeo", &["inspect", "--tls-verify=false", &remote])).unwrap();
    let ours: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(ours["digest"], theirs["Digest"]);
    assert_eq!(ours["config"]["env"], theirs["Env"]);
    let layers: Vec<Value> =
        ours["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].clone()).collect();
    assert_eq!(Value::from(layers), theirs["Layers"]);

    assert_eq!(ok(image(&store, &["--json", "inspect", &layout.source()])), seen);
    ok(image(&store, &["pull", remote.trim_start_matches("docker://"), "--plain-http"]));
    assert_eq!(ok(image(&store, &["--json", "inspect", &remote.replace("docker://", "store:")])), seen);
    let text = ok(image(&store, &["inspect", &layout.source()]));
    assert!(
        text.contains(r#"entrypoint    "/bin/sh""#)
            && text.lines().filter(|line| line.starts_with("layer")).count() == 4,
        "{text}"
    );
    let nothing = complaint(image(&store, &["inspect", &format!("{remote}x"), "--plain-http"]));
    assert!(nothing.contains("has no manifest"), "{nothing}");
}

#[test]
fn images_of_dockers_second_schema_and_of_many_platforms_are_pulled() {
    let registry = DockerRegistry::new(Wants::default());
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let layers = [Layer::new().file("a", b"1").finish(), Layer::new().file("b", b"2").finish()];
    let layout = Layout::with_layers(folder.path(), &layers);
    let docker = format!("{}/docker:1", registry.host);
    registry.skopeo(&layout.source(), &format!("docker://{docker}"), &["--format", "v2s2"]);
    let pull = |reference: &str| -> Value {
        serde_json::from_str(&ok(image(&store, &["--json", "pull", reference, "--plain-http"]))).unwrap()
    };
    let pulled = pull(&docker);
    assert_eq!(pulled["digest"], pulled["manifest"]);
    assert_eq!(pulled["blobs"].as_array().unwrap().len(), 4);

    let mut platforms = Vec::new();
    for (architecture, layers) in [("arm64", &layers[..1]), ("amd64", &layers[..]), ("s390x", &layers[1..])] {
        let mut descriptor = layout.blob_json(MANIFEST, &layout.manifest(layers));
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        platforms.push(descriptor);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": platforms});
    layout.index(&[layout.blob_json(INDEX, &index)]);
    let many = format!("{}/many:1", registry.host);
    registry.skopeo(&layout.source(), &format!("docker://{many}"), &["--preserve-digests"]);
    let chosen = pull(&many);
    assert_eq!(format!("sha256:{}", chosen["manifest"].as_str().unwrap()), platforms[1]["digest"]);
    assert_ne!(chosen["digest"], chosen["manifest"]);

    // By its digest, with and without a tag.
    let digest = pulled["digest"].as_str().unwrap();
    for reference in
        [format!("{}/docker@sha256:{digest}", registry.host), format!("{docker}@sha256:{digest}")]
    {
        ok(image(&store, &["pull", &reference, "--plain-http"]));
    }
    let other = format!("{}/docker@sha256:{}", registry.host, "0".repeat(64));
    let error = complaint(image(&store, &["pull", &other, "--plain-http"]));
    assert!(error.contains("has no manifest docker:sha256:0000"), "{error}");
}

#[test]
fn passwords_are_asked_for_and_come_from_where_docker_keeps_them() {
    let registry = DockerRegistry::new(Wants { password: true, tls: true });
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let reference = format!("{}/x:1", registry.host);
    registry.skopeo(&layout.source(), &format!("docker://{reference}"), &["--dest-creds", "me:secret"]);
    let (store, ca) = (folder.path().join("store"), registry.authority().display().to_string());

    let untrusted = complaint(image(&store, &["pull", &reference, "--creds", "me:secret"]));
    assert!(untrusted.contains("UnknownIssuer") || untrusted.contains("certificate"), "{untrusted}");
    let denied = complaint(image(&store, &["pull", &reference, "--ca", &ca]));
    assert!(denied.contains("denies manifest x:1 (status 401, UNAUTHORIZED)"), "{denied}");
    let wrong = complaint(image(&store, &["pull", &reference, "--ca", &ca, "--creds", "me:wrong-password"]));
    assert!(wrong.contains("status 401") && !wrong.contains("wrong-password"), "{wrong}");
    ok(image(&store, &["pull", &reference, "--ca", &ca, "--creds", "me:secret"]));

    let docker = folder.path().join("docker");
    fs::create_dir(&docker).unwrap();
    let host = &registry.host;
    let file = format!(r#"{{"auths": {{"{host}": {{"auth": "bWU6c2VjcmV0"}}}}}}"#);
    fs::write(docker.join("config.json"), file).unwrap();
    let pull = |name: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_bulkhead-image"))
            .args(["pull", &reference, "--ca", &ca, "--store"])
            .arg(folder.path().join(name))
            .env("DOCKER_CONFIG", &docker)
            .env("PATH", format!("{}:{}", docker.display(), std::env::var("PATH").unwrap()))
            .env_remove("REGISTRY_AUTH_FILE")
            .env_remove("XDG_RUNTIME_DIR")
            .output()
            .unwrap()
    };
    ok(pull("by-file"));

    // A helper, which is told the registry's name.
    let helper = docker.join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\n[ \"$1 $(cat)\" = 'get {host}' ] && echo '{{\"Username\":\"me\",\"Secret\":\"secret\"}}' || exit 1\n"
    );
    fs::write(&helper, script).unwrap();
    run("chmod", &["755", &helper.to_string_lossy()]);
    fs::write(docker.join("config.json"), format!(r#"{{"credHelpers": {{"{host}": "test"}}}}"#)).unwrap();
    ok(pull("by-helper"));
    fs::write(&helper, "#!/bin/sh\necho hunter2 >&2; echo hunter2; exit 1\n").unwrap();
    let failed = complaint(pull("by-failing-helper"));
    assert!(failed.contains("docker-credential-test failed") && !failed.contains("hunter2"), "{failed}");
}

#[test]
fn what_is_pushed_others_read_byte_by_byte() {
    let registry = DockerRegistry::new(Wants { password: true, tls: true });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (layout, store) = (layout(folder.path()), folder.path().join("store"));
    let ca = registry.authority().display().to_string();
    let flags = ["--ca", ca.as_str(), "--creds", "me:secret"];
    let push = |source: &str, reference: &str| {
        let words = [&["--json", "push", source, reference], &flags[..]].concat();
        serde_json::from_str::<Value>(&ok(image(&store, &words))).unwrap()["digest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let denied = image(&store, &["push", &layout.source(), &format!("{}/no:1", registry.host), "--ca", &ca]);
    assert!(complaint(denied).contains("status 401"));

    let reference = format!("{}/team/app:1", registry.host);
    let digest = push(&layout.source(), &reference);
    let back = path("back");
    let remote = format!("docker://{reference}");
    registry.skopeo(&remote, &format!("oci:{back}:tag"), &["--preserve-digests", "--src-creds", "me:secret"]);
    let inspected =
        ["inspect", "--tls-verify=false", "--creds", "me:secret", "--format", "{{.Digest}}", &remote];
    assert_eq!(run("skopeo", &inspected).trim(), digest);
    for blob in fs::read_dir(layout.0.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let theirs = Path::new(&back).join("blobs/sha256").join(blob.file_name());
        assert_eq!(fs::read(theirs).unwrap(), fs::read(blob.path()).unwrap());
    }
    assert!(run("umoci", &["list", "--layout", &back]).contains("tag"));

    // From the store, under another name, and what docker save writes.
    ok(image(&store, &[&["pull", &reference], &flags[..]].concat()));
    assert_eq!(push(&format!("store:{reference}"), &format!("{}/other:2", registry.host)), digest);
    let saved = path("saved.tar");
    // Docker's archives know no zstd, so two layers without it.
    let layers = [Layer::new().file("a", b"1").finish(), Layer::new().file("b", b"2").finish()];
    let plain = Layout::with_layers(&folder.path().join("plain"), &layers);
    let archive = format!("docker-archive:{saved}:x:1");
    run("skopeo", &["--insecure-policy", "copy", &plain.source(), &archive]);
    push(&format!("docker-archive:{saved}"), &format!("{}/saved:1", registry.host));
    let source = format!("docker://{}/saved:1", registry.host);
    let built = path("built.img");
    ok(image(&store, &[&["build", &source, "--output", &built], &flags[..]].concat()));
}

#[test]
fn a_built_image_comes_back_as_it_was() {
    let registry = DockerRegistry::new(Wants::default());
    let folder = tempfile::tempdir().unwrap();
    let built = support::build(folder.path(), &layout(folder.path()).source());
    let store = folder.path().join("store");
    let reference = format!("{}/appliance:1", registry.host);
    ok(image(&store, &["push", &format!("file:{}", built.display()), &reference, "--plain-http"]));
    let raw = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{reference}")]);
    let manifest: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.bulkhead.container-root.v1");
    let back = folder.path().join("back.img");
    ok(image(&store, &["pull", &reference, "--plain-http", "--output", &back.to_string_lossy()]));
    assert_eq!(fs::read(&back).unwrap(), fs::read(&built).unwrap());
    let error = complaint(image(&store, &["pull", &reference, "--plain-http"]));
    assert!(error.contains("is not that of a container image"), "{error}");
}
