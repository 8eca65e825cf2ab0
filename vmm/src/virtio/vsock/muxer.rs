//! All connections of a guest.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::EventSet;

use super::connection::{Connection, Fate, Key, Output, Side};
use super::estate::Estate;
use super::greeting::{Greeting, Progress};
use super::packet::{HEADER_SIZE, HOST_CID, Header, TYPE_STREAM, operation};
use super::poller::{Poller, TIMER};
use crate::memory::GuestMemory;
use crate::unix_socket;
use crate::virtio::chain::Chain;
use crate::virtio::device::NeedsReset;
use crate::virtio::io_vectors::IoVectors;

/// How many connections there may be, with those whose program has not said yet where it wants to. That bounds
/// memory and descriptors. Tests, which are both ends, have
/// fewer descriptors to spare.
pub const CONNECTIONS_MAX: usize = if cfg!(test) { 64 } else { 512 };
/// How long a program of the host may take to say where it wants to.
const GREETING_TIME: Duration = Duration::from_secs(10);
/// How many refusals may wait for a buffer of the guest; more are not sent.
const REFUSALS_MAX: usize = 256;
/// When to accept again after the host had no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Ports of the host for connections that it starts: far from those that guests connect to.
const HOST_PORTS: std::ops::Range<u32> = 1 << 30..1 << 31;

const LISTENER: u64 = TIMER + 1;
const FIRST_ID: u64 = LISTENER + 1;

/// Carries packets between connections and sockets.
pub struct Muxer {
    side: Side,
    estate: Estate,
    path: PathBuf,
    listener: UnixListener,
    /// When to listen again, if the host ran out of descriptors.
    deaf_until: Option<Instant>,
    poller: Poller,
    greetings: HashMap<u64, Greeting>,
    connections: HashMap<u64, Connection>,
    /// The connections that the guest knows of.
    keys: HashMap<Key, u64>,
    /// Those that may have something to send, each once, in turn.
    ready: VecDeque<u64>,
    refusals: VecDeque<Header>,
    next_id: u64,
    next_port: u32,
}

impl Muxer {
    /// No connections of the guest yet; those that an earlier driver left to `estate` go on. The listener's
    /// socket is at `path`.
    pub fn new(side: Side, path: PathBuf, listener: UnixListener, estate: Estate) -> io::Result<Muxer> {
        let poller = Poller::new()?;
        poller.watch_listener(&listener, LISTENER)?;
        let inherited = estate.take();
        let mut muxer = Muxer {
            side,
            estate,
            path,
            listener,
            deaf_until: None,
            poller,
            greetings: HashMap::new(),
            connections: HashMap::new(),
            keys: HashMap::new(),
            ready: VecDeque::new(),
            refusals: VecDeque::new(),
            next_id: FIRST_ID,
            next_port: HOST_PORTS.start,
        };
        for connection in inherited {
            let id = muxer.new_id();
            muxer.poller.watch_stream(connection.stream(), id)?;
            muxer.connections.insert(id, connection);
            muxer.follow(id, Some(Fate::Linger));
        }
        Ok(muxer)
    }

    /// Whether there may be something to send to the guest.
    pub fn has_output(&self) -> bool {
        !self.ready.is_empty() || !self.refusals.is_empty()
    }

    /// Looks at the sockets and the clock.
    pub fn poll(&mut self) {
        for (id, events) in self.poller.events(Duration::ZERO) {
            match id {
                TIMER => self.expire(Instant::now()),
                LISTENER => self.accept(),
                id if self.greetings.contains_key(&id) => self.greet(id, events),
                id => {
                    let fate = self.connections.get_mut(&id).map(|found| found.socket_event(events));
                    self.follow(id, fate);
                }
            }
        }
    }

