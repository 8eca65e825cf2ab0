//! What the tests share: layers and layouts written by hand, mounts, and trees to compare.
#![allow(dead_code, reason = "every test program uses a part of it")]

pub mod hostile;
pub mod layout;
pub mod registry;
pub mod server;
pub mod tree;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under test.
pub fn bulkhead_image(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bulkhead-image"))
        .args(arguments)
        .env_remove("SOURCE_DATE_EPOCH")
        .env("BULKHEAD_STORE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("store"))
        .output()
        .expect("bulkhead-image starts")
}

/// Builds and returns the path of the image.
pub fn build(folder: &Path, source: &str) -> PathBuf {
    build_as(folder, source, "erofs")
}

/// The same, with a file system by its name.
pub fn build_as(folder: &Path, source: &str, format: &str) -> PathBuf {
    let output = folder.join(if format == "erofs" { "image" } else { format });
    let words = ["build", source, "--format", format, "--output", &output.to_string_lossy()];
    let result = bulkhead_image(&words);
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    output
}

/// Expects a refusal, and returns its sentence. Nothing may appear where the output would have been.
pub fn refusal(arguments: &[&str], folder: &Path) -> String {
    let before = tree::names(folder);
    let result = bulkhead_image(arguments);
    assert_eq!(result.status.code(), Some(1), "{result:?}");
    assert_eq!(tree::names(folder), before, "something was left behind");
    let text = String::from_utf8(result.stderr).expect("a sentence is text");
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().strip_prefix("bulkhead-image: ").expect("the program says its name").to_owned()
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} is needed for this test and cannot be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file system, mounted read-only until the end of the test.
pub struct Mounted(tempfile::TempDir);

impl Mounted {
    /// EROFS, which its own checker is content with.
    pub fn new(image: &Path) -> Self {
        run("fsck.erofs", &[&image.to_string_lossy()]);
        Self::mount(image, "erofs")
    }

    pub fn squashfs(image: &Path) -> Self {
        Self::mount(image, "squashfs")
    }

    fn mount(image: &Path, kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().to_string_lossy().into_owned();
        // Needs root, like what it is compared with: owners cannot be seen otherwise.
        run("mount", &["-t", kind, "-o", "ro,loop", &image.to_string_lossy(), &target]);
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}
