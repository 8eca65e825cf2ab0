//! An end to work that nobody waits for any more.
//!
//! Whoever reads or writes bytes looks at it before each piece. A wait for a server's answer is not cut short: it has
//! time-outs of its own.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

/// Tells work in other threads to end. Clones are one and the same; two are equal where they are.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

/// The work was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("It was cancelled")]
pub struct Cancelled;

impl From<Cancelled> for io::Error {
    fn from(cancelled: Cancelled) -> Self {
        Self::other(cancelled)
    }
}

impl PartialEq for Cancellation {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cancellation {}

impl Cancellation {
    /// Ends the work at its next piece.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work shall end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error where the work shall end.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// A stream that fails once the work shall end.
    pub fn stream<S>(&self, stream: S) -> Cancellable<S> {
        Cancellable { stream, cancellation: self.clone() }
    }
}

/// A stream whose reads and writes fail with [`Cancelled`] once the work shall end.
#[derive(Debug)]
pub struct Cancellable<S> {
    stream: S,
    cancellation: Cancellation,
}

impl<S: Read> Read for Cancellable<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancellation.check()?;
        self.stream.read(buffer)
    }
}

impl<S: Write> Write for Cancellable<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cancellation.check()?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
