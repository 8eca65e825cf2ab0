//! A file that is written front to back, part by part, each with its digest.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use bulkhead_protocol::image::{ALIGN, Part};
use sha2::{Digest, Sha256};

/// Writes a disk front to back.
#[derive(Debug)]
pub struct Sink<'f> {
    writer: BufWriter<&'f File>,
    position: u64,
    start: u64,
    digest: Sha256,
}

impl<'f> Sink<'f> {
    /// Begins at the start of an empty file.
    pub fn new(file: &'f File) -> Self {
        Self { writer: BufWriter::with_capacity(1 << 20, file), position: 0, start: 0, digest: Sha256::new() }
    }

    /// How many bytes have been written.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A part begins here.
    pub fn begin_part(&mut self) {
        self.start = self.position;
        self.digest = Sha256::new();
    }

    /// The part that began last ends here.
    pub fn end_part(&mut self) -> Part {
        let digest = std::mem::take(&mut self.digest).finalize();
        Part { offset: self.start, size: self.position - self.start, sha256: hex::encode(digest) }
    }

    /// Zeros up to the next multiple of [`ALIGN`]; they belong to no part.
    pub fn align(&mut self) -> io::Result<()> {
        self.zeros_to(self.position.next_multiple_of(ALIGN))
    }

    /// Zeros up to `position`, which must not lie behind.
    pub fn zeros_to(&mut self, position: u64) -> io::Result<()> {
        static ZEROS: [u8; 4096] = [0; 4096];
        while self.position < position {
            let length = usize::try_from(position - self.position).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write_all(&ZEROS[..length])?;
        }
        Ok(())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
