//! One stream between a program of the guest and a Unix socket of the host.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::EventSet;

use super::outlet::{BUFFER_SIZE, Outlet};
use super::packet::{DATA_MAX, HOST_CID, Header, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, TYPE_STREAM, operation};
use crate::memory::GuestMemory;
use crate::metrics::VsockMetrics;
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::span::Span;

/// How long the guest may take to accept or refuse. Firecracker gives it two seconds, which a guest on a busy
/// host may need for itself.
const ACCEPT_TIME: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// How long the guest may take to say good-bye after the host's program has gone.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// How long the host's program may take to read the rest after the guest's has gone.
const LINGER_TIME: Duration = Duration::from_secs(60);

/// What tells connections apart: the two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The host's.
    pub host_port: u32,
    /// The guest's.
    pub guest_port: u32,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It lives on.
    Live,
    /// The guest is done with it; the host's program may read the rest.
    Linger,
    /// It is over.
    Over,
}

/// What a connection sends to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Nothing at the moment.
    Nothing,
    /// A packet, whose data (if any) lie in the buffer.
    Packet(Header),
    /// The last packet; the connection is over.
    Last(Header),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The guest has not answered yet.
    Requested,
    Open,
    /// The host's program is gone; the guest has not said good-bye.
    Closing,
    /// The guest has; the host's program reads the rest.
    Lingering,
}

/// Packets without data that are owed to the guest.
#[derive(Debug, Default)]
struct Due {
    request: bool,
    response: bool,
    reset: bool,
    shutdown: u32,
    credit_update: bool,
    credit_request: bool,
}

/// A stream with its flow control (virtio 1.2 section 5.10.6.3).
#[derive(Debug)]
pub struct Connection {
    key: Key,
    guest_cid: u64,
    stream: UnixStream,
    phase: Phase,
    due: Due,
    deadline: Option<Instant>,
    /// Whether it stands in the line of those that have something to send.
    pub queued: bool,
    /// From the host: something may be there to read.
    readable: bool,
    /// The end may be there to read.
    at_end: bool,
    /// The host's program has closed the socket.
    hung_up: bool,
    /// The guest knows that no more data come.
    ended: bool,
    /// Bytes sent to the guest, ever, modulo 2^32; the same for the others below.
    sent: u32,
    guest_buffer: u32,
    guest_forwarded: u32,
    /// The guest will not receive, will not send any more.
    guest_deaf: bool,
    guest_mute: bool,
    outlet: Outlet,
    metrics: Arc<VsockMetrics>,
}

/// Which guest, and who counts.
#[derive(Debug, Clone)]
pub struct Side {
    /// The guest's context id.
    pub guest_cid: u64,
    /// The figures of its device.
    pub metrics: Arc<VsockMetrics>,
}

impl Connection {
    /// A host's program wants to reach the guest.
    pub fn from_host(key: Key, side: &Side, stream: UnixStream) -> Connection {
        let due = Due { request: true, ..Due::default() };
        let deadline = Some(Instant::now() + ACCEPT_TIME);
        Connection { deadline, ..Connection::new(key, side, stream, Phase::Requested, due) }
    }

    /// The guest wants to reach the host; `request` is its packet.
    pub fn from_guest(key: Key, side: &Side, stream: UnixStream, request: &Header) -> Connection {
        let due = Due { response: true, ..Due::default() };
        let mut connection = Connection::new(key, side, stream, Phase::Open, due);
        connection.learn_credit(request);
        connection
    }

    fn new(key: Key, side: &Side, stream: UnixStream, phase: Phase, due: Due) -> Connection {
        Connection {
            key,
            guest_cid: side.guest_cid,
            metrics: Arc::clone(&side.metrics),
            stream,
            phase,
            due,
            deadline: None,
            queued: false,
            // Events may have come before this was a connection.
            readable: true,
            at_end: true,
            hung_up: false,
            ended: false,
            sent: 0,
            guest_buffer: 0,
            guest_forwarded: 0,
            guest_deaf: false,
            guest_mute: false,
            outlet: Outlet::default(),
        }
    }

