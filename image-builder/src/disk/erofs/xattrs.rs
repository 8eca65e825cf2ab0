//! Extended attributes in line with their inode: a header of 12 bytes, then the attributes, each padded to 4.

use crate::tree::Xattrs;

/// The header of an inode's attributes; nothing in it is used here.
const HEADER: usize = 12;

/// A name's index for its prefix and what is left of the name.
fn split(name: &[u8]) -> (u8, &[u8]) {
    const PREFIXES: [(u8, &[u8]); 5] = [
        (1, b"user."),
        (2, b"system.posix_acl_access"),
        (3, b"system.posix_acl_default"),
        (4, b"trusted."),
        (6, b"security."),
    ];
    let found = PREFIXES.iter().find_map(|(index, prefix)| Some((*index, name.strip_prefix(*prefix)?)));
    found.unwrap_or((0, name))
}

/// The number that an inode keeps of its attributes' size: 0 for none, else 1 and one for each 4 bytes
/// behind the header.
pub(super) fn count(xattrs: &Xattrs) -> u16 {
    let size = size(xattrs);
    // Whoever fills the tree limits the attributes of an inode to 128 KiB.
    if size == 0 { 0 } else { u16::try_from((size - HEADER) / 4 + 1).unwrap_or(u16::MAX) }
}

/// How many bytes the attributes take.
pub(super) fn size(xattrs: &Xattrs) -> usize {
    if xattrs.is_empty() {
        return 0;
    }
    let sizes = xattrs.iter().map(|(name, value)| 4 + split(name).1.len() + value.len());
    HEADER + sizes.map(|size| size.next_multiple_of(4)).sum::<usize>()
}

pub(super) fn encode(xattrs: &Xattrs) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size(xattrs));
    if !xattrs.is_empty() {
        bytes.resize(HEADER, 0);
    }
    for (name, value) in xattrs {
        let (index, name) = split(name);
        bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        bytes.push(index);
        bytes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(name);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}
