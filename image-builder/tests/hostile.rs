//! Archives that mean harm: whatever is in them, nothing outside of the output changes, and nothing of a refused one
//! stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bulkhead_image::limits::Limits;
use bulkhead_image::{BuildOptions, Source};
use serde_json::json;
use support::layout::{Layer, Layout, MANIFEST};
use support::{Mounted, build, build_as, run, tree};
use tar::EntryType;

/// A folder in which everything but the output must stay as it is.
struct Canary {
    folder: tempfile::TempDir,
}

impl Canary {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in ["output", "canary/deep/er"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::write(path.join("canary/file"), "untouched").unwrap();
        fs::write(path.join("canary/deep/er/file"), "untouched").unwrap();
        symlink("../file", path.join("canary/deep/link")).unwrap();
        fs::set_permissions(path.join("canary/file"), fs::Permissions::from_mode(0o640)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Tries `attempt` and holds everything against what it was: names, content, modes, owners and times.
    fn unchanged<T>(&self, attempt: impl FnOnce(&Path) -> T) -> T {
        let canary = self.path("canary");
        let before = tree::seen(&canary);
        let result = attempt(&self.path("output/image"));
        assert_eq!(tree::seen(&canary), before);
        let left: Vec<_> = fs::read_dir(self.path("output")).unwrap().collect();
        for entry in left {
            // A whole image or nothing.
            let path = entry.unwrap().path();
            assert_eq!(path, self.path("output/image"));
            bulkhead_image::read_manifest(&path).unwrap();
            fs::remove_file(path).unwrap();
        }
        result
    }
}

fn build_with(source: &str, output: &Path, limits: &Limits) -> Result<(), String> {
    let source: Source = source.parse().unwrap();
    let options = BuildOptions { limits: limits.clone(), ..BuildOptions::default() };
    let built = bulkhead_image::build(&source, output, &options);
    built.map(drop).map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    })
}

/// Small limits, so that a bomb is one at little cost.
fn small() -> Limits {
    Limits { entries: 2000, data: 8 << 20, size: 1 << 30, memory: 1 << 20, depth: 64, ..Limits::default() }
}

/// CVE-2021-32760, CVE-2026-33056: a directory, a mode or a time reaches the host through a link.
#[test]
fn modes_and_times_do_not_go_through_links_to_the_host() {
    let canary = Canary::new();
    let target = canary.path("canary").to_string_lossy().into_owned();
    let first = Layer::new()
        .symlink("etc", &target)
        .symlink("up", "../../../../../../../../../../../..")
        .symlink("file", &format!("{target}/file"));
    let second = Layer::new()
        .directory("etc")
        .entry(EntryType::Regular, "file", "", b"changed")
        .file("up/tmp/x", b"x")
        .entry(EntryType::Link, "hard", "file", b"");
    let layout = Layout::with_layers(canary.folder.path(), &[first.finish(), second.finish()]);
    canary.unchanged(|output| build_with(&layout.source(), output, &Limits::default()).unwrap());
    let mounted = Mounted::new(&build(canary.folder.path(), &layout.source()));
    let etc = fs::symlink_metadata(mounted.path().join("etc")).unwrap();
    assert!(etc.is_dir() && etc.permissions().mode() & 0o7777 == 0o750);
    assert_eq!(fs::read(mounted.path().join("file")).unwrap(), b"changed");
    assert_eq!(fs::read(mounted.path().join("tmp/x")).unwrap(), b"x");
}

/// Every byte of the headers of a small archive, changed, and the archive cut at every block.
#[test]
fn headers_with_any_byte_changed_harm_nobody() {
    let canary = Canary::new();
    let bytes = Layer::new()
        .directory("etc")
        .pax(&[("path", b"etc/long"), ("SCHILY.xattr.user.x", b"y"), ("mtime", b"1.5")])
        .file("x", b"content")
        .symlink("link", "etc/long")
        .entry(EntryType::Link, "hard", "etc/long", b"")
        .finish();
    let archive = canary.path("archive.tar");
    let source = format!("tar:{}", archive.display());
    let limits = small();
    let (mut taken, mut refused) = (0, 0);
    let mut attempt = |bytes: &[u8], whole: bool| {
        fs::write(&archive, bytes).unwrap();
        let built = canary.unchanged(|output| build_with(&source, output, &limits));
        match built {
            Ok(()) => taken += 1,
            Err(text) => {
                assert_eq!(text.lines().count(), 1, "{text:?}");
                refused += 1;
            }
        }
        assert!(whole || refused > 0);
    };
    for length in (0..bytes.len() - 1024).step_by(512) {
        attempt(&bytes[..length], false);
    }
    for place in 0..bytes.len() - 1024 {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        attempt(&changed, true);
    }
    assert!(taken > 0 && refused > 1000, "{taken} taken, {refused} refused");
}

