//! The service's end of a guest's wire.
//!
//! Ethernet and ARP are a few bytes and done here; TCP and IP are `smoltcp`'s, on a link of bare packets, so
//! that it needs to resolve no address: whoever sent last is at the other end. Everything is bounded: frames
//! that wait for the guest, connections, what each holds, and the work of a turn.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant as Moment;
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Packet, TcpPacket};

use super::Mmds;
use super::session::{Session, is_over};
use crate::config::MmdsConfig;
use crate::random;

/// The service's address on the wire: Firecracker's, locally administered.
const MAC: [u8; 6] = [0x06, 0x01, 0x23, 0x45, 0x67, 0x01];
const HTTP_PORT: u16 = 80;
/// How many connections there may be; further ones are refused.
const SESSIONS_MAX: usize = 16;
const RECEIVE_BUFFER: usize = 4096;
const SEND_BUFFER: usize = 16 * 1024;
/// How many frames wait for a guest that gives no buffers; TCP sends again what finds no place.
const OUTBOX_MAX: usize = 64;
/// The longest frame that is looked at: more than the receive buffer does not come in one.
const FRAME_MAX: usize = 8192;
/// How often in a turn connections may go on.
const ROUNDS: usize = 64;
/// The shortest time between two turns that nobody but a timer asks for.
const TICK: Duration = Duration::from_millis(1);

const ETHERNET_SIZE: usize = 14;
const ETHERNET_ARP: [u8; 2] = [8, 6];
const ETHERNET_IPV4: [u8; 2] = [8, 0];
/// Ethernet and IPv4 addresses and their lengths, and the question (RFC 826).
const ARP_REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
const ARP_REPLY: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];
const TCP: u8 = 6;

/// Which wire it is the end of.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The rules by which guests are answered, and the service's address.
    pub config: MmdsConfig,
    /// The longest packet that the guest's driver takes, in bytes.
    pub mtu: u16,
}

/// The service on one wire.
pub struct MmdsStack {
    mmds: Mmds,
    config: MmdsConfig,
    start: Instant,
    link: Link,
    interface: Interface,
    sockets: SocketSet<'static>,
    listener: Option<SocketHandle>,
    sessions: Vec<Session>,
}

impl MmdsStack {
    /// How many bytes of a frame [`MmdsStack::wants`] needs.
    pub const HEAD_SIZE: usize = ETHERNET_SIZE + 28;

    /// The service for the guest at the other end of `wire`, from `now` on.
    pub fn new(mmds: Mmds, wire: Wire, now: Instant) -> MmdsStack {
        // Less than IPv4 can be used over is nobody's MTU; the guest's own limits are in its TCP options.
        let mtu = usize::from(wire.mtu.clamp(576, 1500));
        let mut link = Link { guest: [0xff; 6], mtu, inbox: None, outbox: VecDeque::new() };
        let mut seed = [0; 8];
        // Without random bytes the numbers of a guest's own connections can be guessed, by that guest.
        let _ = random::fill(&mut seed);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from_ne_bytes(seed);
        let mut interface = Interface::new(config, &mut link, Moment::ZERO);
        interface.update_ip_addrs(|addresses| {
            // Every guest is on this link, whatever its address. There is room for one address.
            let _ = addresses.push(IpCidr::new(wire.config.ipv4_address.into(), 0));
        });
        MmdsStack {
            mmds,
            config: wire.config,
            start: now,
            link,
            interface,
            sockets: SocketSet::new(Vec::new()),
            listener: None,
            sessions: Vec::new(),
        }
    }

    /// Whether a frame that starts with `head` is for the service: an ARP request for its address, or IPv4 to
    /// it.
    pub fn wants(&self, head: &[u8]) -> bool {
        let address = self.config.ipv4_address.octets();
        let Some((ethernet, packet)) = head.split_at_checked(ETHERNET_SIZE) else { return false };
        let target = match ethernet.get(12..) {
            Some(kind) if kind == ETHERNET_IPV4 => packet.get(16..20),
            Some(kind) if kind == ETHERNET_ARP && packet.starts_with(&ARP_REQUEST) => packet.get(24..28),
            _ => None,
        };
        target == Some(&address)
    }

