//! Where a guest's console output goes: standard output or a file, within bounds, and its last lines into memory.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::config::TokenBucket;
use crate::metrics::UartMetrics;
use crate::outlet::Outlet;
use crate::virtio::limiter::Bucket;

/// How much of the end is kept for the record of a panic.
const TAIL: usize = 4 << 10;
/// Output that a reader has not taken yet; more is dropped.
const PENDING: usize = 64 << 10;
/// A line longer than this is written before its end comes.
const LINE: usize = 256;
/// How much goes into a regular file that standard output is: nobody empties it, and nobody asked for more.
const FILE_LIMIT: u64 = 4 << 20;
/// What is written there when the limit is reached.
const CUT: &[u8] = b"\n[the console's further output is dropped: the file has 4 MiB]\n";

/// The guest's console output. Writing never fails, never blocks and keeps a bounded amount.
pub struct Output {
    out: Option<Outlet>,
    /// Bytes that may still go into `out` when that is a regular file.
    allowance: Option<u64>,
    pending: VecDeque<u8>,
    dropped: u64,
    tail: VecDeque<u8>,
    limit: Option<Bucket>,
    metrics: Arc<UartMetrics>,
}

impl Output {
    /// Writes to the process's standard output.
    pub fn to_stdout() -> io::Result<Self> {
        Ok(Self::to(Outlet::stdout()?))
    }

    /// Writes to a file or a named pipe that somebody asked for: as much as comes.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        Ok(Self { out: Some(Outlet::open(path)?), ..Self::to_nowhere() })
    }

    /// Writes to `out`.
    pub fn to(out: Outlet) -> Self {
        Self { allowance: out.is_regular().then_some(FILE_LIMIT), out: Some(out), ..Self::to_nowhere() }
    }

    /// The same, with no more bytes than `limit` lets pass; what is dropped is counted in `metrics`.
    pub fn limited(self, limit: Option<TokenBucket>, metrics: Arc<UartMetrics>) -> Self {
        let limit = limit.and_then(|limit| Bucket::new(limit, Instant::now()));
        Self { limit, metrics, ..self }
    }

    /// Keeps the tail and writes nothing.
    pub fn to_nowhere() -> Self {
        Self {
            out: None,
            allowance: None,
            pending: VecDeque::new(),
            dropped: 0,
            tail: VecDeque::new(),
            limit: None,
            metrics: Arc::default(),
        }
    }

    /// The last 4 KiB, as text.
    pub fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes what is held back in hope of the rest of a line.
    pub fn flush_partial(&mut self) {
        if !self.pending.is_empty() {
            self.drain(0);
        }
    }

    /// Writes what is left and waits up to a second for the reader to take it. For the machine's end.
    pub fn finish(&mut self) {
        self.drain(1000);
    }

    /// Writes as much as the reader takes within `timeout` milliseconds.
    fn drain(&mut self, timeout: libc::c_int) {
        self.metrics.flush_count.increment();
        while !self.pending.is_empty() {
            let Some(out) = self.out.as_ref().filter(|out| out.writable(timeout)) else { break };
            let (first, _) = self.pending.as_slices();
            match out.write(first) {
                Ok(written) if written > 0 => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                _ => {
                    // Nobody reads any more, or the disk is full: the guest runs on.
                    self.metrics.error_count.increment();
                    self.out = None;
                    self.pending.clear();
                }
            }
        }
    }

    /// Whether the limit lets one more byte pass.
    fn passes(&mut self) -> bool {
        let Some(limit) = &mut self.limit else { return true };
        let passes = limit.wait(Instant::now()).is_zero();
        if passes {
            limit.take(1);
        } else {
            self.metrics.rate_limiter_dropped_bytes.increment();
        }
        passes
    }

    fn hold(&mut self, byte: u8) {
        if self.out.is_none() {
            return;
        }
        if let Some(allowance) = &mut self.allowance {
            match *allowance {
                0 => return,
                1 => self.pending.extend(CUT),
                _ => {}
            }
            *allowance -= 1;
        }
        if self.pending.len() < PENDING {
            self.pending.push_back(byte);
        } else {
            self.dropped += 1;
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(byte);
            if self.passes() {
                self.hold(byte);
            }
        }
        let line_ended = bytes.last() == Some(&b'\n');
        if line_ended || self.pending.len() >= LINE {
            self.drain(0);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Devices flush after every byte; lines are what costs a system call here.
        Ok(())
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
