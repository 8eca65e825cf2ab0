//! Bad and hostile input: one sentence that names the thing, a status that is not zero, nothing left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::layout::{INDEX, Layer, Layout, MANIFEST};
use support::{build, bulkhead_image, refusal, tree};
use tar::EntryType;

/// The sentence with which `bulkhead-image build SOURCE` is refused.
fn build_refusal(folder: &Path, source: &str) -> String {
    let output = folder.join("output/image");
    fs::create_dir_all(folder.join("output")).unwrap();
    refusal(&["build", source, "--output", &output.to_string_lossy()], folder)
}

fn layer() -> Vec<u8> {
    Layer::new().directory("etc").file("etc/passwd", &[b'x'; 3000]).finish()
}

#[test]
fn hostile_layers_are_refused_and_nothing_on_the_host_changes() {
    let folder = tempfile::tempdir().unwrap();
    let canary = folder.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "untouched").unwrap();
    let out = canary.to_string_lossy().into_owned();
    let long = "n".repeat(256);
    let path = "d/".repeat(2100);
    let cases = [
        (Layer::new().file("../escape", b"x"), "\"../escape\": its name leads through '..'"),
        (Layer::new().file("a/../../escape", b"x"), "its name leads through '..'"),
        (
            Layer::new().entry(EntryType::Link, "x", "../../etc/shadow", b""),
            "its link target leads through '..'",
        ),
        (
            Layer::new().entry(EntryType::Link, "x", "/etc/shadow", b""),
            "hard link to \"/etc/shadow\", which does not",
        ),
        (Layer::new().symlink(".", "/etc"), "only a directory can be the root"),
        (Layer::new().file(".wh...", b""), "it is a whiteout of no name"),
        (Layer::new().pax(&[("path", b"a\0b")]).file("x", b""), "its name contains a NUL character"),
        (Layer::new().pax(&[("path", long.as_bytes())]).file("x", b""), "its name is longer than 255 bytes"),
        (Layer::new().pax(&[("path", path.as_bytes())]).file("x", b""), "its name is longer than 4096 bytes"),
        (Layer::new().pax(&[("uid", b"4294967295")]).file("x", b""), "its owner is not a number in range"),
        (Layer::new().pax(&[("path", b"")]).file("x", b""), "its name is empty"),
        (Layer::new().entry(EntryType::new(b'M'), "x", "", b""), "it has the unknown type 'M'"),
        (Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", b""), "more than 40 symbolic links"),
    ];
    let base = Layer::new().symlink("link", &out).finish();
    let before = tree::names(&canary);
    for (hostile, expected) in cases {
        let layout = Layout::with_layers(folder.path(), &[base.clone(), hostile.finish()]);
        let text = build_refusal(folder.path(), &layout.source());
        assert!(
            text.starts_with("Cannot apply layer 2: Cannot take its entry ") && text.contains(expected),
            "{text}"
        );
    }
    // Through a link that points at the host: stays in the root.
    let through =
        Layer::new().file("link/file", b"changed").file("link/new", b"x").directory("link").finish();
    let layout = Layout::with_layers(folder.path(), &[base, through]);
    let other = tempfile::tempdir().unwrap();
    build(other.path(), &layout.source());
    assert_eq!(tree::names(&canary), before);
}

#[test]
fn blobs_that_are_not_what_they_are_called_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::with_layers(folder.path(), &[layer(), layer()]);
    for entry in fs::read_dir(layout.0.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let text = build_refusal(folder.path(), &layout.source());
        assert_eq!(text, format!("The content of blobs/sha256/{name} does not match its digest"));
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        let text = build_refusal(folder.path(), &layout.source());
        assert_eq!(text, format!("The content of blobs/sha256/{name} does not match its size"));
        fs::remove_file(&path).unwrap();
        let text = build_refusal(folder.path(), &layout.source());
        assert!(text.starts_with(&format!("Cannot read blobs/sha256/{name} of ")), "{text}");
        fs::write(&path, &good).unwrap();
    }
    build(folder.path(), &layout.source());
}

