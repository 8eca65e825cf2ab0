//! A tree as a tar stream: ustar headers with the extended headers of POSIX (pax) where a field is too small, each
//! inode under its first name and hard links for the others. A directory comes before what is in it.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;

use tar::{EntryType, Header};

use super::SquashfsError;
use crate::tree::{Attributes, Bodies, Body, Inode, InodeId, Kind, ROOT, Tree};

/// The unit of a tar.
const RECORD: u64 = 512;

/// What fits a header: a name with its final zero, an owner, a size.
const MAX_NAME: usize = 99;
const MAX_OWNER: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;

/// The largest extended header that tar2sqfs takes, in bytes.
const MAX_EXTENDED: usize = 64 << 10;

/// How many different owners and groups a squashfs can have.
const MAX_OWNERS: usize = u16::MAX as usize;

/// What a squashfs keeps extended attributes of.
const PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Writes the tree to `out`; refuses what a squashfs cannot hold, and files of more than `limit` bytes.
pub(super) fn write(
    tree: &Tree,
    bodies: &Bodies,
    limit: u64,
    out: &mut impl Write,
) -> Result<(), SquashfsError> {
    let mut archive = Archive { bodies, out, left: limit, limit, owners: BTreeSet::new() };
    let mut names = Names::of(tree);
    archive.entry(b"./", tree.inode(ROOT))?;
    let mut path = Vec::new();
    let mut todo: Vec<_> = tree.entries(ROOT).map(|entries| (0, entries.iter())).into_iter().collect();
    while let Some((length, entries)) = todo.last_mut() {
        let Some((name, entry)) = entries.next() else {
            todo.pop();
            continue;
        };
        path.truncate(*length);
        if *length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        match names.first(entry.inode, &path) {
            Some(first) => archive.link(&path, first)?,
            None => archive.entry(&path, tree.inode(entry.inode))?,
        }
        todo.extend(tree.entries(entry.inode).map(|entries| (path.len(), entries.iter())));
    }
    // Two empty records are the end.
    archive.out.write_all(&[0; 2 * RECORD as usize])?;
    Ok(())
}

/// Which inodes have several names, and the first of those that were met.
struct Names {
    several: Vec<bool>,
    first: HashMap<InodeId, Vec<u8>>,
}

impl Names {
    fn of(tree: &Tree) -> Self {
        let (mut known, mut several) = (vec![false; tree.len()], vec![false; tree.len()]);
        let mut todo = vec![ROOT];
        while let Some(id) = todo.pop() {
            for entry in tree.entries(id).into_iter().flat_map(|entries| entries.values()) {
                let index = entry.inode as usize;
                several[index] = std::mem::replace(&mut known[index], true);
                todo.extend(tree.entries(entry.inode).map(|_| entry.inode));
            }
        }
        Self { several, first: HashMap::new() }
    }

    /// The first name of an inode that has one already; `path` is it where not.
    fn first(&mut self, id: InodeId, path: &[u8]) -> Option<&[u8]> {
        if !self.several[id as usize] {
            return None;
        }
        let known = self.first.contains_key(&id);
        let first = self.first.entry(id).or_insert_with(|| path.to_owned());
        known.then_some(&**first)
    }
}

struct Archive<'a, W> {
    bodies: &'a Bodies,
    out: &'a mut W,
    left: u64,
    limit: u64,
    owners: BTreeSet<u32>,
}

impl<W: Write> Archive<'_, W> {
    fn entry(&mut self, path: &[u8], inode: &Inode) -> Result<(), SquashfsError> {
        let unfit = |why| SquashfsError::Unfit(String::from_utf8_lossy(path).into_owned(), why);
        let attributes = &inode.attributes;
        let seconds = u32::try_from(attributes.mtime.seconds)
            .map_err(|_| unfit("its time is before 1970 or after 2106-02-07"))?;
        self.owners.extend([attributes.uid, attributes.gid]);
        if self.owners.len() > MAX_OWNERS {
            return Err(SquashfsError::Owners(MAX_OWNERS));
        }
        let mut entry = Entry::new(path);
        entry.header.set_mode(attributes.mode.into());
        entry.header.set_mtime(seconds.into());
        entry.owner("uid", attributes.uid, Header::set_uid);
        entry.owner("gid", attributes.gid, Header::set_gid);
        entry.xattrs(attributes).map_err(unfit)?;
        entry.kind(&inode.kind).map_err(unfit)?;
        entry.write(self.out)?;
        match &inode.kind {
            Kind::File(body) => self.body(body),
            _ => Ok(()),
        }
    }

    fn link(&mut self, path: &[u8], first: &[u8]) -> Result<(), SquashfsError> {
        let mut entry = Entry::new(path);
        entry.header.set_entry_type(EntryType::Link);
        entry.target(first);
        Ok(entry.write(self.out)?)
    }

    fn body(&mut self, body: &Body) -> Result<(), SquashfsError> {
        self.left = self.left.checked_sub(body.size).ok_or(SquashfsError::TooLarge(self.limit))?;
        // Behind the end of a body are zeros.
        self.bodies.copy(body, 0, body.size.next_multiple_of(RECORD), self.out)?;
        Ok(())
    }
}

