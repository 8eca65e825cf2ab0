//! Applies layers to a tree (OCI image specification 1.1, `layer.md`).
//!
//! Where the specification leaves a choice: a whiteout removes what lower layers have, wherever in its own
//! layer it stands. A symbolic link on the way to an entry is followed inside the root; the last component
//! never is. A directory on a directory merges; anything else replaces what was there. Missing parents are
//! made with mode 0755, owner root and the time 0.

mod archive;
mod pax;
mod refusal;
mod sparse;

use std::collections::BTreeMap;
use std::io::{self, Read};

use thiserror::Error;

use crate::limits::Limits;
use crate::tree::{Attributes, Bodies, Entry, Inode, InodeId, Kind, MAX_NAME, PathError, ROOT, Tree, Xattrs};
use archive::{ArchiveEntry, ArchiveError};

pub(super) use archive::{ArchiveKind, Entries};

pub use refusal::Refusal;

/// Linux's `PATH_MAX` without its NUL: the longest target of a symbolic link.
pub(crate) const MAX_TARGET: usize = 4095;

/// The name spaces of extended attributes that are kept.
const XATTR_PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// What an entry costs in memory, in bytes: its inode and its place in a directory, later in the plan, and the memory
/// that names and the like are allocated in.
const ENTRY: usize = size_of::<Inode>() + 100;
/// What an allocation costs beside its content.
const ALLOCATION: usize = 16;
/// What extended attributes cost beside their content: the smallest node of a `BTreeMap`.
const XATTRS: usize = 400;
/// What a stretch of data of a sparse file costs.
const EXTENT: usize = 24;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why a layer cannot be applied.
#[derive(Debug, Error)]
pub enum LayerError {
    /// The archive ends early or cannot be decompressed.
    #[error("Cannot read its archive")]
    Read(#[source] io::Error),
    /// The archive ends between two entries.
    #[error("Its archive ends without the blocks that mark the end")]
    NoEnd,
    /// An entry is not taken.
    #[error("Cannot take its entry {0:?}")]
    Entry(String, #[source] Refusal),
}

/// A root under construction.
#[derive(Debug)]
pub struct Assembly<'a> {
    /// The names and attributes.
    pub tree: Tree,
    /// The content of the files.
    pub bodies: Bodies,
    limits: &'a Limits,
    entries: u64,
    memory: u64,
}

impl<'a> Assembly<'a> {
    /// An empty root; the bodies of its files go to `bodies`.
    pub fn new(bodies: Bodies, limits: &'a Limits) -> Self {
        Self { tree: Tree::new(), bodies, limits, entries: 0, memory: 0 }
    }

    /// Applies one layer, an uncompressed tar stream, on top of what is there. `layer` counts from 1.
    /// Reads the stream to its end.
    pub fn apply(&mut self, layer: u32, reader: impl Read) -> Result<(), LayerError> {
        self.apply_entries(layer, Entries::new(reader))
    }

    /// The same for a stream that the caller holds against its digest: it may lack the blocks that mark its end.
    pub(in crate::oci) fn apply_whole(&mut self, layer: u32, reader: impl Read) -> Result<(), LayerError> {
        self.apply_entries(layer, Entries::of_whole(reader))
    }

    fn apply_entries(&mut self, layer: u32, mut entries: Entries<impl Read>) -> Result<(), LayerError> {
        loop {
            let entry = entries.next().map_err(|error| match error {
                ArchiveError::Read(error) => LayerError::Read(error),
                ArchiveError::Entry(name, refusal) => LayerError::Entry(shown(&name), refusal),
            })?;
            let Some(entry) = entry else { break };
            let name = shown(&entry.name);
            self.take(layer, entry, &mut entries).map_err(|refusal| LayerError::Entry(name, refusal))?;
        }
        if !entries.ended() {
            return Err(LayerError::NoEnd);
        }
        io::copy(&mut entries.into_inner(), &mut io::sink()).map(drop).map_err(LayerError::Read)
    }

