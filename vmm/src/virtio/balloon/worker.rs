//! What the balloon does.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::pages::Pages;
use super::state::BalloonHandle;
use super::statistics::{ENTRIES_MAX, ENTRY_SIZE};
use crate::memory::GuestMemory;
use crate::metrics::{BalloonMetrics, Counter};
use crate::virtio::chain::Chain;
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::ring::Ring;

/// How many pages one request may put into the balloon. Linux names 256 at once.
const PAGES_MAX: usize = 4096;
/// How many requests are served before other devices have their turn: one may cost a thousand system calls.
const TURN_LENGTH: u32 = 16;
/// The token of the statistics' timer.
const TIMER: u16 = 0;

/// What a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Pages go into the balloon.
    Inflate,
    /// Pages come out of it.
    Deflate,
    /// One buffer goes to and fro, with statistics of the guest.
    Statistics,
    /// Free pages that were asked for.
    Hinting,
    /// Free pages that were not.
    Reporting,
}

/// Serves a balloon.
pub struct BalloonWorker {
    queues: Vec<(Role, Ring)>,
    timer: Option<RawFd>,
    desk: Desk,
}

/// What the queues have in common.
struct Desk {
    handle: BalloonHandle,
    metrics: Arc<BalloonMetrics>,
    /// The buffer that the guest gets back when it shall tell its statistics again.
    held: Option<u16>,
    pages: Pages,
    bytes: Vec<u8>,
}

impl BalloonWorker {
    /// A worker for queues by what they are for. `timer` is the descriptor that `handle` gave.
    pub fn new(
        queues: Vec<(Role, Ring)>,
        handle: BalloonHandle,
        timer: Option<RawFd>,
        metrics: Arc<BalloonMetrics>,
    ) -> BalloonWorker {
        let desk = Desk { handle, metrics, held: None, pages: Pages::default(), bytes: Vec::new() };
        BalloonWorker { queues, timer, desk }
    }
}

impl Drop for BalloonWorker {
    fn drop(&mut self) {
        self.desk.handle.unlink();
    }
}

impl Worker for BalloonWorker {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        self.timer.iter().map(|&timer| (timer, TIMER)).collect()
    }

    fn queue_notified(&mut self, index: u16) -> Result<Turn, NeedsReset> {
        // A queue without a use is one whose feature the driver did not take.
        let Some((role, ring)) = self.queues.get_mut(usize::from(index)) else { return Ok(Turn::Done) };
        let turn = match role {
            Role::Statistics => self.desk.hold(ring),
            role => self.desk.serve(*role, ring),
        };
        turn.inspect_err(|_| self.desk.metrics.event_fails.increment())
    }

    fn descriptor_ready(&mut self, _token: u16) -> Result<Turn, NeedsReset> {
        self.desk.handle.statistics_asked();
        let found = self.queues.iter_mut().find(|(role, _)| *role == Role::Statistics);
        if let (Some((_, ring)), Some(head)) = (found, self.desk.held.take()) {
            ring.push(head, 0)?;
            ring.signal()?;
        }
        Ok(Turn::Done)
    }
}

impl Desk {
    /// Serves the requests of a queue and returns each at once.
    fn serve(&mut self, role: Role, ring: &mut Ring) -> Result<Turn, NeedsReset> {
        let mut left = TURN_LENGTH;
        ring.hush()?;
        loop {
            while ring.pop()? {
                let head = ring.chain().head();
                match role {
                    Role::Inflate => self.inflate(ring.memory(), ring.chain())?,
                    Role::Hinting => self.hint(ring.memory(), ring.chain())?,
                    Role::Reporting => self.report(ring.memory(), ring.chain()),
                    // The guest just uses the pages again.
                    Role::Deflate | Role::Statistics => self.metrics.deflate_count.increment(),
                }
                ring.push(head, 0)?;
                left -= 1;
                if left == 0 {
                    ring.signal()?;
                    return Ok(Turn::More);
                }
            }
            ring.signal()?;
            if !ring.listen()? {
                return Ok(Turn::Done);
            }
        }
    }