#[test]
fn a_layer_that_is_not_the_configured_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let mut manifest = layout.manifest(&[layer()]);
    manifest["layers"][0] = layout.blob("application/vnd.oci.image.layer.v1.tar", &Layer::new().finish());
    layout.index(&[layout.blob_json(MANIFEST, &manifest)]);
    let text = build_refusal(folder.path(), &layout.source());
    assert!(text.ends_with("does not match its uncompressed digest (diff_id)"), "{text}");
}

#[test]
fn ambiguous_and_malformed_documents_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let manifest = layout.manifest(&[layer()]);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        layout.index(&[layout.blob_json(MANIFEST, &manifest)]);
        build_refusal(folder.path(), &layout.source())
    };
    let refused = |change: &dyn Fn(&mut Value), expected: &str| {
        let text = changed(change);
        assert!(text.contains(expected), "{text}");
    };
    refused(&|manifest| manifest["manifests"] = json!([]), "it is an index and a manifest at once");
    refused(&|manifest| manifest["schemaVersion"] = json!(1), "its schemaVersion is not 2");
    refused(&|manifest| manifest["fsLayers"] = json!([]), "its schemaVersion is not 2");
    refused(
        &|manifest| drop(manifest.as_object_mut().unwrap().remove("layers")),
        "no configuration or no layers",
    );
    refused(&|manifest| manifest["layers"] = json!([]), "it names 1 layers and the manifest 0");
    refused(&|manifest| manifest["layers"] = json!("x"), "invalid type");
    refused(&|manifest| manifest["layers"][0]["size"] = json!(-1), "invalid value");
    let traversal = "sha256:../../../../../../../../etc/passwd/.............................";
    refused(
        &|manifest| manifest["layers"][0]["digest"] = json!(traversal),
        "is not sha256 and 64 hexadecimal digits",
    );
    refused(
        &|manifest| manifest["config"]["digest"] = json!("sha512:00"),
        "is not sha256 and 64 hexadecimal digits",
    );
    let encrypted = "application/vnd.oci.image.layer.v1.tar+encrypted";
    refused(
        &|manifest| manifest["layers"][0]["mediaType"] = json!(encrypted),
        "is not that of a container image",
    );
    refused(&|manifest| manifest["padding"] = json!("x".repeat(5 << 20)), "is larger than 4194304 bytes");

    layout.index_document(&json!({"schemaVersion": 2, "manifests": [], "layers": []}));
    assert!(build_refusal(folder.path(), &layout.source()).contains("index and a manifest at once"));
    fs::write(layout.0.join("index.json"), "[".repeat(100_000)).unwrap();
    assert!(
        build_refusal(folder.path(), &layout.source())
            .starts_with("Cannot understand the document index.json")
    );
    fs::write(layout.0.join("index.json"), r#"{"manifests":[],"manifests":[]}"#).unwrap();
    assert!(build_refusal(folder.path(), &layout.source()).contains("duplicate field"));
}