    fn take<R: Read>(
        &mut self,
        layer: u32,
        entry: ArchiveEntry,
        data: &mut Entries<R>,
    ) -> Result<(), Refusal> {
        self.charge(&entry)?;
        let path = components(&entry.name, "name", self.limits)?;
        let Some((name, parents)) = path.split_last() else {
            return self.take_root(entry);
        };
        if parents.iter().any(|name| name.starts_with(WHITEOUT)) {
            return Err(Refusal::InWhiteout);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.take_whiteout(layer, name, hidden, parents);
        }
        let parent = self.tree.directory(parents, Some(layer))?;
        if parent.depth >= self.limits.depth {
            return Err(Refusal::Deep(self.limits.depth));
        }
        self.check_inodes()?;
        let (parent, existing) = (parent.directory, self.tree.child(parent.directory, name));
        let mut attributes = Attributes {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: kept_xattrs(entry.xattrs)?,
        };
        let kind = match entry.kind {
            ArchiveKind::HardLink => return self.take_hard_link(layer, parent, name, &entry.link),
            ArchiveKind::Directory => {
                self.take_directory(layer, parent, name, existing, attributes);
                return Ok(());
            }
            ArchiveKind::Symlink => {
                // Linux has no other: what is unpacked anywhere has this mode, whatever the archive says.
                attributes.mode = 0o777;
                Kind::Symlink(target(&entry.link)?)
            }
            ArchiveKind::CharacterDevice(device) => Kind::CharacterDevice(device),
            ArchiveKind::BlockDevice(device) => Kind::BlockDevice(device),
            ArchiveKind::Fifo => Kind::Fifo,
            ArchiveKind::File(size, map) => {
                if size > self.limits.size {
                    return Err(Refusal::TooMuch { what: "bytes in one file", limit: self.limits.size });
                }
                Kind::File(self.bodies.store(size, &map, data)?)
            }
        };
        self.tree.add(parent, name, layer, Inode { attributes, kind });
        Ok(())
    }

    fn take_root(&mut self, entry: ArchiveEntry) -> Result<(), Refusal> {
        if !matches!(entry.kind, ArchiveKind::Directory) {
            return Err(Refusal::Root);
        }
        self.tree.inode_mut(ROOT).attributes = Attributes {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: kept_xattrs(entry.xattrs)?,
        };
        Ok(())
    }

    fn take_whiteout(
        &mut self,
        layer: u32,
        name: &[u8],
        hidden: &[u8],
        parents: &[&[u8]],
    ) -> Result<(), Refusal> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Refusal::Whiteout);
        }
        let parent = match self.tree.directory(parents, None) {
            Ok(parent) => parent.directory,
            // Nothing there to remove.
            Err(PathError::Missing(_) | PathError::NotADirectory(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if name == OPAQUE {
            self.tree.prune(parent, layer);
        } else {
            self.tree.white_out(parent, hidden, layer);
        }
        Ok(())
    }

    fn take_directory(
        &mut self,
        layer: u32,
        parent: InodeId,
        name: &[u8],
        existing: Option<Entry>,
        attributes: Attributes,
    ) {
        match existing {
            Some(Entry { inode, .. }) if self.tree.entries(inode).is_some() => {
                self.tree.inode_mut(inode).attributes = attributes;
                self.tree.link(parent, name, layer, inode);
            }
            _ => {
                let inode = Inode { attributes, kind: Kind::Directory(BTreeMap::new()) };
                self.tree.add(parent, name, layer, inode);
            }
        }
    }

    fn take_hard_link(
        &mut self,
        layer: u32,
        parent: InodeId,
        name: &[u8],
        target: &[u8],
    ) -> Result<(), Refusal> {
        let nothing = || Refusal::LinkToNothing(shown(target));
        let path = components(target, "link target", self.limits)?;
        let Some((last, parents)) = path.split_last() else {
            return Err(Refusal::LinkToDirectory(shown(target)));
        };
        let found = self.tree.directory(parents, None).map_err(|_| nothing())?;
        let inode = self.tree.child(found.directory, last).ok_or_else(nothing)?.inode;
        if self.tree.entries(inode).is_some() {
            return Err(Refusal::LinkToDirectory(shown(target)));
        }
        self.tree.link(parent, name, layer, inode);
        Ok(())
    }

    fn charge(&mut self, entry: &ArchiveEntry) -> Result<(), Refusal> {
        let xattrs = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + 2 * ALLOCATION);
        let xattrs = if entry.xattrs.is_empty() { 0 } else { XATTRS + xattrs.sum::<usize>() };
        let map = match &entry.kind {
            ArchiveKind::File(_, map) => map.len() * EXTENT,
            _ => 0,
        };
        // Of its path an entry keeps the last component.
        let name =
            entry.name.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty()).map_or(0, <[u8]>::len);
        self.entries += 1;
        self.memory += (ENTRY + name + entry.link.len() + xattrs + map) as u64;
        if self.entries > self.limits.entries {
            return Err(Refusal::TooMuch { what: "entries", limit: self.limits.entries });
        }
        if self.memory > self.limits.memory {
            return Err(Refusal::TooMuch { what: "bytes of memory for entries", limit: self.limits.memory });
        }
        Ok(())
    }

    /// Directories that no layer describes count too.
    fn check_inodes(&self) -> Result<(), Refusal> {
        match self.tree.len() as u64 > self.limits.entries {
            true => Err(Refusal::TooMuch { what: "entries", limit: self.limits.entries }),
            false => Ok(()),
        }
    }
}