    /// The guest is gone. What it has sent is the host's program's all the same: the connection lingers, if there
    /// is anything left that the socket does not take at once.
    pub fn outlive(mut self) -> Option<Connection> {
        self.linger();
        self.queued = false;
        (self.flush() == Fate::Live).then_some(self)
    }

    /// The socket.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Its ports.
    pub fn key(&self) -> Key {
        self.key
    }

    /// When `expire` is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether there may be something to send to the guest.
    pub fn has_output(&self) -> bool {
        let due = &self.due;
        due.request
            || due.response
            || due.reset
            || due.shutdown != 0
            || due.credit_update
            || self.outlet.owes_update()
            || due.credit_request
            || (self.may_read() && self.credit() > 0)
    }

    /// Its time is up.
    pub fn expire(&mut self) -> Fate {
        self.deadline = None;
        if self.phase == Phase::Lingering {
            return Fate::Over;
        }
        self.due.reset = true;
        Fate::Live
    }

    /// Something changed at the socket.
    pub fn socket_event(&mut self, events: EventSet) -> Fate {
        if events.intersects(EventSet::IN | EventSet::READ_HANG_UP | EventSet::HANG_UP | EventSet::ERROR) {
            self.readable = true;
        }
        self.at_end |= events.intersects(EventSet::READ_HANG_UP | EventSet::HANG_UP);
        if events.intersects(EventSet::HANG_UP | EventSet::ERROR) {
            self.hung_up = true;
            match self.phase {
                Phase::Requested => self.due.reset = true,
                Phase::Lingering => return Fate::Over,
                _ if self.ended || self.guest_deaf => self.close(),
                _ => {}
            }
        }
        if events.contains(EventSet::OUT) { self.flush() } else { Fate::Live }
    }

    /// A packet came from the guest, with `data` behind its header.
    pub fn receive(
        &mut self,
        header: &Header,
        memory: &GuestMemory,
        data: Span<'_>,
        vectors: &mut IoVectors,
    ) -> Fate {
        self.learn_credit(header);
        match (self.phase, header.operation) {
            (_, operation::RESET) => return self.reset_by_guest(),
            (Phase::Requested, operation::RESPONSE) => self.accepted(),
            (Phase::Open | Phase::Closing, operation::DATA) => {
                let forwarded = self.outlet.forward(&self.stream, memory, data, vectors);
                if forwarded.is_err() {
                    self.metrics.tx_write_fails.increment();
                }
                self.due.reset |= self.guest_mute || forwarded.is_err();
            }
            (Phase::Open | Phase::Closing, operation::SHUTDOWN) => {
                self.guest_deaf |= header.flags & SHUTDOWN_RECEIVE != 0;
                self.guest_mute |= header.flags & SHUTDOWN_SEND != 0;
                self.settle();
            }
            (Phase::Open | Phase::Closing, operation::CREDIT_UPDATE) => {}
            (Phase::Open | Phase::Closing, operation::CREDIT_REQUEST) => self.due.credit_update = true,
            _ => self.due.reset = true,
        }
        Fate::Live
    }

    /// The next packet for the guest; data go to `room`, which must not be empty.
    pub fn next(&mut self, room: Span<'_>, vectors: &mut IoVectors) -> Output {
        if self.due.reset {
            return Output::Last(self.header(operation::RESET));
        }
        if std::mem::take(&mut self.due.request) {
            return Output::Packet(self.header(operation::REQUEST));
        }
        if std::mem::take(&mut self.due.response) {
            return Output::Packet(self.header(operation::RESPONSE));
        }
        if self.may_read() && self.credit() > 0 {
            match self.read(room, vectors) {
                Ok(0) => {}
                Ok(length) => {
                    return Output::Packet(Header { length, ..self.header(operation::DATA) });
                }
                Err(_) => {
                    self.metrics.rx_read_fails.increment();
                    return Output::Last(self.header(operation::RESET));
                }
            }
        }
        let flags = std::mem::take(&mut self.due.shutdown);
        if flags != 0 {
            return Output::Packet(Header { flags, ..self.header(operation::SHUTDOWN) });
        }
        if self.due.credit_update || self.outlet.owes_update() {
            return Output::Packet(self.header(operation::CREDIT_UPDATE));
        }
        if std::mem::take(&mut self.due.credit_request) {
            return Output::Packet(self.header(operation::CREDIT_REQUEST));
        }
        Output::Nothing
    }

