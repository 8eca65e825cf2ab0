//! Writes cpio archives in the "newc" format that Linux unpacks as an initramfs
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` in the kernel's sources).
//!
//! Deterministic: no time, owner root, inode numbers in the order of the entries.

const TRAILER: &str = "TRAILER!!!";

/// An archive under construction, in memory: an initramfs is small.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory with mode 0755. Its parent must have been added before.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, 0o040_755, 2, (0, 0), &[]);
    }

    /// Adds a regular file with the permission bits `mode`.
    pub fn file(&mut self, path: &str, mode: u32, body: &[u8]) {
        self.entry(path, 0o100_000 | mode, 1, (0, 0), body);
    }

    /// Adds a character device with the permission bits `mode`.
    pub fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, 0o020_000 | mode, 1, (major, minor), &[]);
    }

    /// The whole archive, padded to `align` bytes with zeros, which the kernel skips between archives.
    pub fn finish(mut self, align: usize) -> Vec<u8> {
        self.inode = u32::MAX; // The trailer has inode 0.
        self.entry(TRAILER, 0, 1, (0, 0), &[]);
        self.pad(align);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, links: u32, device: (u32, u32), body: &[u8]) {
        self.inode = self.inode.wrapping_add(1);
        // A body beyond 4 GiB cannot be written down in this format; no caller's limit comes near it.
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let body = &body[..size as usize];
        let name = path.trim_start_matches('/');
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad(4);
        self.bytes.extend_from_slice(body);
        self.pad(4);
    }

    fn pad(&mut self, align: usize) {
        let length = self.bytes.len().next_multiple_of(align);
        self.bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_laid_out_as_the_format_says() {
        let mut archive = Archive::new();
        archive.file("/init", 0o755, b"abcde");
        let bytes = archive.finish(512);
        let header = "070701".to_owned()
            + "00000001000081ed000000000000000000000001000000000000000500000000"
            + "0000000000000000000000000000000500000000";
        assert_eq!(&bytes[..110], header.as_bytes());
        assert_eq!(&bytes[110..116], b"init\0\0");
        assert_eq!(&bytes[116..124], b"abcde\0\0\0");
        assert_eq!(&bytes[124 + 110..124 + 121], b"TRAILER!!!\0");
        assert_eq!(&bytes[124..138], b"07070100000000");
        assert_eq!(bytes.len() % 512, 0);
    }
}
