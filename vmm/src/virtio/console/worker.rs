//! What the console device does.

use std::io::Write;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::typed::Typed;
use crate::console::Console;
use crate::memory::GuestMemory;
use crate::metrics::ConsoleMetrics;
use crate::virtio::chain::Chain;
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::ring::Ring;

/// The queue of buffers for input.
const RECEIVE: u16 = 0;
/// How much of one buffer is written or filled. Linux's driver gives a page at most, its ports 32 KiB.
const CHAIN_MAX: u64 = 64 * 1024;
/// How many bytes are copied at once.
const COPY: usize = 1024;

/// Moves characters.
pub struct ConsoleWorker {
    receive: Ring,
    transmit: Ring,
    console: Console,
    typed: Typed,
    metrics: Arc<ConsoleMetrics>,
}

impl ConsoleWorker {
    /// A worker for the two queues.
    pub fn new(
        receive: Ring,
        transmit: Ring,
        console: Console,
        typed: Typed,
        metrics: Arc<ConsoleMetrics>,
    ) -> ConsoleWorker {
        ConsoleWorker { receive, transmit, console, typed, metrics }
    }

    /// Fills the guest's buffers with what waits.
    fn give(&mut self) -> Result<Turn, NeedsReset> {
        let (typed, metrics) = (&self.typed, &self.metrics);
        // A buffer is for input alone, and stays with the guest until there is some.
        self.receive.serve_admitted(
            |_| !typed.is_empty(),
            |memory, chain| fill(memory, chain, typed, metrics).map(Some),
        )
    }

    /// Writes what the guest has written.
    fn take(&mut self) -> Result<Turn, NeedsReset> {
        let Self { transmit, console, metrics, .. } = self;
        let turn = transmit.serve(|memory, chain| print(memory, chain, console, metrics));
        console.flush_partial();
        turn
    }

    fn counted(&self, turn: Result<Turn, NeedsReset>) -> Result<Turn, NeedsReset> {
        turn.inspect_err(|_| self.metrics.event_fails.increment())
    }
}

impl Worker for ConsoleWorker {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        vec![(self.typed.descriptor(), 0)]
    }

    fn queue_notified(&mut self, index: u16) -> Result<Turn, NeedsReset> {
        let turn = if index == RECEIVE { self.give() } else { self.take() };
        self.counted(turn)
    }

    fn descriptor_ready(&mut self, _token: u16) -> Result<Turn, NeedsReset> {
        self.typed.heard();
        let turn = self.give();
        self.counted(turn)
    }
}

/// Writes a chain to the console. What a guest puts behind the limit is lost.
fn print(
    memory: &GuestMemory,
    chain: &Chain,
    console: &mut Console,
    metrics: &ConsoleMetrics,
) -> Result<u32, NeedsReset> {
    let (mut rest, _) = chain.readable().split_at(CHAIN_MAX);
    metrics.tx_bytes_count.add(rest.len());
    let mut bytes = [0; COPY];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(COPY as u64);
        let count = usize::try_from(now.len()).unwrap_or(COPY);
        let bytes = bytes.get_mut(..count).ok_or(NeedsReset)?;
        now.read(memory, bytes).map_err(|_| NeedsReset)?;
        // A console never fails.
        let _ = console.write(bytes);
        rest = later;
    }
    Ok(0)
}

/// Fills a chain with what was typed; returns how many bytes it wrote.
fn fill(
    memory: &GuestMemory,
    chain: &Chain,
    typed: &Typed,
    metrics: &ConsoleMetrics,
) -> Result<u32, NeedsReset> {
    let (mut rest, _) = chain.writable().split_at(CHAIN_MAX);
    let mut written = 0;
    let mut bytes = [0; COPY];
    while !rest.is_empty() {
        let room = usize::try_from(rest.len()).unwrap_or(COPY).min(COPY);
        let count = typed.take(bytes.get_mut(..room).ok_or(NeedsReset)?);
        let (now, later) = rest.split_at(count as u64);
        if now.is_empty() {
            break;
        }
        now.write(memory, bytes.get(..count).ok_or(NeedsReset)?).map_err(|_| NeedsReset)?;
        written += u32::try_from(count).unwrap_or(0);
        rest = later;
    }
    metrics.rx_bytes_count.add(written.into());
    Ok(written)
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