    /// Pages go into the balloon: the readable part is a list of their numbers.
    fn inflate(&mut self, memory: &GuestMemory, chain: &Chain) -> Result<(), NeedsReset> {
        self.metrics.inflate_count.increment();
        if !self.copy(memory, chain, PAGES_MAX * size_of::<u32>())? {
            self.metrics.event_fails.increment();
            return Ok(());
        }
        let (numbers, rest) = self.bytes.as_chunks();
        if !rest.is_empty() {
            self.metrics.event_fails.increment();
        }
        for number in numbers {
            self.pages.add_page(u32::from_le_bytes(*number));
        }
        let metrics = &self.metrics;
        self.pages.discard(memory, |freed| count(freed, None, &metrics.event_fails));
        Ok(())
    }

    /// The writable part of the chain is free memory of the guest.
    fn report(&mut self, memory: &GuestMemory, chain: &Chain) {
        let metrics = &self.metrics;
        for segment in chain.writable().pieces() {
            metrics.free_page_report_count.increment();
            self.pages.add_segment(segment);
        }
        let freed = &metrics.free_page_report_freed;
        self.pages.discard(memory, |given| count(given, Some(freed), &metrics.free_page_report_fails));
    }

    /// What the guest writes (four bytes) is a command, and what it lets us write to is free memory, which
    /// counts only within a run that the host still wants.
    fn hint(&mut self, memory: &GuestMemory, chain: &Chain) -> Result<(), NeedsReset> {
        if !chain.readable().is_empty() {
            let command: Option<[u8; 4]> =
                if self.copy(memory, chain, 4)? { self.bytes.as_slice().try_into().ok() } else { None };
            match command {
                Some(command) => self.handle.hinting_told(u32::from_le_bytes(command)),
                None => self.metrics.event_fails.increment(),
            }
        }
        let (metrics, pages) = (&self.metrics, &mut self.pages);
        self.handle.within_run(|| {
            for segment in chain.writable().pieces() {
                metrics.free_page_hint_count.increment();
                pages.add_segment(segment);
            }
            let freed = &metrics.free_page_hint_freed;
            pages.discard(memory, |given| count(given, Some(freed), &metrics.free_page_hint_fails));
        });
        Ok(())
    }

    /// Takes the guest's statistics and keeps the buffer until they are wanted again.
    fn hold(&mut self, ring: &mut Ring) -> Result<Turn, NeedsReset> {
        for _ in 0..TURN_LENGTH {
            if !(ring.pop()? || ring.listen()? && ring.pop()?) {
                return Ok(Turn::Done);
            }
            self.metrics.stats_updates_count.increment();
            let fits = self.copy(ring.memory(), ring.chain(), ENTRIES_MAX * ENTRY_SIZE)?;
            if !fits || !self.handle.statistics_told(&self.bytes) {
                self.metrics.stats_update_fails.increment();
            }
            // Two buffers at once are against the rules; the older one goes back.
            if let Some(older) = self.held.replace(ring.chain().head()) {
                ring.push(older, 0)?;
                ring.signal()?;
            }
        }
        Ok(Turn::More)
    }

    /// Copies the readable part, once: the guest may write to it meanwhile. False for more than `max` bytes,
    /// of which none is copied.
    fn copy(&mut self, memory: &GuestMemory, chain: &Chain, max: usize) -> Result<bool, NeedsReset> {
        self.bytes.clear();
        let Some(length) = usize::try_from(chain.readable().len()).ok().filter(|length| *length <= max)
        else {
            return Ok(false);
        };
        self.bytes.resize(length, 0);
        chain.readable().read(memory, &mut self.bytes).map_err(|_| NeedsReset)?;
        Ok(true)
    }
}

/// Counts what became of a range.
fn count(given: io::Result<u64>, freed: Option<&Counter>, fails: &Counter) {
    match (given, freed) {
        (Ok(bytes), Some(freed)) => freed.add(bytes),
        (Ok(_), None) => {}
        (Err(_), _) => fails.increment(),
    }
}

#[cfg(test)]
#[path = "balloon_tests.rs"]
mod tests;