/// The components of a name in an archive: relative to the root, whether it starts with `/`, `./` or neither.
fn components<'n>(name: &'n [u8], what: &'static str, limits: &Limits) -> Result<Vec<&'n [u8]>, Refusal> {
    if name.is_empty() {
        return Err(Refusal::Empty(what));
    }
    if name.contains(&0) {
        return Err(Refusal::Nul(what));
    }
    if name.len() > limits.path {
        return Err(Refusal::Long(what, limits.path));
    }
    let mut components = Vec::new();
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(Refusal::ParentReference(what)),
            _ if component.len() > MAX_NAME => return Err(Refusal::Long(what, MAX_NAME)),
            _ => components.push(component),
        }
    }
    if components.len() > limits.depth {
        return Err(Refusal::Deep(limits.depth));
    }
    Ok(components)
}

/// The target of a symbolic link: any words, since it is followed inside the root only.
fn target(link: &[u8]) -> Result<Box<[u8]>, Refusal> {
    match link {
        b"" => Err(Refusal::Empty("link target")),
        _ if link.contains(&0) => Err(Refusal::Nul("link target")),
        _ if link.len() > MAX_TARGET => Err(Refusal::Long("link target", MAX_TARGET)),
        _ => Ok(link.into()),
    }
}

/// The attributes that mean something in a guest and fit the file system. Those that an overlay keeps for
/// itself would change what the guest sees of the root, and labels of the building host mean nothing.
pub(crate) fn kept_xattrs(xattrs: Xattrs) -> Result<Xattrs, Refusal> {
    let mut kept = Xattrs::new();
    let mut total = 0;
    for (name, value) in xattrs {
        let known = XATTR_PREFIXES.iter().find(|prefix| name.starts_with(prefix));
        let acl = matches!(&*name, b"system.posix_acl_access" | b"system.posix_acl_default");
        let dropped = name.starts_with(b"trusted.overlay.") || *name == *b"security.selinux";
        if dropped || (known.is_none() && !acl) {
            continue;
        }
        total += name.len() + value.len() + 8;
        let suffix = name.len() - known.map_or(0, |prefix| prefix.len());
        let fits = suffix <= MAX_NAME && value.len() <= usize::from(u16::MAX) && total <= 128 << 10;
        if !fits || (known.is_some() && suffix == 0) || name.contains(&0) {
            return Err(Refusal::Xattr(shown(&name)));
        }
        kept.insert(name, value);
    }
    Ok(kept)
}

/// A name for people: at most 200 bytes of it.
fn shown(name: &[u8]) -> String {
    let cut = &name[..name.len().min(200)];
    let dots = if cut.len() < name.len() { "..." } else { "" };
    String::from_utf8_lossy(cut).into_owned() + dots
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