/// A header, and what it is too small for.
struct Entry {
    header: Header,
    extended: Vec<u8>,
}

impl Entry {
    fn new(path: &[u8]) -> Self {
        let mut entry = Self { header: Header::new_ustar(), extended: Vec::new() };
        match path.len() > MAX_NAME {
            true => entry.record(b"path", path),
            false => entry.header.as_old_mut().name[..path.len()].copy_from_slice(path),
        }
        entry
    }

    /// A record of an extended header: its length in decimal digits, these included, and `key=value`.
    fn record(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length < rest + length.to_string().len() {
            length += 1;
        }
        self.extended.extend(format!("{length} ").into_bytes());
        self.extended.extend([key, b"=", value, b"\n"].concat());
    }

    fn owner(&mut self, key: &str, id: u32, set: impl Fn(&mut Header, u64)) {
        match id > MAX_OWNER {
            true => self.record(key.as_bytes(), id.to_string().as_bytes()),
            false => set(&mut self.header, id.into()),
        }
    }

    fn target(&mut self, target: &[u8]) {
        match target.len() > MAX_NAME {
            true => self.record(b"linkpath", target),
            false => self.header.as_old_mut().linkname[..target.len()].copy_from_slice(target),
        }
    }

    fn xattrs(&mut self, attributes: &Attributes) -> Result<(), &'static str> {
        for (name, value) in &attributes.xattrs {
            if name.starts_with(b"system.posix_acl_") {
                return Err("it has an access control list");
            }
            if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                return Err("it has an extended attribute of a kind that squashfs does not know");
            }
            // Where a name ends in a record; tar2sqfs would cut it off there.
            if name.contains(&b'=') {
                return Err("it has an extended attribute with = in its name");
            }
            self.record(&[b"SCHILY.xattr.", &**name].concat(), value);
        }
        match self.extended.len() > MAX_EXTENDED {
            true => Err("its extended attributes and its name are larger than 64 KiB"),
            false => Ok(()),
        }
    }

    fn kind(&mut self, kind: &Kind) -> Result<(), &'static str> {
        let kind = match kind {
            Kind::Directory(_) => EntryType::Directory,
            Kind::File(body) => {
                match body.size > MAX_SIZE {
                    true => self.record(b"size", body.size.to_string().as_bytes()),
                    false => self.header.set_size(body.size),
                }
                EntryType::Regular
            }
            Kind::Symlink(target) => {
                self.target(target);
                EntryType::Symlink
            }
            Kind::Fifo => EntryType::Fifo,
            Kind::CharacterDevice(device) | Kind::BlockDevice(device) => {
                let set = self.header.set_device_major(device.major);
                set.and_then(|()| self.header.set_device_minor(device.minor))
                    .map_err(|_| "its device number is none")?;
                if matches!(kind, Kind::BlockDevice(_)) { EntryType::Block } else { EntryType::Char }
            }
            Kind::Socket => return Err("it is a socket, which no tar can hold"),
        };
        self.header.set_entry_type(kind);
        Ok(())
    }

    fn write(mut self, out: &mut impl Write) -> std::io::Result<()> {
        if !self.extended.is_empty() {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            header.as_old_mut().name[..4].copy_from_slice(b"long");
            header.set_size(self.extended.len() as u64);
            header.set_cksum();
            out.write_all(header.as_bytes())?;
            self.extended.resize(self.extended.len().next_multiple_of(RECORD as usize), 0);
            out.write_all(&self.extended)?;
        }
        self.header.set_cksum();
        out.write_all(self.header.as_bytes())
    }
}
