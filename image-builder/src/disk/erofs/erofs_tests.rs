use std::collections::BTreeMap;

use super::*;
use crate::tree::{Attributes, Extent, Inode, ROOT};

fn inode(kind: Kind) -> Inode {
    Inode { attributes: Attributes::default(), kind }
}

fn written(tree: &Tree, bodies: &mut Bodies, limit: u64) -> Result<Vec<u8>, ErofsError> {
    bodies.flush()?;
    let file = tempfile::tempfile()?;
    let mut sink = Sink::new(&file).unwrap();
    let result = write(tree, bodies, 5, limit, &mut sink);
    sink.flush()?;
    let mut bytes = vec![0; usize::try_from(sink.position()).unwrap()];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    result.map(|()| bytes)
}

#[test]
fn the_superblock_says_what_there_is() {
    let mut bodies = Bodies::new(&std::env::temp_dir(), 1 << 20).unwrap();
    let mut tree = Tree::new();
    let whole = [Extent { offset: 0, length: 5000 }];
    let body = bodies.store(5000, &whole, &mut &[7; 5000][..]).unwrap();
    let file = tree.add(ROOT, b"file", 1, inode(Kind::File(body)));
    tree.link(ROOT, b"other", 1, file);
    tree.add(ROOT, b"gone", 1, inode(Kind::Fifo));
    tree.white_out(ROOT, b"gone", 2);
    let bytes = written(&tree, &mut bodies, 1 << 20).unwrap();
    // The first block with the superblock and both inodes, and one of the file's; its end is in line.
    assert_eq!(bytes.len(), 8192);
    let word = |offset: usize| u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap());
    assert_eq!((word(1024), word(1024 + 16), word(1024 + 24), word(1024 + 36)), (0xe0f5_e1e2, 2, 5, 2));
    assert_eq!(bytes[4096..], [7; 4096]);
}

#[test]
fn too_large_a_file_system_is_refused_before_it_is_written() {
    let mut bodies = Bodies::new(&std::env::temp_dir(), 1 << 20).unwrap();
    let mut tree = Tree::new();
    let whole = [Extent { offset: 0, length: 100_000 }];
    let body = bodies.store(100_000, &whole, &mut &[7; 100_000][..]).unwrap();
    tree.add(ROOT, b"file", 1, inode(Kind::File(body)));
    assert!(matches!(written(&tree, &mut bodies, 90_000), Err(ErofsError::TooLarge(90_000))));
    assert_eq!(written(&tree, &mut bodies, 110_000).unwrap().len(), 102_400);
}

#[test]
fn maps_of_chunks_bound_their_length() {
    let mut bodies = Bodies::new(&std::env::temp_dir(), 1 << 20).unwrap();
    let mut tree = Tree::new();
    for (index, size) in [1 << 30, 1 << 40, 8 << 40].into_iter().enumerate() {
        let map = [Extent { offset: size - 3, length: 3 }];
        let body = bodies.store(size, &map, &mut &b"end"[..]).unwrap();
        tree.add(ROOT, &[b'a' + u8::try_from(index).unwrap()], 1, inode(Kind::File(body)));
    }
    let bytes = written(&tree, &mut bodies, 1 << 30).unwrap();
    // Three maps of 1 MiB, chunks of 4 KiB, 4 MiB and 32 MiB.
    assert_eq!(bytes.len() >> 20, 3 + 4 + 32);
    let directory = inode(Kind::Directory(BTreeMap::new()));
    assert_eq!(tree.add(ROOT, b"z", 1, directory), 4);
}
