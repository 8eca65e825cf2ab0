//! Trees of chance, written as EROFS: `fsck.erofs` is content and takes out of it what was put in, and so sees Linux.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::path::Path;

use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use support::layout::{Layer, Layout};
use support::{Mounted, build, run, tree};
use tar::EntryType;

/// How many trees are tried; the kernel mounts each of them.
const TREES: u32 = 24;

/// So many zeros become a hole.
const HOLE: u64 = 1 << 20;

/// What is put at a place.
#[derive(Debug, Clone)]
enum Entry {
    /// A file: how much data, then a hole, then data again.
    File(u16, u32, u16),
    Directory,
    Link(u16),
    Hard(u8),
    Device,
    Pipe,
}

/// An entry, where it is put (0: at the top), how long its name is, and its extended attribute's length.
type Placed = (Entry, u8, u8, Option<u16>);

fn entries() -> impl Strategy<Value = Vec<Placed>> {
    let entry =
        (0..40_u8, any::<u16>(), 1_000_000..1_100_000_u32).prop_map(|(kind, size, hole)| match kind {
            0 => Entry::File(size, hole, size % 5000),
            1..=9 => Entry::Directory,
            10..=14 => Entry::Link(size % 4095 + 1),
            15..=18 => Entry::Hard((size % 256) as u8),
            19 => Entry::Device,
            20 => Entry::Pipe,
            _ => Entry::File(size % 9000, 0, 0),
        });
    let xattr = proptest::option::weighted(0.2, 0..3500_u16);
    proptest::collection::vec((entry, any::<u8>(), 0..=240_u8, xattr), 1..120)
}

/// The layer of these entries.
fn layer(entries: &[Placed]) -> Layer {
    let (mut layer, mut directories, mut files) =
        (Layer::new().directory("./"), vec![String::new()], Vec::new());
    for (number, (entry, place, length, xattr)) in entries.iter().enumerate() {
        let parent = &directories[usize::from(*place) % directories.len()];
        let name = format!("{parent}{}{number}", "n".repeat(usize::from(*length)));
        // Longer paths cannot be looked at from outside.
        if name.len() > 3000 {
            continue;
        }
        let value = vec![b'v'; usize::from(xattr.unwrap_or_default())];
        let mut words: Vec<(&str, &[u8])> = vec![("path", name.as_bytes())];
        if xattr.is_some() && matches!(entry, Entry::File(..) | Entry::Directory) {
            words.push(("SCHILY.xattr.trusted.chance", &value));
        }
        layer = match entry {
            Entry::File(data, hole, end) => {
                files.push(name.clone());
                let bytes =
                    [vec![1; (*data).into()], vec![0; *hole as usize], vec![2; (*end).into()]].concat();
                layer.pax(&words).file("x", &bytes)
            }
            Entry::Directory => {
                directories.push(format!("{name}/"));
                layer.pax(&words).directory("x")
            }
            Entry::Link(length) => {
                let target = "t".repeat((*length).into());
                words.push(("linkpath", target.as_bytes()));
                layer.pax(&words).symlink("x", "y")
            }
            Entry::Hard(which) if !files.is_empty() => {
                words.push(("linkpath", files[usize::from(*which) % files.len()].as_bytes()));
                layer.pax(&words).entry(EntryType::Link, "x", "y", b"")
            }
            Entry::Hard(_) | Entry::Pipe => layer.pax(&words).entry(EntryType::Fifo, "x", "", b""),
            Entry::Device => layer.pax(&words).entry(EntryType::Char, "x", "", b""),
        };
    }
    layer
}

fn come_back(folder: &Path, entries: &[Placed]) {
    let layer = layer(entries).finish();
    let tar = folder.join("layer.tar");
    std::fs::write(&tar, &layer).unwrap();
    let expected = folder.join("expected");
    std::fs::create_dir(&expected).unwrap();
    let options = "--xattrs --xattrs-include=* --numeric-owner --delay-directory-restore -p -C";
    let words: Vec<_> = options.split(' ').collect();
    run("tar", &[&words[..], &[&expected.to_string_lossy(), "-xf", &tar.to_string_lossy()]].concat());
    let image = build(folder, &Layout::with_layers(folder, &[layer]).source());
    let taken = folder.join("taken");
    run("fsck.erofs", &[&format!("--extract={}", taken.display()), &image.to_string_lossy()]);
    let mounted = Mounted::new(&image);
    tree::assert_same(mounted.path(), &expected);
    // erofs-utils 1.5 takes neither attributes nor hard links out, and forgets the holes of files.
    let (taken, expected) = (tree::seen(&taken), tree::seen(&expected));
    assert!(taken.keys().eq(expected.keys()));
    for (path, expected) in expected.iter().filter(|(_, expected)| expected.size < HOLE) {
        let content = |seen: &tree::Seen| (seen.mode, seen.size, seen.content.clone());
        assert_eq!(content(&taken[path]), content(expected), "{}", path.display());
    }
}

#[test]
fn trees_of_chance_come_back() {
    let config = Config { failure_persistence: None, max_shrink_iters: 12, ..Config::with_cases(TREES) };
    // The same chance each time: what this finds tomorrow was there today.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let tried = runner.run(&entries(), |entries| {
        // Not on a tmpfs, which knows no user attributes on older kernels.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        come_back(folder.path(), &entries);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}
