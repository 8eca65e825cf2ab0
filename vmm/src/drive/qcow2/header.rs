//! The first cluster of a qcow2 file: what it says, and what of that an overlay may have.
//!
//! The format is QEMU's (`docs/interop/qcow2.txt`); all numbers are big-endian.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use super::OverlayFault;

const MAGIC: u32 = 0x5146_49fb;
const VERSION: u32 = 3;
/// As much of the first cluster as is read: header, extensions and the name of the backing file.
const READ_MAX: usize = 64 << 10;
/// The shortest header of version 3.
const HEADER_LENGTH: u32 = 104;
/// A cluster is at least a slice of a table (4 KiB) and at most what QEMU takes (2 MiB).
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 12..=21;
/// Counts of 16 bits, as 2^4 of them.
const REFCOUNT_ORDER: u32 = 4;
/// The longest name of a backing file.
const NAME_MAX: u32 = 1023;
/// The largest first table and table of reference counts, in bytes: QEMU's limit is 32 and 8 MiB.
const TABLE_MAX: u64 = 4 << 20;

const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// The incompatible features by their bits.
const FEATURES: [&str; 5] = [
    "the mark of a file that was not closed",
    "the mark of a corrupt file",
    "an external data file",
    "a compression of its own",
    "extended entries",
];

/// What is needed of a header that was found to be an overlay's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Size of the disk in bytes.
    pub size: u64,
    /// The size of a cluster is 2 to the power of this.
    pub cluster_bits: u32,
    /// Where the first table (L1) is.
    pub l1_at: u64,
    /// How many of its entries the disk's size needs.
    pub l1_entries: u64,
    /// Where the table of reference counts is.
    pub refcounts_at: u64,
    /// How many clusters it takes.
    pub refcounts_clusters: u64,
}

impl Header {
    /// Reads the header of `file`, which was opened as `path`; refuses one that is no overlay of `base`, of
    /// `base_size` bytes. Nothing that the header names is looked at.
    pub fn read(file: &File, path: &Path, base: &Path, base_size: u64) -> Result<Header, OverlayFault> {
        let length = file.metadata()?.len();
        let mut bytes = vec![0; READ_MAX.min(usize::try_from(length).unwrap_or(READ_MAX))];
        file.read_exact_at(&mut bytes, 0)?;
        let header = Fields(&bytes);
        if header.number(0)? != MAGIC {
            return Err(OverlayFault::Magic);
        }
        if header.number(4)? != VERSION {
            return Err(OverlayFault::Version(header.number(4)?));
        }
        check_features(&header)?;
        let cluster_bits = header.number(20)?;
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(OverlayFault::Layout("size of clusters"));
        }
        let first = Fields(bytes.get(..1 << cluster_bits).unwrap_or(&bytes));
        check_base(&first, path, base)?;

        let size = header.long(24)?;
        if size < base_size || size % 512 != 0 {
            return Err(OverlayFault::Size { size, base: base_size });
        }
        let header = Header {
            size,
            cluster_bits,
            l1_at: header.long(40)?,
            // A table of the second level is a cluster of entries of 8 bytes.
            l1_entries: size.div_ceil(1 << (2 * cluster_bits - 3)),
            refcounts_at: header.long(48)?,
            refcounts_clusters: header.number(56)?.into(),
        };
        header.check_tables(u64::from(first.number(36)?), length)?;
        Ok(header)
    }

    fn check_tables(&self, l1_entries: u64, length: u64) -> Result<(), OverlayFault> {
        let inside = |at: u64, bytes: u64| {
            let aligned = at != 0 && at.is_multiple_of(1 << self.cluster_bits);
            aligned && bytes <= TABLE_MAX && at.checked_add(bytes).is_some_and(|end| end <= length)
        };
        if l1_entries < self.l1_entries || !inside(self.l1_at, self.l1_entries * 8) {
            return Err(OverlayFault::Layout("first table"));
        }
        let bytes = self.refcounts_clusters << self.cluster_bits;
        if bytes == 0 || !inside(self.refcounts_at, bytes) {
            return Err(OverlayFault::Layout("table of reference counts"));
        }
        Ok(())
    }
}

