//! What the network device does: frames between the queues and the host's end.

use std::io;
use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;

use virtio_bindings::virtio_net::VIRTIO_NET_HDR_F_NEEDS_CSUM;

use super::limits::SharedLimits;
use super::metadata::{self, Metadata};
use super::receive::{Progress, Receive};
use super::{FRAME_MAX, HEADER_SIZE};
use crate::memory::GuestMemory;
use crate::metrics::NetMetrics;
use crate::net::{self, Lost, Passt, Port, Sent};
use crate::virtio::chain::Chain;
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::limiter::Limiter;
use crate::virtio::ring::Ring;
use crate::virtio::span::{NoMemory, Span};

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// How many frames the guest gets before others have their turn.
const TURN_LENGTH: usize = 128;
/// The tokens of what is listened to.
const FRAMES: u16 = 0;
const RECEIVE_LIMIT: u16 = 1;
const TRANSMIT_LIMIT: u16 = 2;
const METADATA: u16 = 3;
const ROOM: u16 = 4;
/// The shortest frame: the headers of virtio and Ethernet.
const FRAME_MIN: u64 = HEADER_SIZE + 14;
/// How much of a frame is looked at.
const HEAD_SIZE: usize = HEADER_SIZE as usize + metadata::HEAD_SIZE;
/// Where the sender's address is in that.
const SENDER: std::ops::Range<usize> = HEADER_SIZE as usize + 6..HEADER_SIZE as usize + 12;

/// What a device keeps from activation to activation.
#[derive(Clone)]
pub struct Shared {
    /// The other end.
    pub port: Arc<Port>,
    /// The guest's address.
    pub mac: [u8; 6],
    /// How fast it may be.
    pub limits: SharedLimits,
    /// What it did.
    pub metrics: Arc<NetMetrics>,
}

/// Serves a network interface.
pub struct NetWorker {
    receive: Receive,
    transmit: Ring,
    shared: Shared,
    vectors: IoVectors,
    metadata: Option<Metadata>,
    /// Whether frames of the host are waited for: not while there is no room for them.
    listening: bool,
    /// The timer of each direction's limits, while that direction waits for it.
    receive_waits: Option<RawFd>,
    transmit_waits: Option<RawFd>,
}

impl NetWorker {
    /// A worker for the queues, with the metadata service if the interface has it.
    pub fn new(receive: Receive, transmit: Ring, shared: Shared, metadata: Option<Metadata>) -> NetWorker {
        let vectors = IoVectors::new(transmit.memory().clone());
        let mut worker = NetWorker {
            receive,
            transmit,
            shared,
            vectors,
            metadata,
            listening: true,
            receive_waits: None,
            transmit_waits: None,
        };
        worker.note_waits();
        worker
    }

    /// Notes which limits wait, to be told of by `descriptors` without a lock.
    fn note_waits(&mut self) {
        let limits = self.shared.limits.lock();
        self.receive_waits = limits.receive.waiting().then(|| limits.receive.descriptor());
        self.transmit_waits = limits.transmit.waiting().then(|| limits.transmit.descriptor());
    }

    /// Receives what waits, as far as the driver has room, the limits allow it and others are not kept waiting.
    fn receive(&mut self) -> Result<Turn, NeedsReset> {
        let Shared { port, limits, metrics, .. } = &self.shared;
        // Without limits other pairs of queues are not kept waiting.
        let mut limits = Some(limits.lock()).filter(|limits| limits.receive.limits());
        let mut limiter = limits.as_mut().map(|limits| &mut limits.receive);
        if limiter.as_ref().is_some_and(|limiter| limiter.waiting()) {
            return Ok(Turn::Done);
        }
        let mut left = TURN_LENGTH;
        while left != 0 {
            left -= 1;
            if limiter.as_mut().is_some_and(|limiter| !limiter.ready()) {
                metrics.rx_rate_limiter_throttled.increment();
                break;
            }
            match next_frame(&mut self.receive, self.metadata.as_mut(), port)? {
                Progress::Frame(length) => {
                    let bytes = length.saturating_sub(HEADER_SIZE);
                    limiter.iter_mut().for_each(|limiter| limiter.take(bytes));
                    metrics.rx_count.increment();
                    metrics.rx_packets_count.increment();
                    metrics.rx_bytes_count.add(bytes);
                }
                Progress::NoFrame => {
                    self.listening = true;
                    break;
                }
                Progress::NoRoom => {
                    self.listening = false;
                    if !self.receive.listen()? {
                        metrics.no_rx_avail_buffer.increment();
                        break;
                    }
                }
                Progress::TooLong => metrics.rx_fails.increment(),
                Progress::Dead => {
                    metrics.tap_read_fails.increment();
                    self.listening = false;
                    break;
                }
            }
        }
        self.receive.signal()?;
        Ok(if left == 0 { Turn::More } else { Turn::Done })
    }