    /// A header for the guest, which learns from it how much it may send.
    fn header(&mut self, operation: u16) -> Header {
        self.due.credit_update = false;
        Header {
            source_cid: HOST_CID,
            destination_cid: self.guest_cid,
            source_port: self.key.host_port,
            destination_port: self.key.guest_port,
            kind: TYPE_STREAM,
            operation,
            buffer_size: BUFFER_SIZE,
            forwarded: self.outlet.tell(),
            ..Header::default()
        }
    }

    /// How many bytes the guest has room for. A guest that contradicts itself has none.
    fn credit(&self) -> u32 {
        let in_flight = self.sent.wrapping_sub(self.guest_forwarded);
        self.guest_buffer.saturating_sub(in_flight)
    }

    fn learn_credit(&mut self, header: &Header) {
        self.guest_buffer = header.buffer_size;
        self.guest_forwarded = header.forwarded;
    }

    fn may_read(&self) -> bool {
        self.readable && self.phase == Phase::Open && !self.ended && !self.guest_deaf
    }

    /// Reads from the socket into the guest's buffer; 0 when there is nothing to send.
    fn read(&mut self, room: Span<'_>, vectors: &mut IoVectors) -> io::Result<u32> {
        let wanted = self.credit().min(DATA_MAX);
        let (room, _) = room.split_at(wanted.into());
        vectors.clear();
        vectors.fill(room).map_err(|_| io::ErrorKind::InvalidInput)?;
        match vectors.read(self.stream.as_fd()) {
            Ok(0) => {
                self.ended = true;
                if self.hung_up {
                    self.close();
                } else {
                    self.due.shutdown |= SHUTDOWN_SEND;
                }
                Ok(0)
            }
            Ok(count) => {
                let count = u32::try_from(count).unwrap_or(wanted);
                self.sent = self.sent.wrapping_add(count);
                // Less than asked for: that was all, unless the end follows, which is no new event.
                self.readable = u64::from(count) == room.len() || self.at_end;
                self.due.credit_request = self.readable && self.credit() == 0;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                self.at_end = false;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// The socket takes more: gives it what is left.
    fn flush(&mut self) -> Fate {
        let flushed = self.outlet.flush(&self.stream);
        if flushed.is_err() {
            self.metrics.tx_flush_fails.increment();
        }
        if self.phase == Phase::Lingering {
            return if flushed.is_err() || self.outlet.is_empty() { Fate::Over } else { Fate::Live };
        }
        self.due.reset |= flushed.is_err();
        self.settle();
        Fate::Live
    }

    /// Passes on what the guest said about directions, once the backlog is gone.
    fn settle(&mut self) {
        if self.guest_deaf {
            let _ = self.stream.shutdown(Shutdown::Read);
        }
        if self.guest_mute && self.outlet.is_empty() {
            let _ = self.stream.shutdown(Shutdown::Write);
            self.due.reset |= self.guest_deaf || self.phase == Phase::Closing;
        }
    }

    /// The host's program is gone for good: the guest has a moment to say good-bye.
    fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
            self.due.shutdown = SHUTDOWN_SEND | SHUTDOWN_RECEIVE;
            self.deadline = Some(Instant::now() + FAREWELL_TIME);
        }
    }

    /// The guest accepted what the host's program asked for.
    fn accepted(&mut self) {
        self.phase = Phase::Open;
        self.deadline = None;
        let line = format!("OK {}\n", self.key.host_port);
        self.due.reset |= self.stream.write_all(line.as_bytes()).is_err();
    }

    fn reset_by_guest(&mut self) -> Fate {
        // After a proper good-bye nothing that it sent may be lost.
        if self.outlet.is_empty() || !self.guest_mute {
            return Fate::Over;
        }
        self.linger();
        Fate::Linger
    }

    /// Nothing is for the guest any more. A connection that lingers already gets no more time.
    fn linger(&mut self) {
        if self.phase != Phase::Lingering {
            self.phase = Phase::Lingering;
            self.deadline = Some(Instant::now() + LINGER_TIME);
        }
        self.due = Due::default();
    }
}
