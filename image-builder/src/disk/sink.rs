//! A file that is written front to back, part by part, each with its digest.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::cancellation::Cancellation;
use crate::digest::Sha256;
use crate::progress::{Outcome, Progress, ROOT};
use bulkhead_protocol::image::{ALIGN, Part};

/// Bytes are written, and their digest is taken, in pieces of this many.
const PIECE: usize = 1 << 20;

/// How many pieces there are: one that is filled, one whose digest is taken, one that waits.
const PIECES: usize = 3;

/// Writes a disk front to back. Digests are taken in a thread of their own.
#[derive(Debug)]
pub struct Sink<'f> {
    file: &'f File,
    /// What was not written yet.
    piece: Vec<u8>,
    position: u64,
    start: u64,
    orders: Sender<Order>,
    spent: Receiver<Vec<u8>>,
    cancellation: Cancellation,
    /// Who is told of the part that is expected.
    progress: Option<Arc<dyn Progress>>,
    expected: bool,
}

#[derive(Debug)]
enum Order {
    /// More of the part.
    Take(Vec<u8>),
    /// A new part.
    Begin,
    /// Tell the part's digest.
    Tell(Sender<String>),
}

impl<'f> Sink<'f> {
    /// Begins at the start of an empty file.
    pub fn new(file: &'f File) -> io::Result<Self> {
        let (orders, received) = channel();
        let (back, spent) = channel();
        for _ in 1..PIECES {
            // The other end is here.
            let _ = back.send(Vec::with_capacity(PIECE));
        }
        // It ends by itself with the sender of orders.
        thread::Builder::new().name("digests".to_owned()).spawn(move || take_digests(&received, &back))?;
        Ok(Self {
            file,
            piece: Vec::with_capacity(PIECE),
            position: 0,
            start: 0,
            orders,
            spent,
            cancellation: Cancellation::default(),
            progress: None,
            expected: false,
        })
    }

    /// The same, failing once the work shall end.
    pub fn until(self, cancellation: &Cancellation) -> Self {
        Self { cancellation: cancellation.clone(), ..self }
    }

    /// The same, telling how far the part is that is said to be expected, [`ROOT`].
    pub fn told(self, progress: Option<Arc<dyn Progress>>) -> Self {
        Self { progress, ..self }
    }

    /// From here on so many bytes of the part are to come.
    pub fn expect(&mut self, bytes: u64) {
        self.expected = true;
        if let Some(progress) = &self.progress {
            progress.begin(ROOT, bytes, 0);
        }
    }

    /// How many bytes have been written.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A part begins here.
    pub fn begin_part(&mut self) -> io::Result<()> {
        self.flush()?;
        self.start = self.position;
        self.orders.send(Order::Begin).map_err(io::Error::other)
    }

    /// The part that began last ends here.
    pub fn end_part(&mut self) -> io::Result<Part> {
        self.flush()?;
        let (sender, told) = channel();
        self.orders.send(Order::Tell(sender)).map_err(io::Error::other)?;
        let sha256 = told.recv().map_err(io::Error::other)?;
        if let Some(progress) = self.progress.as_ref().filter(|_| mem::take(&mut self.expected)) {
            progress.end(ROOT, Outcome::Transferred);
        }
        Ok(Part { offset: self.start, size: self.position - self.start, sha256 })
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
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        self.position += length as u64;
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.cancellation.check()?;
        self.file.write_all(&self.piece)?;
        if let Some(progress) = self.progress.as_ref().filter(|_| self.expected) {
            progress.advance(ROOT, self.piece.len() as u64);
        }
        let empty = self.spent.recv().map_err(io::Error::other)?;
        let piece = mem::replace(&mut self.piece, empty);
        self.orders.send(Order::Take(piece)).map_err(io::Error::other)
    }
}

/// What the thread does.
fn take_digests(orders: &Receiver<Order>, back: &Sender<Vec<u8>>) {
    let mut digest = Sha256::new();
    for order in orders {
        match order {
            Order::Take(mut piece) => {
                digest.update(&piece);
                piece.clear();
                // Where nobody waits for it, it is not needed.
                let _ = back.send(piece);
            }
            Order::Begin => digest = Sha256::new(),
            Order::Tell(sender) => {
                let _ = sender.send(hex::encode(mem::take(&mut digest).finalize()));
            }
        }
    }
}
