//! Layers become a root, and a root is what was in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};

use bulkhead_image::disk::{Sink, erofs};
use bulkhead_image::limits::Limits;
use bulkhead_image::oci::layer::Assembly;
use bulkhead_image::root_reader::{DIRECTORY, KIND, REGULAR, RootReadError, RootReader, SYMLINK};
use bulkhead_image::tree::{Bodies, InodeId, Kind, ROOT, Xattrs};

/// Small ones, so that they are met.
fn limits() -> Limits {
    Limits {
        entries: 200,
        depth: 20,
        path: 400,
        memory: 256 << 10,
        data: 1 << 20,
        size: 16 << 20,
        ..Limits::default()
    }
}

/// What is compared of an inode: mode with its kind, owner, size, content, attributes, and the first path of it.
type Seen = (u16, (u32, u32), u64, Vec<u8>, Xattrs, Vec<u8>);

/// Applies a layer; what is taken keeps the limits, is written as EROFS, and read back as it was.
pub fn layer(bytes: &[u8]) {
    let limits = limits();
    let Ok(bodies) = Bodies::new(&std::env::temp_dir(), limits.data) else { return };
    let mut assembly = Assembly::new(bodies, &limits);
    let taken = assembly.apply(1, bytes);
    // Directories that no entry describes come on top, one entry's at most.
    assert!(
        assembly.tree.len() as u64 <= limits.entries + 2 * limits.depth as u64,
        "{}",
        assembly.tree.len()
    );
    if taken.is_err() || assembly.bodies.flush().is_err() {
        return;
    }
    let Ok(mut file) = tempfile::tempfile() else { return };
    let Ok(mut sink) = Sink::new(&file) else { return };
    if erofs::write(&assembly.tree, &assembly.bodies, 0, limits.size, &mut sink).is_err()
        || sink.flush().is_err()
    {
        return;
    }
    let size = sink.position();
    drop(sink);
    assert!(file.rewind().is_ok());
    let read = read(file, size, &limits);
    let expected = expected(&assembly);
    assert_eq!(read.as_ref().ok(), Some(&expected), "{read:?}");
}

/// Reads bytes as a root: whatever they are, reading ends.
pub fn erofs(bytes: &[u8]) {
    let Ok(mut file) = tempfile::tempfile() else { return };
    if file.write_all(bytes).is_ok() {
        let _ = read(file, bytes.len() as u64, &limits());
    }
}

fn read(file: File, size: u64, limits: &Limits) -> Result<BTreeMap<Vec<u8>, Seen>, RootReadError> {
    let reader = RootReader::open(file, 0, size)?;
    let (mut seen, mut first) = (BTreeMap::new(), BTreeMap::new());
    reader.walk(limits, |path, inode| {
        let content = match inode.mode & KIND {
            REGULAR | SYMLINK => reader.content(inode, limits.size)?.unwrap_or_default(),
            _ => Vec::new(),
        };
        let size = if inode.mode & KIND == DIRECTORY { 0 } else { inode.size };
        let one = first.entry(inode.id).or_insert_with(|| path.to_vec()).clone();
        let owner = (inode.uid, inode.gid);
        seen.insert(path.to_vec(), (inode.mode, owner, size, content, inode.xattrs.clone(), one));
        Ok::<(), RootReadError>(())
    })?;
    Ok(seen)
}

fn expected(assembly: &Assembly<'_>) -> BTreeMap<Vec<u8>, Seen> {
    let (mut seen, mut first) = (BTreeMap::new(), BTreeMap::new());
    let mut todo: Vec<(Vec<u8>, InodeId)> = vec![(Vec::new(), ROOT)];
    while let Some((path, id)) = todo.pop() {
        let inode = assembly.tree.inode(id);
        let (kind, content) = match &inode.kind {
            Kind::Directory(entries) => {
                let between: &[u8] = if path.is_empty() { b"" } else { b"/" };
                let below = |name: &[u8]| [&path, between, name].concat();
                todo.extend(entries.iter().rev().map(|(name, entry)| (below(name), entry.inode)));
                (DIRECTORY, Vec::new())
            }
            Kind::File(body) => {
                let mut content = vec![0; usize::try_from(body.size).unwrap_or_default()];
                let read = assembly.bodies.read(body, 0, &mut content);
                assert!(read.is_ok(), "{read:?}");
                (REGULAR, content)
            }
            Kind::Symlink(target) => (SYMLINK, target.to_vec()),
            Kind::CharacterDevice(_) => (0o020_000, Vec::new()),
            Kind::BlockDevice(_) => (0o060_000, Vec::new()),
            Kind::Fifo => (0o010_000, Vec::new()),
            Kind::Socket => (0o140_000, Vec::new()),
        };
        let attributes = &inode.attributes;
        let one = first.entry(id).or_insert_with(|| path.clone()).clone();
        let owner = (attributes.uid, attributes.gid);
        let size = content.len() as u64;
        seen.insert(path, (kind | attributes.mode, owner, size, content, attributes.xattrs.clone(), one));
    }
    seen
}