    /// Sends what waits, as far as the limits allow it.
    fn transmit(&mut self) -> Result<Turn, NeedsReset> {
        let NetWorker { transmit, shared, vectors, metadata, .. } = self;
        let mut limits = Some(shared.limits.lock()).filter(|limits| limits.transmit.limits());
        let mut limiter = limits.as_mut().map(|limits| &mut limits.transmit);
        let waiting =
            |limiter: &Option<&mut Limiter>| limiter.as_ref().is_some_and(|limiter| limiter.waiting());
        let waited = waiting(&limiter);
        let bytes = |chain: &Chain| chain.readable().len().saturating_sub(HEADER_SIZE);
        // What the metadata service took, which does not count.
        let mut taken = Vec::new();
        let turn = match waited {
            true => Turn::Done,
            false => transmit.serve_admitted(
                |chain| {
                    shared.port.has_room()
                        && limiter.as_mut().is_none_or(|limiter| limiter.pass(bytes(chain)))
                },
                |memory, chain| {
                    if send(shared, memory, chain, vectors, metadata.as_mut()) == Way::Metadata {
                        taken.push(bytes(chain));
                    }
                    Ok(Some(0))
                },
            )?,
        };
        shared.port.flush();
        for bytes in taken {
            limiter.iter_mut().for_each(|limiter| limiter.give_back(bytes));
        }
        if waiting(&limiter) && !waited {
            shared.metrics.tx_rate_limiter_throttled.increment();
        }
        Ok(turn)
    }

    /// Sends, and brings what the metadata service answers to that.
    fn transmit_and_answer(&mut self) -> Result<Turn, NeedsReset> {
        let sent = self.transmit()?;
        if self.metadata.as_ref().and_then(Metadata::frame).is_none() {
            return Ok(sent);
        }
        let received = self.receive()?;
        Ok(if sent == Turn::More { sent } else { received })
    }

    fn serve_queue(&mut self, index: u16) -> Result<Turn, NeedsReset> {
        match index {
            TRANSMIT => {
                self.shared.metrics.tx_queue_event_count.increment();
                self.transmit_and_answer()
            }
            RECEIVE => {
                self.shared.metrics.rx_queue_event_count.increment();
                self.receive.hush()?;
                self.receive()
            }
            _ => Ok(Turn::Done),
        }
    }

    fn serve_descriptor(&mut self, token: u16) -> Result<Turn, NeedsReset> {
        let metrics = &self.shared.metrics;
        match token {
            RECEIVE_LIMIT => {
                metrics.rx_event_rate_limiter_count.increment();
                self.shared.limits.lock().receive.timer_fired();
                self.receive()
            }
            TRANSMIT_LIMIT => {
                metrics.tx_rate_limiter_event_count.increment();
                self.shared.limits.lock().transmit.timer_fired();
                self.transmit_and_answer()
            }
            ROOM => self.transmit_and_answer(),
            METADATA => {
                self.metadata.iter_mut().for_each(Metadata::timer_fired);
                self.receive()
            }
            _ => {
                metrics.rx_tap_event_count.increment();
                self.receive()
            }
        }
    }

    /// After a turn: notes who waits, counts what the guest broke.
    fn finish(&mut self, turn: Result<Turn, NeedsReset>) -> Result<Turn, NeedsReset> {
        self.note_waits();
        self.metadata.iter_mut().for_each(Metadata::rest);
        turn.inspect_err(|_| self.shared.metrics.event_fails.increment())
    }
}

impl Worker for NetWorker {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        let port = &self.shared.port;
        // While the receive limits wait, the host keeps its frames, and drops what it has no room for.
        let receive = match self.receive_waits {
            Some(timer) => Some((timer, RECEIVE_LIMIT)),
            None => port.frames().filter(|_| self.listening).map(|frames| (frames, FRAMES)),
        };
        let transmit = self.transmit_waits.map(|timer| (timer, TRANSMIT_LIMIT));
        let metadata = self.metadata.as_ref().and_then(Metadata::descriptor).map(|timer| (timer, METADATA));
        let room = port.room().map(|room| (room, ROOM));
        receive.into_iter().chain(transmit).chain(metadata).chain(room).collect()
    }

    fn queue_notified(&mut self, index: u16) -> Result<Turn, NeedsReset> {
        let turn = self.serve_queue(index);
        self.finish(turn)
    }

    fn descriptor_ready(&mut self, token: u16) -> Result<Turn, NeedsReset> {
        let turn = self.serve_descriptor(token);
        self.finish(turn)
    }
}