fn check_features(header: &Fields<'_>) -> Result<(), OverlayFault> {
    let incompatible = header.long(72)?;
    if incompatible != 0 {
        let bit = incompatible.trailing_zeros() as usize;
        return Err(OverlayFault::Feature(FEATURES.get(bit).copied().unwrap_or("an unknown feature")));
    }
    let refused = [
        (header.number(32)? != 0, "encryption"),
        (header.number(60)? != 0, "snapshots of its own"),
        // Whoever writes without knowing of them has to void them.
        (header.long(88)? != 0, "bitmaps that a drive would void"),
        (header.number(96)? != REFCOUNT_ORDER, "reference counts of other than 16 bits"),
    ];
    match refused.into_iter().find(|(refused, _)| *refused) {
        Some((_, what)) => Err(OverlayFault::Feature(what)),
        None => Ok(()),
    }
}

/// Whether the header in the first cluster names `base`, as raw.
fn check_base(first: &Fields<'_>, path: &Path, base: &Path) -> Result<(), OverlayFault> {
    let (at, length) = (first.long(8)?, first.number(16)?);
    if at == 0 || length == 0 {
        return Err(OverlayFault::NoBase);
    }
    if length > NAME_MAX {
        return Err(OverlayFault::Layout("name of a backing file"));
    }
    let named = first.bytes(at, length).map_err(|_| OverlayFault::Layout("name of a backing file"))?;
    if !is_base(named, path, base)? {
        let named = String::from_utf8_lossy(named).into_owned();
        return Err(OverlayFault::Base { named, base: base.to_owned() });
    }
    let mut format = None;
    let mut at = u64::from(first.number(100)?);
    if at < HEADER_LENGTH.into() {
        return Err(OverlayFault::Layout("header"));
    }
    // Each is at least 8 bytes long, and they end with the cluster.
    loop {
        let kind = first.number(at)?;
        let length = first.number(at + 4)?;
        match kind {
            EXTENSION_END => break,
            EXTENSION_DATA_FILE => return Err(OverlayFault::Feature("an external data file")),
            EXTENSION_BACKING_FORMAT => format = Some(first.bytes(at + 8, length)?),
            _ => {}
        }
        at += 8 + u64::from(length).next_multiple_of(8);
    }
    match format {
        Some(b"raw") => Ok(()),
        Some(other) => Err(OverlayFault::Format(String::from_utf8_lossy(other).into_owned())),
        None => Err(OverlayFault::NoFormat),
    }
}

/// Compares names alone: a file that only the header names is never touched, nor is a link on the way. A relative
/// name starts at the overlay's folder.
fn is_base(named: &[u8], path: &Path, base: &Path) -> std::io::Result<bool> {
    let named = Path::new(std::ffi::OsStr::from_bytes(named));
    let folder = std::path::absolute(path)?.parent().map(PathBuf::from).unwrap_or_default();
    Ok(plain(&std::path::absolute(folder.join(named))?) == plain(&std::path::absolute(base)?))
}

/// An absolute path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// Numbers and bytes by their place.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&self, at: u64, length: u32) -> Result<&'a [u8], OverlayFault> {
        let range = usize::try_from(at).ok().and_then(|at| Some(at..at.checked_add(length as usize)?));
        range.and_then(|range| self.0.get(range)).ok_or(OverlayFault::Layout("header"))
    }

    fn number(&self, at: u64) -> Result<u32, OverlayFault> {
        let bytes = self.bytes(at, 4)?;
        Ok(bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }

    fn long(&self, at: u64) -> Result<u64, OverlayFault> {
        Ok(u64::from(self.number(at)?) << 32 | u64::from(self.number(at + 4)?))
    }
}
