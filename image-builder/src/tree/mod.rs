//! A root file system in memory: inodes and directories, with the bodies of the files in a spill file.
//!
//! No name of an image ever becomes a name on the host; links lead through this tree and nowhere else.

mod bodies;
mod walk;

use std::collections::BTreeMap;

pub use bodies::{Bodies, Body, Extent, StoreError};
pub use walk::{PathError, Resolved};

/// The longest name of a directory entry, in bytes (Linux's `NAME_MAX`).
pub const MAX_NAME: usize = 255;

/// An inode's index in its tree.
pub type InodeId = u32;

/// The root directory's index.
pub const ROOT: InodeId = 0;

/// A point in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// Extended attributes by full name.
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What an inode has besides its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with set-user-id, set-group-id and the sticky bit: `0o7777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Extended attributes by full name.
    pub xattrs: Xattrs,
}

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory's entries, sorted by name; neither `.` nor `..` is among them.
    Directory(BTreeMap<Box<[u8]>, Entry>),
    /// A regular file.
    File(Body),
    /// A symbolic link's target.
    Symlink(Box<[u8]>),
    /// A character device.
    CharacterDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A device number: 12 bits and 20 bits, as Linux has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The driver's own number.
    pub minor: u32,
}

/// A directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it names.
    pub inode: InodeId,
    /// The last layer that made or changed it.
    pub layer: u32,
}

/// An inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Mode, owner, time, extended attributes.
    pub attributes: Attributes,
    /// What it is.
    pub kind: Kind,
}

/// The tree. Inodes that nothing names any more stay in it and are not written.
#[derive(Debug)]
pub struct Tree {
    inodes: Vec<Inode>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            inodes: vec![Inode { attributes: default_attributes(), kind: Kind::Directory(BTreeMap::new()) }],
        }
    }
}

/// What a directory gets that no layer describes: mode 0755, owner root, the time 0.
fn default_attributes() -> Attributes {
    Attributes { mode: 0o755, ..Attributes::default() }
}

impl Tree {
    /// A tree with an empty root directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many inodes there are, those that nothing names included.
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Never true: there is always a root.
    pub fn is_empty(&self) -> bool {
        self.inodes.is_empty()
    }

    /// The inode of an id that this tree gave out.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id as usize]
    }

    /// The same, to change it.
    pub fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id as usize]
    }

    /// The entries of a directory; none for anything else.
    pub fn entries(&self, id: InodeId) -> Option<&BTreeMap<Box<[u8]>, Entry>> {
        match &self.inode(id).kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    /// What a directory calls `name`.
    pub fn child(&self, directory: InodeId, name: &[u8]) -> Option<Entry> {
        self.entries(directory)?.get(name).copied()
    }

    /// Adds an inode under a name, in place of what has that name.
    pub fn add(&mut self, directory: InodeId, name: &[u8], layer: u32, inode: Inode) -> InodeId {
        // The number of inodes is limited far below 2^32 by whoever fills the tree.
        let id = InodeId::try_from(self.inodes.len()).unwrap_or(InodeId::MAX);
        self.inodes.push(inode);
        self.link(directory, name, layer, id);
        id
    }

    /// Gives an inode one more name, in place of what has that name.
    pub fn link(&mut self, directory: InodeId, name: &[u8], layer: u32, inode: InodeId) {
        if let Kind::Directory(entries) = &mut self.inode_mut(directory).kind {
            entries.insert(name.into(), Entry { inode, layer });
        }
    }

    /// Removes what lower layers have under a name: the whiteout of that name by `layer`.
    pub fn white_out(&mut self, directory: InodeId, name: &[u8], layer: u32) {
        let Some(entry) = self.child(directory, name) else { return };
        let kept = self.prune(entry.inode, layer);
        let gone = entry.layer < layer && !kept;
        if let (true, Kind::Directory(entries)) = (gone, &mut self.inode_mut(directory).kind) {
            entries.remove(name);
        }
    }

    /// Removes what lower layers have in a directory: the opaque whiteout by `layer`. Tells whether
    /// something of the layer itself is in the directory.
    pub fn prune(&mut self, directory: InodeId, layer: u32) -> bool {
        let Some(entries) = self.entries(directory) else { return false };
        let children: Vec<_> = entries.iter().map(|(name, entry)| (name.clone(), *entry)).collect();
        let mut kept_any = false;
        for (name, entry) in children {
            // As deep as the tree at most, which is limited by whoever fills it.
            let kept = self.prune(entry.inode, layer) || entry.layer >= layer;
            kept_any |= kept;
            if let (false, Kind::Directory(entries)) = (kept, &mut self.inode_mut(directory).kind) {
                entries.remove(&name);
            }
        }
        kept_any
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