/// Receives a frame of the metadata service or, when that has none, of the host.
fn next_frame(
    receive: &mut Receive,
    metadata: Option<&mut Metadata>,
    port: &Port,
) -> Result<Progress, NeedsReset> {
    let Some((metadata, progress)) = metadata.and_then(|metadata| {
        let progress = receive.deliver(metadata.frame()?);
        Some((metadata, progress))
    }) else {
        return match port {
            Port::Tap(tap) => receive.receive(tap.as_fd()),
            Port::Passt(passt) => from_passt(receive, &mut net::lock(passt)),
        };
    };
    if let Ok(Progress::Frame(_) | Progress::TooLong) = progress {
        metadata.sent();
    }
    progress
}

fn from_passt(receive: &mut Receive, passt: &mut Passt) -> Result<Progress, NeedsReset> {
    let progress = match passt.frame() {
        Ok(Some(frame)) => receive.deliver(frame)?,
        Ok(None) => return Ok(Progress::NoFrame),
        Err(Lost) => return Ok(Progress::Dead),
    };
    if let Progress::Frame(_) | Progress::TooLong = progress {
        passt.taken();
    }
    Ok(progress)
}

/// Where a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the metadata service.
    Metadata,
    /// To the host, or nowhere.
    Wire,
}

/// Sends one frame. What the host does not take (too long, too short, a header that contradicts the frame, an
/// interface that is down) is lost, as on any wire.
fn send(
    shared: &Shared,
    memory: &GuestMemory,
    chain: &Chain,
    vectors: &mut IoVectors,
    metadata: Option<&mut Metadata>,
) -> Way {
    let metrics = &shared.metrics;
    let frame = chain.readable();
    let (head, _) = frame.split_at(HEAD_SIZE as u64);
    let mut bytes = [0; HEAD_SIZE];
    let bytes = bytes.split_at_mut(usize::try_from(head.len()).unwrap_or_default()).0;
    // Read apart from what the kernel sends: a guest may change it meanwhile, and only fools itself.
    let malformed = frame.len() < FRAME_MIN || frame.len() > FRAME_MAX || head.read(memory, bytes).is_err();
    let packet = bytes.get(HEADER_SIZE as usize..).unwrap_or_default();
    if !malformed
        && let Some(metadata) = metadata
        && metadata.take(memory, packet, frame.split_at(HEADER_SIZE).1)
    {
        return Way::Metadata;
    }
    let passed = match &*shared.port {
        _ if malformed => Err(io::ErrorKind::InvalidInput.into()),
        Port::Tap(tap) => {
            vectors.clear();
            match vectors.fill(frame) {
                Ok(()) => vectors.write(tap.as_fd()).map(drop),
                Err(NoMemory) => Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Port::Passt(passt) => to_passt(&mut net::lock(passt), memory, frame, bytes),
    };
    // Counted also where the host refuses it: it is the guest's doing.
    if !malformed && bytes.get(SENDER) != Some(shared.mac.as_slice()) {
        metrics.tx_spoofed_mac_count.increment();
    }
    match passed {
        Ok(()) => {
            metrics.tx_count.increment();
            metrics.tx_packets_count.increment();
            metrics.tx_bytes_count.add(frame.len() - HEADER_SIZE);
        }
        // Also the kernel's word for a header that contradicts its frame.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => metrics.tx_malformed_frames.increment(),
        Err(_) => metrics.tap_write_fails.increment(),
    }
    Way::Wire
}

/// Gives passt a frame without its header, which must ask for nothing: no offload was agreed on.
fn to_passt(passt: &mut Passt, memory: &GuestMemory, frame: Span<'_>, head: &[u8]) -> io::Result<()> {
    let (flags, segments) = (head.first().copied(), head.get(1).copied());
    let asks = flags.is_none_or(|flags| u32::from(flags) & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0);
    if asks || segments != Some(0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (_, packet) = frame.split_at(HEADER_SIZE);
    let length = usize::try_from(packet.len()).unwrap_or(usize::MAX);
    match passt.send(length, |place| packet.read(memory, place)) {
        Ok(Sent::Away) => Ok(()),
        Ok(Sent::Nowhere) => Err(io::ErrorKind::NotConnected.into()),
        Err(NoMemory) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "passt_tests.rs"]
mod passt_tests;
