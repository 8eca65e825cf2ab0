//! Small files read whole, with few system calls: what the kernel says of its own files' size is of no use.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// How much is read at once at first.
const CHUNK: usize = 8 << 10;

/// Reads from where the file stands to its end, at most `limit` bytes.
pub fn read(file: impl AsFd, limit: usize) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(CHUNK);
    loop {
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => return Ok(text),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) if text.len() > limit => {
                return Err(io::Error::other(format!("it has more than {limit} bytes")));
            }
            Ok(_) if text.len() == text.capacity() => text.reserve(text.len()),
            Ok(_) => {}
        }
    }
}

/// Reads the file at `path`.
pub fn read_path(path: impl AsRef<Path>, limit: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    read(rustix::fs::open(path.as_ref(), flags, Mode::empty())?, limit)
}

/// Reads the text at `path`.
pub fn read_text(path: impl AsRef<Path>, limit: usize) -> io::Result<String> {
    String::from_utf8(read_path(path, limit)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_size_are_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK] {
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            assert_eq!(read_path(&path, 1 << 20).unwrap().len(), size);
        }
        assert!(read_path(&path, CHUNK).is_err());
        assert!(read_text("/proc/self/stat", CHUNK).unwrap().contains(") "));
    }
}
