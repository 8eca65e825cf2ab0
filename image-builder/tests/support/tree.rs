//! Everything that can be seen of a folder, to be compared.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// What can be seen of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub size: u64,
    pub device: u64,
    pub links: u64,
    /// The first path with the same inode.
    pub same_as: PathBuf,
    /// A file's digest or a link's target.
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Everything below a folder by its relative path, the folder itself as the empty path.
pub fn seen(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut inodes = HashMap::new();
    walk(root, Path::new(""), &mut inodes, &mut found);
    found
}

/// The names and the contents of a small folder.
pub fn names(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    seen(folder).into_iter().map(|(path, seen)| (path, seen.content)).collect()
}

fn walk(root: &Path, path: &Path, inodes: &mut HashMap<u64, PathBuf>, found: &mut BTreeMap<PathBuf, Seen>) {
    let full = root.join(path);
    let metadata = fs::symlink_metadata(&full).unwrap();
    let kind = metadata.file_type();
    let content = if kind.is_file() {
        Sha256::digest(fs::read(&full).unwrap()).to_vec()
    } else if kind.is_symlink() {
        fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()
    } else {
        Vec::new()
    };
    let seen = Seen {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        size: if kind.is_dir() { 0 } else { metadata.size() },
        device: metadata.rdev(),
        links: metadata.nlink(),
        same_as: inodes.entry(metadata.ino()).or_insert_with(|| path.to_owned()).clone(),
        content,
        xattrs: xattrs(&full),
    };
    found.insert(path.to_owned(), seen);
    if kind.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort_unstable();
        names.iter().for_each(|name| walk(root, &path.join(name), inodes, found));
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = match llistxattr(path, &mut names[..]) {
        // A squashfs in which nothing has any.
        Err(Errno::OPNOTSUPP) => 0,
        listed => listed.unwrap(),
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 65536];
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        (name.to_vec(), value)
    };
    names.map(value).collect()
}

/// Compares two folders entry by entry.
pub fn assert_same(ours: &Path, theirs: &Path) {
    let (mut ours, mut theirs) = (seen(ours), seen(theirs));
    // Directories have different numbers of links on some file systems.
    for entry in
        ours.values_mut().chain(theirs.values_mut()).filter(|entry| entry.mode & 0o170_000 == 0o040_000)
    {
        entry.links = 0;
    }
    for (path, entry) in &theirs {
        assert_eq!(ours.get(path), Some(entry), "{}", path.display());
    }
    for path in ours.keys() {
        assert!(theirs.contains_key(path), "{} should not be there", path.display());
    }
}
