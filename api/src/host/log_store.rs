//! A machine's output on the disk: log frames in a file that is turned over before it grows too large.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::HostError;
use super::log_frame::{Decoder, Frame, HEADER, Stream};

/// The size at which a file is turned over. The one before it is kept: twice as much is on the disk.
const MAX_FILE: u64 = 10 << 20;
/// How much is read at once.
const PIECE: usize = 64 << 10;

/// The file before the current one.
fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// The one who writes a machine's output.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    file: File,
    size: u64,
    next: u64,
    limit: u64,
}

impl LogWriter {
    /// Goes on behind the last whole frame; what a crash left of another one is cut off.
    pub fn open(path: &Path) -> Result<Self, HostError> {
        Self::with_limit(path, MAX_FILE)
    }

    fn with_limit(path: &Path, limit: u64) -> Result<Self, HostError> {
        let mut file = open_to_write(path)?;
        let (size, end) = scan(&mut file).map_err(HostError::file("read", path))?;
        file.set_len(size).map_err(HostError::file("write", path))?;
        file.seek(SeekFrom::End(0)).map_err(HostError::file("write", path))?;
        let next = match end {
            Some(end) => end,
            None => match File::open(older(path)) {
                Ok(mut file) => scan(&mut file).map_err(HostError::file("read", path))?.1.unwrap_or(0),
                Err(_) => 0,
            },
        };
        Ok(Self { path: path.to_owned(), file, size, next, limit })
    }

    /// The number of the byte that comes next.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Keeps a frame. One that is kept already is passed over, and so is the part of one.
    pub fn append(&mut self, frame: &Frame) -> Result<(), HostError> {
        let known = self.next.saturating_sub(frame.sequence);
        let Some(skip) = usize::try_from(known).ok().filter(|skip| *skip < frame.payload.len()) else {
            return Ok(());
        };
        let rest = Frame {
            stream: frame.stream,
            sequence: frame.sequence + known,
            payload: frame.payload.slice(skip..),
        };
        if self.size >= self.limit {
            std::fs::rename(&self.path, older(&self.path)).map_err(HostError::file("rename", &self.path))?;
            self.file = open_to_write(&self.path)?;
            self.size = 0;
        }
        let bytes = rest.encode();
        self.file.write_all(&bytes).map_err(HostError::file("write", &self.path))?;
        self.size += bytes.len() as u64;
        self.next = rest.end();
        Ok(())
    }

    /// Keeps a line of the daemon's own among the machine's errors.
    pub fn note(&mut self, line: &str) -> Result<(), HostError> {
        let payload = Bytes::from(format!("{line}\n"));
        self.append(&Frame { stream: Stream::Stderr, sequence: self.next, payload })
    }
}

fn open_to_write(path: &Path) -> Result<File, HostError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(HostError::file("open", path))
}

/// The size of all whole frames of a file and the end of the last one.
fn scan(file: &mut File) -> io::Result<(u64, Option<u64>)> {
    let mut decoder = Decoder::default();
    let (mut size, mut end) = (0, None);
    let mut buffer = vec![0; PIECE];
    file.seek(SeekFrom::Start(0))?;
    loop {
        let length = file.read(&mut buffer)?;
        decoder.push(&buffer[..length]);
        while let Ok(Some(frame)) = decoder.next_frame() {
            size += (HEADER + frame.payload.len()) as u64;
            end = Some(frame.end());
        }
        if length == 0 {
            return Ok((size, end));
        }
    }
}

/// One who reads a machine's output, while it is written or later.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: Option<File>,
    decoder: Decoder,
    since: u64,
}

impl LogReader {
    /// From the first kept byte whose number is at least `since`.
    pub fn open(path: &Path, since: u64) -> Self {
        let file = File::open(older(path)).ok().or_else(|| File::open(path).ok());
        Self { path: path.to_owned(), file, decoder: Decoder::default(), since }
    }

    /// The next frame; nothing at the end of what is written up to now.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if self.file.is_none() {
                self.file = File::open(&self.path).ok();
            }
            let frame = self.decoder.next_frame().map_err(io::Error::other)?;
            match frame {
                Some(frame) if frame.end() <= self.since && !frame.payload.is_empty() => {}
                Some(frame) => {
                    let skip = usize::try_from(self.since.saturating_sub(frame.sequence)).unwrap_or(0);
                    let payload = frame.payload.slice(skip.min(frame.payload.len())..);
                    let sequence = frame.sequence.max(self.since);
                    self.since = frame.end();
                    return Ok(Some(Frame { stream: frame.stream, sequence, payload }));
                }
                None if !self.fill()? => return Ok(None),
                None => {}
            }
        }
    }

    /// Reads on, in the next file when this one is at its end and was turned over.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let mut buffer = vec![0; PIECE];
        let length = file.read(&mut buffer)?;
        if length > 0 {
            self.decoder.push(&buffer[..length]);
            return Ok(true);
        }
        let Ok(current) = File::open(&self.path) else { return Ok(false) };
        if current.metadata()?.ino() == file.metadata()?.ino() {
            return Ok(false);
        }
        // What was written between the last read and the turning over is still to be read.
        let length = file.read(&mut buffer)?;
        if length > 0 {
            self.decoder.push(&buffer[..length]);
            return Ok(true);
        }
        self.decoder = Decoder::default();
        self.file = Some(current);
        Ok(true)
    }
}

#[cfg(test)]
#[path = "log_store_tests.rs"]
mod tests;