    /// Takes a packet from the guest.
    pub fn take(
        &mut self,
        memory: &GuestMemory,
        chain: &Chain,
        vectors: &mut IoVectors,
    ) -> Result<(), NeedsReset> {
        let (head, rest) = chain.readable().split_at(HEADER_SIZE as u64);
        let mut bytes = [0; HEADER_SIZE];
        head.read(memory, &mut bytes).map_err(|_| NeedsReset)?;
        let header = Header::from_bytes(&bytes);
        let (data, _) = rest.split_at(header.length.into());
        if data.len() != u64::from(header.length) {
            return Err(NeedsReset);
        }
        let metrics = &self.side.metrics;
        metrics.tx_packets_count.increment();
        metrics.tx_bytes_count.add(data.len());
        if header.source_cid != self.side.guest_cid || header.destination_cid != HOST_CID {
            // For somebody whom we do not know, or from somebody who is not the guest.
            return Ok(());
        }
        let key = Key { host_port: header.destination_port, guest_port: header.source_port };
        match self.keys.get(&key).copied() {
            _ if header.kind != TYPE_STREAM => self.refuse(&header),
            Some(id) => {
                let found = self.connections.get_mut(&id);
                let fate = found.map(|found| found.receive(&header, memory, data, vectors));
                self.follow(id, fate);
            }
            None if header.operation == operation::REQUEST => self.connect(key, &header),
            None => self.refuse(&header),
        }
        Ok(())
    }

    /// Writes the next packet for the guest into `chain` and returns its length; None if there is none.
    pub fn give(
        &mut self,
        memory: &GuestMemory,
        chain: &Chain,
        vectors: &mut IoVectors,
    ) -> Result<Option<u32>, NeedsReset> {
        let (head, room) = chain.writable().split_at(HEADER_SIZE as u64);
        if room.is_empty() {
            return Err(NeedsReset);
        }
        let mut packet = self.refusals.pop_front();
        while packet.is_none() {
            let Some(id) = self.ready.pop_front() else { return Ok(None) };
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.queued = false;
            let output = connection.next(room, vectors);
            let over = matches!(output, Output::Last(_));
            self.follow(id, Some(if over { Fate::Over } else { Fate::Live }));
            packet = match output {
                Output::Nothing => None,
                Output::Packet(header) | Output::Last(header) => Some(header),
            };
        }
        let Some(header) = packet else { return Ok(None) };
        head.write(memory, &header.to_bytes()).map_err(|_| NeedsReset)?;
        self.side.metrics.rx_packets_count.increment();
        self.side.metrics.rx_bytes_count.add(header.length.into());
        Ok(Some(header.length.saturating_add(HEADER_SIZE as u32)))
    }