    /// Takes a frame that the service wants.
    pub fn receive(&mut self, frame: &[u8], now: Instant) {
        let metrics = &self.mmds.metrics;
        metrics.rx_accepted.increment();
        let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET_SIZE) else {
            metrics.rx_accepted_err.increment();
            return;
        };
        if let Some(sender) = ethernet.get(6..12).and_then(|sender| sender.try_into().ok()) {
            self.link.guest = sender;
        }
        if ethernet.ends_with(&ETHERNET_ARP) {
            metrics.rx_accepted_unusual.increment();
            self.answer_arp(packet);
        } else if packet.get(9) != Some(&TCP) {
            metrics.rx_accepted_unusual.increment();
        } else if frame.len() > FRAME_MAX || !is_tcp(packet) || self.link.is_full() {
            metrics.rx_accepted_err.increment();
        } else {
            metrics.rx_count.increment();
            self.link.inbox = Some(packet.to_vec());
            self.take_in(now);
        }
    }

    /// Goes on after `delay`, or when the guest has taken frames.
    pub fn tick(&mut self, now: Instant) {
        for _ in 0..ROUNDS {
            let Self { sessions, sockets, mmds, config, .. } = self;
            let stepped = sessions.iter_mut().fold(false, |any, session| {
                let socket = sockets.get_mut::<Socket<'_>>(session.socket);
                session.step(socket, mmds, config, now) || any
            });
            let moment = self.moment(now);
            let sent = self.interface.poll_egress(moment, &mut self.link, &mut self.sockets);
            if !stepped && sent == PollResult::None {
                break;
            }
        }
        self.bury();
    }

    /// How long until [`MmdsStack::tick`] has something to do, if nothing comes from the guest meanwhile.
    pub fn delay(&mut self, now: Instant) -> Option<Duration> {
        let deadline = self.sessions.iter().map(|session| session.deadline).min()?;
        let deadline = deadline.saturating_duration_since(now);
        // Who takes nothing is not sent anything more.
        let network = match self.link.is_full() {
            true => None,
            false => self.interface.poll_delay(self.moment(now), &self.sockets),
        };
        let network = network.map(|delay| Duration::from_micros(delay.total_micros()));
        Some(network.unwrap_or(deadline).min(deadline).max(TICK))
    }

    /// The next frame for the guest.
    pub fn frame(&self) -> Option<&[u8]> {
        self.link.outbox.front().map(Vec::as_slice)
    }

    /// The guest has the next frame; makes room for what waits behind it.
    pub fn sent(&mut self, now: Instant) {
        let was_full = self.link.is_full();
        if let Some(frame) = self.link.outbox.pop_front() {
            self.mmds.metrics.tx_count.increment();
            self.mmds.metrics.tx_frames.increment();
            self.mmds.metrics.tx_bytes.add(frame.len() as u64);
        }
        if was_full {
            self.tick(now);
        }
    }

    fn moment(&self, now: Instant) -> Moment {
        let passed = now.saturating_duration_since(self.start).as_micros();
        Moment::from_micros(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// Gives the packet in the inbox to TCP, and to the connections what TCP makes of it.
    fn take_in(&mut self, now: Instant) {
        self.listen();
        let moment = self.moment(now);
        let _ = self.interface.poll_ingress_single(moment, &mut self.link, &mut self.sockets);
        if let Some(listener) = self.listener
            && !self.sockets.get::<Socket<'_>>(listener).is_listening()
        {
            self.mmds.metrics.connections_created.increment();
            self.sessions.push(Session::new(listener, now));
            self.listener = None;
        }
        self.tick(now);
    }

    /// Waits for a connection, if there may be one more.
    fn listen(&mut self) {
        if self.listener.is_some() || self.sessions.len() >= SESSIONS_MAX {
            return;
        }
        let buffer = |size: usize| SocketBuffer::new(vec![0; size]);
        let mut socket = Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER));
        // Answers are written whole and requests answered at once: waiting for more would only cost timers.
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        if socket.listen(HTTP_PORT).is_ok() {
            self.listener = Some(self.sockets.add(socket));
        }
    }

    /// Forgets connections that are over.
    fn bury(&mut self) {
        let Self { sessions, sockets, mmds, .. } = self;
        sessions.retain(|session| {
            let over = is_over(sockets.get::<Socket<'_>>(session.socket).state());
            if over {
                sockets.remove(session.socket);
                mmds.metrics.connections_destroyed.increment();
            }
            !over
        });
    }

    fn answer_arp(&mut self, request: &[u8]) {
        let Some(asker) = request.get(8..18).filter(|_| !self.link.is_full()) else {
            self.mmds.metrics.tx_errors.increment();
            return;
        };
        let address = self.config.ipv4_address.octets();
        let mut frame = ethernet(self.link.guest, ETHERNET_ARP);
        frame.extend_from_slice(&[ARP_REPLY.as_slice(), &MAC, &address, asker].concat());
        self.link.outbox.push_back(frame);
    }
}

/// Whether an IPv4 packet holds a TCP segment whose headers lie within it.
fn is_tcp(packet: &[u8]) -> bool {
    Ipv4Packet::new_checked(packet).is_ok_and(|packet| TcpPacket::new_checked(packet.payload()).is_ok())
}

/// The beginning of a frame for `guest`.
fn ethernet(guest: [u8; 6], kind: [u8; 2]) -> Vec<u8> {
    [guest.as_slice(), &MAC, &kind].concat()
}

/// What TCP and IP see of the wire.
struct Link {
    /// The guest's address there.
    guest: [u8; 6],
    mtu: usize,
    inbox: Option<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
}

impl Link {
    fn is_full(&self) -> bool {
        self.outbox.len() >= OUTBOX_MAX
    }
}

impl phy::Device for Link {
    type RxToken<'a> = Received;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Moment) -> Option<(Received, Outgoing<'_>)> {
        let packet = self.inbox.take()?;
        Some((Received(packet), Outgoing(self)))
    }

    fn transmit(&mut self, _: Moment) -> Option<Outgoing<'_>> {
        (!self.is_full()).then_some(Outgoing(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // Nothing between the guest and us can damage a packet, and drivers leave checksums to the device.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

/// A packet of the guest.
struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

/// Room for a packet to the guest.
struct Outgoing<'a>(&'a mut Link);

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = ethernet(self.0.guest, ETHERNET_IPV4);
        frame.resize(ETHERNET_SIZE + length, 0);
        let (_, packet) = frame.split_at_mut(ETHERNET_SIZE);
        let result = write(packet);
        self.0.outbox.push_back(frame);
        result
    }
}

#[cfg(test)]
#[path = "stack_tests.rs"]
mod tests;
