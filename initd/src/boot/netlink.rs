//! As much of rtnetlink as a guest needs: an interface up, an address, a route (`rtnetlink(7)`).
//!
//! The crate of that name weighs 0.8 MB in a static binary; this is three messages.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const AF_INET: u8 = 2;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_UNICAST: u8 = 1;

/// The length of a message's header, in bytes.
const HEADER: usize = 16;

/// The loopback interface's index, in every network namespace.
pub const LOOPBACK: u32 = 1;

/// A connection to the kernel's routing tables.
pub struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Connects in the caller's network namespace.
    pub fn open() -> io::Result<Self> {
        // Protocol 0 of this family is NETLINK_ROUTE.
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket })
    }

    /// Brings an interface up.
    pub fn link_up(&self, index: u32) -> io::Result<()> {
        self.request(&link_up(index))
    }

    /// Gives an interface an address.
    pub fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.request(&add_address(index, address, prefix))
    }

    /// Sends everything that no other route takes to `gateway`.
    pub fn add_default_route(&self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        self.request(&add_default_route(index, gateway))
    }

    fn request(&self, message: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.socket, message, SendFlags::empty())?;
        let mut answer = [0; 1024];
        let (length, _) = rustix::net::recv(&self.socket, &mut answer, RecvFlags::empty())?;
        acknowledged(&answer[..length.min(answer.len())])
    }
}

/// Reads the kernel's answer to one request.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel's answer is cut short");
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind.ok_or_else(short)?, code.ok_or_else(short)?) {
        (NLMSG_ERROR, 0) => Ok(()),
        (NLMSG_ERROR, code) => Err(Errno::from_raw_os_error(-code).into()),
        _ => Err(io::Error::other("the kernel answers something else than was asked")),
    }
}

fn link_up(index: u32) -> Vec<u8> {
    let mut message = Message::new(RTM_NEWLINK, 0);
    // struct ifinfomsg: family, pad, type (2), index, flags, change mask.
    message.put(&[0, 0, 0, 0]);
    message.put(&index.to_ne_bytes());
    message.put(&IFF_UP.to_ne_bytes());
    message.put(&IFF_UP.to_ne_bytes());
    message.finish()
}

fn add_address(index: u32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    let mut message = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    message.put(&[AF_INET, prefix, 0, RT_SCOPE_UNIVERSE]);
    message.put(&index.to_ne_bytes());
    message.attribute(IFA_LOCAL, &address.octets());
    message.attribute(IFA_ADDRESS, &address.octets());
    message.finish()
}

fn add_default_route(index: u32, gateway: Ipv4Addr) -> Vec<u8> {
    let mut message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
    message.put(&[AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0, 0, 0, 0]);
    message.attribute(RTA_GATEWAY, &gateway.octets());
    message.attribute(RTA_OIF, &index.to_ne_bytes());
    message.finish()
}

/// One message in the making: struct nlmsghdr is length (4), type (2), flags (2), sequence (4), port (4).
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut message = Self(Vec::with_capacity(64));
        message.put(&[0; 4]);
        message.put(&kind.to_ne_bytes());
        message.put(&(NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        message.put(&[0; 8]);
        message
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// An attribute of 4 bytes, the only length used here, so that no padding is needed.
    fn attribute(&mut self, kind: u16, value: &[u8; 4]) {
        self.put(&8_u16.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(0);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_its_length_and_kind() {
        let message = add_address(3, Ipv4Addr::new(10, 1, 2, 3), 24);
        assert_eq!(message.len(), 16 + 8 + 16);
        assert_eq!(message[..4], 40_u32.to_ne_bytes());
        assert_eq!(message[4..6], RTM_NEWADDR.to_ne_bytes());
        assert_eq!(message[28..32], [10, 1, 2, 3]);
        assert_eq!(link_up(1).len(), 32);
        assert_eq!(add_default_route(3, Ipv4Addr::LOCALHOST).len(), 16 + 12 + 16);
    }

    #[test]
    fn answers_are_told_apart() {
        let mut answer = vec![0; 36];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert!(acknowledged(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-libc::ENETUNREACH).to_ne_bytes());
        assert_eq!(acknowledged(&answer).unwrap_err().raw_os_error(), Some(libc::ENETUNREACH));
        assert!(acknowledged(&answer[..10]).is_err());
    }
}