#[test]
fn bombs_end_at_their_limits_and_leave_nothing() {
    let canary = Canary::new();
    let zeros = |length: usize| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        (0..length >> 20).for_each(|_| gzip.write_all(&vec![0; 1 << 20]).unwrap());
        gzip.finish().unwrap()
    };
    let deep = "d/".repeat(65) + "f";
    let names: Vec<String> = (0..2001).map(|index| format!("n{index}")).collect();
    let many = names.iter().fold(Layer::new(), |layer, name| layer.file(name, b""));
    let value = vec![b'v'; 60_000];
    let attributes = (0..20).fold(Layer::new(), |layer, index| {
        layer.pax(&[("SCHILY.xattr.user.v", &value)]).file(&format!("a{index}"), b"")
    });
    let loops = Layer::new().symlink("a", "b/x").symlink("b", "a/x").file("a/y", b"");
    let growing =
        Layer::new().symlink("l0", "l1/l1/l1/l1/l1/l1/l1/l1").symlink("l1", "l0/l0/l0/l0/l0/l0/l0/l0");
    let sparse = Layer::new()
        .pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"8000000000000000")])
        .file("sparse", b"x");
    let large = Layer::new().file("zeros", &vec![1; 9 << 20]);
    for (bytes, expected) in [
        (zeros(64 << 20), "larger than 8388608 bytes uncompressed"),
        (
            Layer::new().pax(&[("path", deep.as_bytes())]).file("x", b"").finish(),
            "more than 64 directories deep",
        ),
        (many.finish(), "more than 2000 entries"),
        (attributes.finish(), "bytes of memory for entries"),
        (loops.finish(), "symbolic links"),
        (growing.file("l0/x", b"").finish(), "symbolic links"),
        (sparse.finish(), "bytes in one file"),
        (large.finish(), "8388608 bytes"),
    ] {
        let archive = canary.path("bomb.tar");
        fs::write(&archive, bytes).unwrap();
        let source = format!("tar:{}", archive.display());
        let text = canary.unchanged(|output| build_with(&source, output, &small())).unwrap_err();
        assert!(text.contains(expected), "{expected:?}: {text}");
    }
}

#[test]
fn names_of_any_bytes_are_told_in_one_line() {
    let canary = Canary::new();
    let longest = vec![b"n".repeat(255).as_slice(); 15].join(&b'/');
    assert_eq!(longest.len(), 3839);
    let layer = Layer::new()
        .pax(&[("path", b"new\nline\x1b[2J")])
        .file("x", b"1")
        .pax(&[("path", b"\xff\xfe not text")])
        .file("x", b"2")
        .pax(&[("path", &longest)])
        .file("x", b"3");
    let layout = Layout::with_layers(canary.folder.path(), &[layer.finish()]);
    let mounted = Mounted::new(&build(canary.folder.path(), &layout.source()));
    assert_eq!(fs::read(mounted.path().join("new\nline\x1b[2J")).unwrap(), b"1");
    assert_eq!(tree::seen(mounted.path()).len(), 1 + 2 + 15);
    for name in [&b"a\n/../\x1b[2Jb"[..], b"a\0b", &vec![b'n'; 4097], &vec![b'n'; 256], b"\n/..", b""] {
        let layer = Layer::new().pax(&[("path", name)]).file("x", b"");
        let layout = Layout::with_layers(canary.folder.path(), &[layer.finish()]);
        let text = canary.unchanged(|output| build_with(&layout.source(), output, &small())).unwrap_err();
        assert!(!text.contains(char::is_control) && text.len() < 1000, "{text:?}");
    }
}

/// CVE-2026-53488: words of an image become commands or paths of the host.
#[test]
fn an_image_s_configuration_is_data() {
    let canary = Canary::new();
    let target = canary.path("canary/created").to_string_lossy().into_owned();
    let words = [
        format!("$(touch {target})"),
        format!("`touch {target}`"),
        format!("; touch {target}; #"),
        target.clone(),
    ];
    let layout = Layout::new(canary.folder.path());
    let mut manifest = layout.manifest(&[]);
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {
            "Entrypoint": words, "Cmd": words, "Env": words, "WorkingDir": words[0], "User": words[1],
            "Labels": {"io.containerd.hook": words[0], "devices": words[3], words[2].clone(): "x"},
            "Volumes": {target.clone(): {}}, "StopSignal": words[2],
        },
        "hooks": {"prestart": [{"path": "/bin/touch", "args": [target]}]},
    });
    manifest["config"] = layout.blob_json("application/vnd.oci.image.config.v1+json", &config);
    layout.index(&[layout.blob_json(MANIFEST, &manifest)]);
    canary.unchanged(|output| build_with(&layout.source(), output, &Limits::default()).unwrap());
    let image = build(canary.folder.path(), &layout.source());
    let config = bulkhead_image::read_manifest(&image).unwrap().config;
    assert_eq!((&config.entrypoint[..], &config.cmd[..]), (&words[..], &words[..]));
    assert_eq!(config.labels["io.containerd.hook"], words[0]);
    assert!(!canary.path("canary/created").exists());
}

/// Nothing of what is built depends on who builds it.
#[test]
fn nobody_builds_the_same_bytes_as_root() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let layer = Layer::new()
        .entry(EntryType::Char, "char", "", b"")
        .pax(&[("SCHILY.xattr.trusted.x", b"y"), ("SCHILY.xattr.security.capability", b"\x01\0\0\x02")])
        .file("capable", b"x");
    let layout = Layout::with_layers(folder.path(), &[layer.finish()]);
    let program = folder.path().join("bulkhead-image");
    fs::copy(env!("CARGO_BIN_EXE_bulkhead-image"), &program).unwrap();
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    for format in ["erofs", "squashfs"] {
        let expected = build_as(folder.path(), &layout.source(), format);
        let output = own.join(format).to_string_lossy().into_owned();
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--no-new-privs",
        ]);
        command.arg(&program).args(["build", &layout.source(), "--format", format, "--output", &output]);
        let built = command.env_remove("SOURCE_DATE_EPOCH").output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        run("cmp", &[&output, &expected.to_string_lossy()]);
    }
}
