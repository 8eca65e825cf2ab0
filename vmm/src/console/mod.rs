//! The guest's console: where its output goes, and who gets the input.
//!
//! A guest writes by way of COM1 (`legacy::serial`) or of a virtio console (`virtio::console`); both hold the
//! same [`Console`]. Input goes to the one [`InputPort`] that the machine has for it.

mod input;
mod output;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::input::{InputPort, RawTerminal, listen};
pub use self::output::Output;

/// An [`Output`] for several devices.
#[derive(Clone)]
pub struct Console(Arc<Mutex<Output>>);

impl Console {
    /// A console that writes to `output`.
    pub fn new(output: Output) -> Console {
        Console(Arc::new(Mutex::new(output)))
    }

    /// One that writes nowhere.
    #[cfg(test)]
    pub fn to_nowhere() -> Console {
        Console::new(Output::to_nowhere())
    }

    /// See [`Output::tail`].
    pub fn tail(&self) -> String {
        self.output().tail()
    }

    /// See [`Output::flush_partial`].
    pub fn flush_partial(&self) {
        self.output().flush_partial();
    }

    /// See [`Output::finish`].
    pub fn finish(&self) {
        self.output().finish();
    }

    /// What a thread that panicked with the lock held has left is usable.
    fn output(&self) -> MutexGuard<'_, Output> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output().flush()
    }
}
