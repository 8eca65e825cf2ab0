//! What a build takes of memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;

use support::layout::Layer;
use support::run;

/// The memory for data of a program, in bytes.
const BASE: u64 = 20 << 20;

/// A tenth of what limits allow: entries beside one another and in folders of their own, with attributes.
#[test]
fn memory_stays_within_what_entries_are_charged() {
    let folder = tempfile::tempdir().unwrap();
    let name = |index| format!("{index:06}-{}", "n".repeat(30));
    let flat = (0..85_000).fold(Layer::new(), |layer, index| layer.file(&name(index), b""));
    let deep = (0..85_000).fold(Layer::new(), |layer, index| match index % 100 {
        0 => layer.directory(&format!("{index:06}")),
        _ => layer.file(&format!("{:06}/{}", index / 100 * 100, name(index)), b""),
    });
    let attributes = (0..32_000).fold(Layer::new(), |layer, index| {
        layer.pax(&[("SCHILY.xattr.user.note", b"n")]).file(&name(index), b"")
    });
    let limit = format!("--data={}", BASE + (232 << 20) / 10);
    for layer in [flat, deep, attributes] {
        let tar = folder.path().join("layer.tar");
        fs::write(&tar, layer.finish()).unwrap();
        let (source, output) = (format!("tar:{}", tar.display()), folder.path().join("image"));
        run(
            "prlimit",
            &[
                &limit,
                env!("CARGO_BIN_EXE_bulkhead-image"),
                "build",
                &source,
                "--output",
                &output.to_string_lossy(),
            ],
        );
        assert!(fs::metadata(output).unwrap().len() > 2 << 20);
    }
}
