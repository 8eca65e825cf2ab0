//! Overlays: qcow2 files that take what a machine writes to a disk that others read, too.
//!
//! The format is QEMU's (`docs/interop/qcow2.txt`), version 3; the VMM reads and writes such files, and so does
//! `qemu-img`.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{HostError, disk, layout};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// What the first clusters are: the header, the table of blocks of counts, the first of these, the first table.
const CLUSTERS: u16 = 4;
/// A cluster of 8-byte entries, each for a cluster of entries.
const SIZE_MAX: u64 = (CLUSTER / 8) * (CLUSTER / 8) * CLUSTER;
const HEADER_LENGTH: u32 = 104;
/// The header extension that names the format of the backing file.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Makes an empty overlay at `path` for a raw disk of `size` bytes. It names that disk by `base`, which is absolute
/// or starts at the overlay's own folder. The file is there whole or not at all.
pub fn make(path: &Path, base: &Path, size: u64) -> Result<(), HostError> {
    let failed = HostError::file("write", path);
    let name = base.as_os_str().as_bytes();
    if size > SIZE_MAX || name.len() > 1023 {
        return Err(failed(std::io::ErrorKind::InvalidInput.into()));
    }
    let draft = path.with_extension("new");
    layout::remove_file(&draft)?;
    let file = disk::new_file(&draft)?;
    let entries = size.div_ceil(CLUSTER * CLUSTER / 8);
    let written = header(size, entries, name).and_then(|header| {
        file.set_len(u64::from(CLUSTERS) * CLUSTER)?;
        file.write_all_at(&header, 0)?;
        file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER)?;
        file.write_all_at(&1_u16.to_be_bytes().repeat(CLUSTERS.into()), 2 * CLUSTER)?;
        std::fs::rename(&draft, path)
    });
    written.map_err(failed)
}

fn header(size: u64, entries: u64, base: &[u8]) -> std::io::Result<Vec<u8>> {
    let entries = u32::try_from(entries).map_err(std::io::Error::other)?;
    let name_length = u32::try_from(base.len()).map_err(std::io::Error::other)?;
    // Behind the header come the extension with its 8 bytes of text, and an empty one that ends them.
    let name_at = u64::from(HEADER_LENGTH) + 16 + 8;
    let mut header = Vec::new();
    header.write_all(b"QFI\xfb")?;
    header.write_all(&3_u32.to_be_bytes())?;
    header.write_all(&name_at.to_be_bytes())?;
    header.write_all(&name_length.to_be_bytes())?;
    header.write_all(&CLUSTER_BITS.to_be_bytes())?;
    header.write_all(&size.to_be_bytes())?;
    // No encryption.
    header.write_all(&0_u32.to_be_bytes())?;
    header.write_all(&entries.to_be_bytes())?;
    header.write_all(&(3 * CLUSTER).to_be_bytes())?;
    header.write_all(&CLUSTER.to_be_bytes())?;
    header.write_all(&1_u32.to_be_bytes())?;
    // No snapshots; no features.
    header.write_all(&[0; 12 + 24])?;
    // Counts of 2^4 bits.
    header.write_all(&4_u32.to_be_bytes())?;
    header.write_all(&HEADER_LENGTH.to_be_bytes())?;
    header.write_all(&BACKING_FORMAT.to_be_bytes())?;
    header.write_all(&3_u32.to_be_bytes())?;
    header.write_all(b"raw\0\0\0\0\0")?;
    header.write_all(&[0; 8])?;
    header.write_all(base)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn qemu_img(arguments: &[&str]) -> String {
        let output = Command::new("qemu-img").args(arguments).output().expect("qemu-img of qemu-utils");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn qemu_takes_it_for_an_overlay_of_its_base() {
        let folder = tempfile::tempdir().unwrap();
        let (base, path) = (folder.path().join("base"), folder.path().join("overlay.qcow2"));
        for (named, size) in [(base.as_path(), 10_u64 << 30), (Path::new("base"), 1 << 40)] {
            std::fs::File::create(&base).unwrap().set_len(size).unwrap();
            make(&path, named, size).unwrap();
            let path = path.to_str().unwrap();
            qemu_img(&["check", path]);
            let info: serde_json::Value =
                serde_json::from_str(&qemu_img(&["info", "--output", "json", path])).unwrap();
            assert_eq!(info["virtual-size"], size);
            assert_eq!(info["full-backing-filename"], base.to_str().unwrap());
            assert_eq!(info["backing-filename-format"], "raw");
            assert!(info["actual-size"].as_u64().unwrap() <= 20 << 10, "{info}");
        }
        assert!(!folder.path().join("overlay.new").exists());
        assert!(make(&path, &base, SIZE_MAX + 1).is_err());
    }
}
