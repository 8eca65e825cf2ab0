//! Forgets the connections of an address.
//!
//! A tracked connection goes on to be translated after its rule is gone. Forgotten, its next packet meets
//! the host's own TCP, which resets it, also when bridge and rules are gone with the last machine.

use std::io;
use std::net::Ipv4Addr;

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

/// `NFNL_SUBSYS_CTNETLINK << 8`, from `linux/netfilter/nfnetlink.h`.
const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_NEW`, `_GET` and `_DELETE` of `linux/netfilter/nfnetlink_conntrack.h`.
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
/// `NLM_F_REQUEST` and `NLM_F_DUMP` of `linux/netlink.h`.
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`, `CTA_TUPLE_IP`, `CTA_IP_V4_SRC`, `CTA_IP_V4_DST`.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
/// `NLA_TYPE_MASK`: without the flags for nesting and byte order.
const TYPE_MASK: u16 = 0x3fff;
/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
/// The most messages of one dump that are looked at.
const MAX_BATCHES: usize = 100_000;

/// Forgets every connection to or from the address. A kernel without the interface keeps them: then the
/// rules alone end them.
pub fn forget(address: Ipv4Addr) {
    if let Err(error) = forget_all(address) {
        tracing::debug!("Cannot forget the connections of {address}: {error}");
    }
}

fn forget_all(address: Ipv4Addr) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&message(GET, REQUEST | DUMP, &[]), 0)?;
    let mut doomed = Vec::new();
    for _ in 0..MAX_BATCHES {
        let (batch, _) = socket.recv_from_full()?;
        if !collect(&batch, address, &mut doomed)? {
            break;
        }
    }
    for tuple in doomed {
        // One that has ended meanwhile is not there any more; that is what was wanted.
        socket.send(&message(DELETE, REQUEST, &attribute(TUPLE_ORIGINAL | 0x8000, &tuple)), 0)?;
    }
    Ok(())
}

fn message(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + FAMILY_HEADER + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([u8::try_from(libc::AF_INET).unwrap_or(2), 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + payload.len());
    bytes.extend(u16::try_from(4 + payload.len()).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Takes the tuples of the address's connections out of one batch; false when the dump is over.
fn collect(batch: &[u8], address: Ipv4Addr, doomed: &mut Vec<Vec<u8>>) -> io::Result<bool> {
    let mut rest = batch;
    while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(body) = rest.get(HEADER..length) else { break };
        match kind {
            DONE => return Ok(false),
            ERROR => {
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(io::Error::from_raw_os_error(-code));
            }
            NEW => doomed.extend(tuple_of(body.get(FAMILY_HEADER..).unwrap_or_default(), address)),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// The original tuple of a connection, if the address takes part in it.
fn tuple_of(attributes: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let original = find(attributes, TUPLE_ORIGINAL)?;
    let reply = find(attributes, TUPLE_REPLY)?;
    let names = |tuple: &[u8]| {
        let ip = find(tuple, TUPLE_IP).unwrap_or_default();
        [V4_SOURCE, V4_DESTINATION].iter().any(|end| find(ip, *end) == Some(address.octets().as_slice()))
    };
    (names(original) || names(reply)).then(|| original.to_vec())
}

/// The payload of the first attribute of a kind.
fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let Some(([a, b, c, d], _)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        let payload = rest.get(4..length)?;
        if u16::from_ne_bytes([*c, *d]) & TYPE_MASK == kind {
            return Some(payload);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(kind: u16, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let ends = [attribute(V4_SOURCE, &from), attribute(V4_DESTINATION, &to)].concat();
        attribute(kind | 0x8000, &attribute(TUPLE_IP | 0x8000, &ends))
    }

    #[test]
    fn finds_a_connection_by_either_end() {
        let local = [127, 0, 0, 1];
        let machine = [172, 30, 0, 2];
        let connection =
            [tuple(TUPLE_ORIGINAL, local, local), tuple(TUPLE_REPLY, machine, [172, 30, 0, 1])].concat();
        let batch =
            [message(NEW, 0, &connection), message(NEW, 0, &tuple(TUPLE_ORIGINAL, local, local))].concat();
        let mut doomed = Vec::new();
        assert!(collect(&batch, machine.into(), &mut doomed).unwrap());
        assert_eq!(doomed.len(), 1);
        doomed.clear();
        assert!(collect(&batch, Ipv4Addr::new(172, 30, 0, 3), &mut doomed).unwrap());
        assert!(doomed.is_empty());
        assert!(!collect(&message(DONE, 0, &[]), machine.into(), &mut doomed).unwrap());
    }

    #[test]
    fn a_torn_batch_is_no_panic() {
        let whole = message(NEW, 0, &tuple(TUPLE_ORIGINAL, [1; 4], [2; 4]));
        for cut in 0..whole.len() {
            let _ = collect(&whole[..cut], Ipv4Addr::LOCALHOST, &mut Vec::new());
        }
        let mut zero = whole.clone();
        zero[..4].fill(0);
        let _ = collect(&zero, Ipv4Addr::LOCALHOST, &mut Vec::new());
    }
}