#[test]
fn the_wrong_image_is_refused_and_the_right_one_found() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path());
    let mut one = layout.blob_json(MANIFEST, &layout.manifest(&[layer()]));
    let mut two = layout.blob_json(MANIFEST, &layout.manifest(&[Layer::new().finish()]));
    one["annotations"] = json!({"org.opencontainers.image.ref.name": "one"});
    two["annotations"] = json!({"org.opencontainers.image.ref.name": "two"});
    layout.index(&[one.clone(), two.clone()]);
    let text = build_refusal(folder.path(), &layout.source());
    assert!(text.ends_with("holds no image without a tag; it holds: one, two"), "{text}");
    let text = build_refusal(folder.path(), &format!("{}:three", layout.source()));
    assert!(text.ends_with("holds no image \"three\"; it holds: one, two"), "{text}");
    build(folder.path(), &format!("{}:two", layout.source()));
    // Whoever makes an image does not write on the terminal of who uses it.
    two["annotations"] = json!({"org.opencontainers.image.ref.name": "\n\u{1b}[2J\u{202e}"});
    layout.index(&[one.clone(), two.clone()]);
    let text = build_refusal(folder.path(), &layout.source());
    assert!(text.ends_with(r"it holds: one, \n\u{1b}[2J\u{202e}"), "{text}");
    two["annotations"] = one["annotations"].clone();
    layout.index(&[one.clone(), two.clone()]);
    let text = build_refusal(folder.path(), &format!("{}:one", layout.source()));
    assert!(text.ends_with("two different images have that tag"), "{text}");

    one["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let foreign = layout.blob_json(INDEX, &json!({"schemaVersion": 2, "manifests": [one]}));
    layout.index(&[foreign]);
    assert_eq!(
        build_refusal(folder.path(), &layout.source()),
        "The image is for linux/arm64 and only linux/amd64 runs"
    );
    two["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let both = layout.blob_json(INDEX, &json!({"schemaVersion": 2, "manifests": [one, two]}));
    layout.index(&[both]);
    build(folder.path(), &layout.source());
}

#[test]
fn archives_cut_at_any_block_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::with_layers(folder.path(), &[layer(), layer()]);
    let (whole, cut) = (folder.path().join("whole.tar"), folder.path().join("cut.tar"));
    layout.archive(&whole);
    let bytes = fs::read(&whole).unwrap();
    fs::remove_dir_all(&layout.0).unwrap();
    let end = bytes.len() - 1024;
    for length in (0..=end).step_by(512).chain([100, end - 100]) {
        fs::write(&cut, &bytes[..length]).unwrap();
        let text = build_refusal(folder.path(), &format!("oci-archive:{}", cut.display()));
        assert!(text.starts_with("Cannot read the archive ") && text.contains("cut.tar"), "{length}: {text}");
    }
    let bytes = layer();
    for length in (0..=bytes.len() - 1024).step_by(512) {
        fs::write(&cut, &bytes[..length]).unwrap();
        let text = build_refusal(folder.path(), &format!("tar:{}", cut.display()));
        assert!(text.starts_with("Cannot apply layer 1"), "{length}: {text}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    support::run("mkfifo", &[&path("pipe")]);
    for source in [
        "tar:/nonexistent",
        "dir:/nonexistent",
        "oci:/nonexistent",
        "dir:/dev/null",
        "tar:/dev/zero",
        "tar:/",
    ] {
        let text = build_refusal(folder.path(), source);
        assert!(text.contains(source.split_once(':').unwrap().1), "{text}");
    }
    let text = build_refusal(folder.path(), &format!("docker-archive:{}", path("pipe")));
    assert!(text.ends_with("It is not a regular file"), "{text}");
    let text = build_refusal(folder.path(), "redis:7");
    assert!(text.starts_with("The source \"redis:7\" does not start with "), "{text}");
    // An image whose blob is a link out of it.
    let layout = Layout::with_layers(folder.path(), &[layer()]);
    fs::remove_file(layout.0.join("index.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", layout.0.join("index.json")).unwrap();
    assert!(build_refusal(folder.path(), &layout.source()).starts_with("Cannot read index.json of "));
}

#[test]
fn an_output_that_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::with_layers(folder.path(), &[layer()]);
    for output in [folder.path().to_string_lossy().into_owned(), "/nonexistent/image".to_owned()] {
        let text = refusal(&["build", &layout.source(), "--output", &output], folder.path());
        assert!(text.starts_with(&format!("Cannot write the image {output}")), "{text}");
    }
}

#[test]
fn built_images_that_are_cut_or_changed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::with_layers(folder.path(), &[layer()]);
    let image = build(folder.path(), &layout.source());
    let bytes = fs::read(&image).unwrap();
    let path = image.to_string_lossy().into_owned();
    assert!(bulkhead_image(&["inspect", "--verify", &path]).status.success());
    for length in (0..bytes.len()).step_by(512) {
        fs::write(&image, &bytes[..length]).unwrap();
        let text = refusal(&["inspect", &path], folder.path());
        assert!(text.contains(&path), "{text}");
    }
    // Every byte of what counts: the root, the manifest without its padding, the footer.
    let manifest = bytes.len() - 8192;
    let end = manifest + bytes[manifest..].iter().position(|byte| *byte == 0).unwrap();
    for place in (0..manifest)
        .step_by(61)
        .chain((manifest..end).step_by(7))
        .chain(bytes.len() - 4096..bytes.len() - 4032)
    {
        let mut changed = bytes.clone();
        changed[place] ^= 0x40;
        fs::write(&image, &changed).unwrap();
        let text = refusal(&["inspect", "--verify", &path], folder.path());
        assert!(text.contains(&path), "{place}: {text}");
    }
}