    /// Puts a connection where it belongs after something happened to it.
    fn follow(&mut self, id: u64, fate: Option<Fate>) {
        let (Some(fate), Some(connection)) = (fate, self.connections.get_mut(&id)) else { return };
        if fate != Fate::Live && self.keys.get(&connection.key()) == Some(&id) {
            self.keys.remove(&connection.key());
        }
        if fate == Fate::Over {
            if connection.queued {
                self.ready.retain(|&other| other != id);
            }
            self.connections.remove(&id);
            self.side.metrics.conns_removed.increment();
            return;
        }
        if let Some(deadline) = connection.deadline() {
            self.poller.arm(deadline);
        }
        if connection.has_output() && !connection.queued {
            connection.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Whoever waited too long waits no more.
    fn expire(&mut self, now: Instant) {
        self.greetings.retain(|_, greeting| greeting.deadline() > now);
        let late = |connection: &Connection| connection.deadline().is_some_and(|deadline| deadline <= now);
        let late: Vec<u64> =
            self.connections.iter().filter(|(_, found)| late(found)).map(|(&id, _)| id).collect();
        self.side.metrics.conns_killed.add(late.len() as u64);
        for id in late {
            let fate = self.connections.get_mut(&id).map(Connection::expire);
            self.follow(id, fate);
        }
        if self.deaf_until.is_some_and(|until| until <= now) {
            self.deaf_until = None;
            let _ = self.poller.watch_listener(&self.listener, LISTENER);
        }
        let deadlines = self.greetings.values().map(Greeting::deadline);
        let deadlines = deadlines.chain(self.connections.values().filter_map(Connection::deadline));
        if let Some(next) = deadlines.chain(self.deaf_until).min() {
            self.poller.arm(next);
        }
    }

    /// Lets one program of the host in; the poller reports the next one.
    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, _)) => {
                // Too many: this one finds its connection closed.
                let room = self.greetings.len() + self.connections.len() < CONNECTIONS_MAX;
                if !room || self.admit(stream).is_err() {
                    self.side.metrics.conns_refused.increment();
                }
            }
            Err(error) if is_passing(&error) => {}
            Err(_) => {
                self.side.metrics.muxer_event_fails.increment();
                // Out of descriptors: looking again at once would only burn time.
                self.poller.forget(&self.listener);
                let until = Instant::now() + ACCEPT_PAUSE;
                self.deaf_until = Some(until);
                self.poller.arm(until);
            }
        }
    }

    fn admit(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let id = self.new_id();
        self.poller.watch_stream(&stream, id)?;
        let deadline = Instant::now() + GREETING_TIME;
        self.poller.arm(deadline);
        self.greetings.insert(id, Greeting::new(stream, deadline));
        Ok(())
    }

    /// A program may have said where it wants to.
    fn greet(&mut self, id: u64, events: EventSet) {
        let Some(mut greeting) = self.greetings.remove(&id) else { return };
        if events.intersects(EventSet::HANG_UP | EventSet::ERROR) {
            return;
        }
        match greeting.read() {
            Progress::Wait => {
                self.greetings.insert(id, greeting);
            }
            Progress::Nonsense => {}
            Progress::Port(guest_port) => {
                let Some(key) = self.new_key(guest_port) else { return };
                let connection = Connection::from_host(key, &self.side, greeting.into_stream());
                self.add(id, connection);
            }
        }
    }

    /// The guest wants to reach a socket of the host.
    fn connect(&mut self, key: Key, request: &Header) {
        let mut path = self.path.clone().into_os_string();
        path.push(format!("_{}", key.host_port));
        let id = self.new_id();
        let connected = if self.connections.len() < CONNECTIONS_MAX {
            unix_socket::connect(path.as_ref())
        } else {
            Err(io::ErrorKind::QuotaExceeded.into())
        };
        let watched = connected.and_then(|stream| {
            self.poller.watch_stream(&stream, id)?;
            Ok(stream)
        });
        match watched {
            Ok(stream) => self.add(id, Connection::from_guest(key, &self.side, stream, request)),
            Err(_) => {
                self.side.metrics.conns_refused.increment();
                self.refuse(request);
            }
        }
    }

    fn add(&mut self, id: u64, connection: Connection) {
        self.side.metrics.conns_added.increment();
        self.keys.insert(connection.key(), id);
        self.connections.insert(id, connection);
        self.follow(id, Some(Fate::Live));
    }

    /// Answers that there is no such connection. Refusals are never refused.
    fn refuse(&mut self, header: &Header) {
        if header.operation != operation::RESET && self.refusals.len() < REFUSALS_MAX {
            self.refusals.push_back(header.refusal());
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A free port of the host for a connection to `guest_port`.
    fn new_key(&mut self, guest_port: u32) -> Option<Key> {
        // There are more ports than connections, so this ends soon.
        (0..=CONNECTIONS_MAX).find_map(|_| {
            let host_port = self.next_port;
            self.next_port = host_port + 1;
            if !HOST_PORTS.contains(&self.next_port) {
                self.next_port = HOST_PORTS.start;
            }
            let key = Key { host_port, guest_port };
            (!self.keys.contains_key(&key)).then_some(key)
        })
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        self.estate.leave(self.connections.drain().map(|(_, connection)| connection));
    }
}

impl AsRawFd for Muxer {
    /// Readable when `poll` has something to look at.
    fn as_raw_fd(&self) -> RawFd {
        self.poller.as_raw_fd()
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}
