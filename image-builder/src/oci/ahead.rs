//! Layers ahead of whoever applies them: a thread of its own reads them one after another, uncompresses them and takes
//! their digests, a few pieces ahead.

use std::cell::RefCell;
use std::io::{self, Read};
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::compression::uncompressed;
use super::storage::Blob;
use crate::cancellation::Cancellable;
use crate::digest::Sha256;
use crate::limits::Limits;
use crate::progress::{LAYERS, Progress};

/// Uncompressed bytes go from thread to thread in pieces of at most this many.
const PIECE: usize = 256 << 10;

/// How many pieces there are.
const PIECES: usize = 8;

/// The SHA-256 of a layer in hexadecimal.
#[derive(Debug)]
pub(super) struct Digests {
    /// As it is stored.
    pub blob: String,
    /// Uncompressed.
    pub content: String,
}

#[derive(Debug)]
enum Message {
    Piece(Vec<u8>),
    End(Digests),
    Failed(io::Error),
}

/// The layers' uncompressed bytes: those of one, then an end, then those of the next.
#[derive(Debug)]
pub(super) struct Ahead {
    messages: Receiver<Message>,
    /// Pieces that were read go back.
    spent: Sender<Vec<u8>>,
    piece: Vec<u8>,
    position: usize,
    end: Option<Digests>,
}

impl Ahead {
    /// Starts to read layers; more bytes in all of them together than the limit are an error.
    pub(super) fn start(
        blobs: Vec<Blob>,
        limits: &Limits,
        progress: Option<&Arc<dyn Progress>>,
    ) -> io::Result<Self> {
        let (sender, messages) = sync_channel(PIECES);
        let (spent, empty) = channel();
        for _ in 0..PIECES {
            // The other end is here.
            let _ = spent.send(vec![0; PIECE]);
        }
        let cancellation = &limits.cancellation;
        let told = |blob| Told { blob: cancellation.stream(blob), progress: progress.cloned() };
        let (blobs, limit) = (blobs.into_iter().map(told).collect(), limits.data);
        let read = move || read(blobs, limit, &sender, &empty);
        // It ends by itself once one of the channels has no other end.
        thread::Builder::new().name("layers".to_owned()).spawn(read)?;
        Ok(Self { messages, spent, piece: Vec::new(), position: 0, end: None })
    }

    /// The digests of the layer that was read to its end; the next layer follows.
    pub(super) fn end_layer(&mut self) -> io::Result<Digests> {
        self.end.take().ok_or_else(|| io::Error::other("It was not read to its end"))
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.piece.len() {
            if self.end.is_some() {
                return Ok(0);
            }
            match self.messages.recv().map_err(io::Error::other)? {
                Message::Piece(piece) => {
                    // Where nobody waits for it, it is not needed.
                    let _ = self.spent.send(mem::replace(&mut self.piece, piece));
                    self.position = 0;
                }
                Message::End(digests) => self.end = Some(digests),
                Message::Failed(error) => return Err(error),
            }
        }
        let rest = &self.piece[self.position..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.position += length;
        Ok(length)
    }
}

/// What the thread does.
fn read(blobs: Vec<Told>, limit: u64, messages: &SyncSender<Message>, empty: &Receiver<Vec<u8>>) {
    let mut left = limit;
    for blob in blobs {
        let message = match read_layer(blob, &mut left, messages, empty) {
            Ok(Some(digests)) => Message::End(digests),
            Ok(None) => return,
            Err(error) => Message::Failed(error),
        };
        let failed = matches!(message, Message::Failed(_));
        if messages.send(message).is_err() || failed {
            return;
        }
    }
}

/// Reads one layer; nothing where nobody wants it any more.
fn read_layer(
    blob: Told,
    left: &mut u64,
    messages: &SyncSender<Message>,
    empty: &Receiver<Vec<u8>>,
) -> io::Result<Option<Digests>> {
    let blob = Shared(Rc::new(RefCell::new(Hashing { blob, digest: Sha256::new() })));
    let mut content = Sha256::new();
    let mut reader = uncompressed(blob.clone(), *left)?;
    loop {
        let Ok(mut piece) = empty.recv() else { return Ok(None) };
        piece.resize(PIECE, 0);
        let length = fill(&mut reader, &mut piece)?;
        piece.truncate(length);
        content.update(&piece);
        *left -= (length as u64).min(*left);
        // Also the empty one: every piece comes back, or there would be none left after some layers.
        if messages.send(Message::Piece(piece)).is_err() {
            return Ok(None);
        }
        if length == 0 {
            break;
        }
    }
    drop(reader);
    // What follows the compressed stream belongs to the blob.
    io::copy(&mut blob.clone(), &mut io::sink())?;
    let blob = mem::take(&mut blob.0.borrow_mut().digest);
    Ok(Some(Digests { blob: hex::encode(blob.finalize()), content: hex::encode(content.finalize()) }))
}

/// Reads until `piece` is full or the stream ends.
fn fill(reader: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match reader.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A blob of which is told how far it was read.
#[derive(Debug)]
struct Told {
    blob: Cancellable<Blob>,
    progress: Option<Arc<dyn Progress>>,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.blob.read(buffer)?;
        if let Some(progress) = &self.progress {
            progress.advance(LAYERS, read as u64);
        }
        Ok(read)
    }
}

/// A blob and the digest of what was read of it.
#[derive(Debug)]
struct Hashing {
    blob: Told,
    digest: Sha256,
}

/// The decoder owns its stream; what it leaves of it has to be read, too.
#[derive(Debug, Clone)]
struct Shared(Rc<RefCell<Hashing>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Hashing { blob, digest } = &mut *self.0.borrow_mut();
        let read = blob.read(buffer)?;
        digest.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn blob(bytes: &[u8]) -> Blob {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Blob::whole(file).unwrap()
    }

    fn digest(bytes: &[u8]) -> String {
        hex::encode(Sha256::digest(bytes))
    }

    #[test]
    fn layers_come_one_by_one_with_their_digests() {
        let plain = vec![7; 3 * PIECE + 1];
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&plain).unwrap();
        let packed = packed.finish().unwrap();
        // More than there are pieces, and some of them empty.
        let blobs: Vec<_> = [&packed[..], &[], b"small"].into_iter().cycle().take(4 * PIECES).collect();
        let mut ahead =
            Ahead::start(blobs.iter().map(|bytes| blob(bytes)).collect(), &Limits::default(), None).unwrap();
        for bytes in blobs {
            let expected = if bytes == packed { &plain } else { bytes };
            let mut content = Vec::new();
            ahead.read_to_end(&mut content).unwrap();
            assert!(content == expected);
            let found = ahead.end_layer().unwrap();
            assert_eq!((found.blob, found.content), (digest(bytes), digest(expected)));
        }
        assert!(ahead.read(&mut [0]).is_err());
    }

    #[test]
    fn the_limit_is_for_all_layers_together() {
        let limits = Limits { data: 5, ..Limits::default() };
        let mut ahead = Ahead::start(vec![blob(b"abc"), blob(b"def")], &limits, None).unwrap();
        let mut content = Vec::new();
        ahead.read_to_end(&mut content).unwrap();
        assert!(ahead.end_layer().is_ok());
        let error = ahead.read_to_end(&mut content).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(ahead.end_layer().is_err());
    }
}
