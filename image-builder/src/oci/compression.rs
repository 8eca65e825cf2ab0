//! Uncompresses streams: gzip, xz and zstd, told by their first bytes, as container tools do for layers.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use super::storage::Blob;

/// The largest window of a zstd stream that is taken: 128 MiB of memory.
const MAX_WINDOW_LOG: u32 = 27;

/// The largest memory of decompression from xz that is taken, in KiB.
const MAX_XZ_MEMORY: u32 = 160 << 10;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Xz,
    /// Known, to say so.
    Bzip2,
}

fn told_by(start: &[u8]) -> Option<Compression> {
    match start {
        [0x1f, 0x8b, ..] => Some(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
        [b'B', b'Z', b'h', ..] => Some(Compression::Bzip2),
        _ => None,
    }
}

/// How a file is compressed.
pub(super) fn of(file: &File) -> io::Result<Option<Compression>> {
    let mut start = [0; 6];
    let read = file.read_at(&mut start, 0)?;
    Ok(told_by(&start[..read]))
}

/// Reads a file uncompressed, whatever its compression; more than `limit` bytes are an error.
pub(super) fn reader(file: File, limit: u64) -> io::Result<Limited> {
    uncompressed(Blob::whole(file)?, limit)
}

/// Reads a stream uncompressed, whatever its compression; more than `limit` bytes are an error.
pub(super) fn uncompressed(mut stream: impl Read + 'static, limit: u64) -> io::Result<Limited> {
    let mut start = Vec::new();
    (&mut stream).take(6).read_to_end(&mut start)?;
    let compression = told_by(&start);
    let blob = BufReader::with_capacity(128 << 10, io::Cursor::new(start).chain(stream));
    let inner: Box<dyn Read> = match compression {
        None => Box::new(blob),
        Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        Some(Compression::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(blob)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Some(Compression::Xz) => Box::new(lzma_rust2::XzReader::new_mem_limit(blob, true, MAX_XZ_MEMORY)),
        Some(Compression::Bzip2) => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "It is compressed with bzip2"));
        }
    };
    Ok(Limited { inner, left: limit, limit })
}

/// A stream of which no more than a number of bytes is read.
pub(super) struct Limited {
    inner: Box<dyn Read>,
    left: u64,
    limit: u64,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let text = format!("It is larger than {} bytes uncompressed", self.limit);
            io::Error::new(io::ErrorKind::FileTooLarge, text)
        })?;
        Ok(read)
    }
}
