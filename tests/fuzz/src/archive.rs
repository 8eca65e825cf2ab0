//! A guest's archive, as the host reads it, and the host's, as the guest does.

use std::io::Read as _;

use bulkhead_archive::{Kind, Reader};

/// Reads a stream to its end or its first error: what an entry promises is what comes, and no more is read than there
/// is.
pub fn target(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let mut entries = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        entries += 1;
        // Each has a header of its own.
        assert!(entries <= bytes.len() / 512, "{entries} entries of {} bytes", bytes.len());
        assert!(entry.mode <= 0o7777, "{entry:?}");
        let mut body = Vec::new();
        let read = reader.read_to_end(&mut body);
        let promised = if let Kind::File(size) = entry.kind { size } else { 0 };
        assert_eq!(read.is_ok(), body.len() as u64 == promised, "{entry:?} has {}", body.len());
        if read.is_err() {
            return;
        }
    }
}
