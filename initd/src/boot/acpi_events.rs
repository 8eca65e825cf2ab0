//! The kernel's reports of ACPI events, by generic netlink (Linux, `drivers/acpi/event.c`): how the power button
//! is heard without an input device.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The family's name, and its group's.
const FAMILY: &[u8] = b"acpi_event\0";
const GROUP: &[u8] = b"acpi_mc_group\0";

/// Message headers: struct nlmsghdr and struct genlmsghdr.
const NETLINK_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
/// The family that knows the others, and what it is asked (`linux/genetlink.h`).
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_NAME: u16 = 2;
const MULTICAST_GROUPS: u16 = 7;
const GROUP_NAME: u16 = 1;
const GROUP_ID: u16 = 2;
const NLM_F_REQUEST: u16 = 1;

/// The attribute with struct acpi_genl_event: class (20 bytes), bus id (15), padding, type (4), data (4).
const EVENT: u16 = 1;
const CLASS: &[u8] = b"button/power\0";
const CLASS_LENGTH: usize = 20;
const TYPE_AT: usize = 36;
/// `ACPI_BUTTON_NOTIFY_STATUS`.
const PRESSED: u32 = 0x80;

/// The longest message that is read, in bytes.
pub const MAX_MESSAGE: usize = 4096;

/// Hears the kernel's ACPI events. Reads do not wait.
pub fn listen() -> io::Result<OwnedFd> {
    let socket = open(SocketFlags::empty())?;
    rustix::net::send(&socket, &family_request(), SendFlags::empty())?;
    let mut answer = [0; MAX_MESSAGE];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let group = find_group(answer.get(..length).unwrap_or_default())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the kernel reports no ACPI events"))?;
    // The first 32 groups are joined by binding; the kernel has given out a handful when it boots.
    let groups = 1_u32.checked_shl(group.wrapping_sub(1)).filter(|_| group > 0);
    let groups = groups.ok_or_else(|| io::Error::other(format!("the group {group} is out of reach")))?;
    let socket = open(SocketFlags::NONBLOCK)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

fn open(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | flags;
    Ok(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::GENERIC))?)
}

fn family_request() -> Vec<u8> {
    let mut body = vec![GET_FAMILY, 1, 0, 0];
    put_attribute(&mut body, FAMILY_NAME, FAMILY);
    let length = u32::try_from(NETLINK_HEADER + body.len()).unwrap_or(0);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(CONTROLLER.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn put_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(0);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn find_group(answer: &[u8]) -> Option<u32> {
    let body = answer.get(NETLINK_HEADER + GENERIC_HEADER..)?;
    let (_, groups) = attributes(body).find(|(kind, _)| *kind == MULTICAST_GROUPS)?;
    attributes(groups).find_map(|(_, group)| {
        let find = |wanted| attributes(group).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let id = u32::from_ne_bytes(find(GROUP_ID)?.try_into().ok()?);
        (find(GROUP_NAME)? == GROUP).then_some(id)
    })
}

/// Tells whether a report says that the power button was pressed.
pub fn is_power_button(message: &[u8]) -> bool {
    let body = message.get(NETLINK_HEADER + GENERIC_HEADER..).unwrap_or_default();
    attributes(body).any(|(kind, event)| {
        let class = event.get(..CLASS_LENGTH).is_some_and(|class| class.starts_with(CLASS));
        let pressed = event.get(TYPE_AT..TYPE_AT + 4) == Some(PRESSED.to_ne_bytes().as_slice());
        kind == EVENT && class && pressed
    })
}

/// The attributes of a message, or of an attribute that holds others: kind without its flags, value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header: &[u8; 4] = bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attribute: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; NETLINK_HEADER + GENERIC_HEADER];
        put_attribute(&mut bytes, 99, b"another");
        put_attribute(&mut bytes, attribute, value);
        bytes
    }

    fn event(class: &[u8], kind: u32) -> Vec<u8> {
        let mut event = vec![0; 44];
        event[..class.len()].copy_from_slice(class);
        event[TYPE_AT..TYPE_AT + 4].copy_from_slice(&kind.to_ne_bytes());
        event
    }

    #[test]
    fn only_the_power_button_is_the_power_button() {
        assert!(is_power_button(&message(EVENT, &event(CLASS, PRESSED))));
        assert!(!is_power_button(&message(EVENT, &event(b"button/sleep", PRESSED))));
        assert!(!is_power_button(&message(EVENT, &event(CLASS, 2))));
        assert!(!is_power_button(&message(2, &event(CLASS, PRESSED))));
        assert!(!is_power_button(&message(EVENT, CLASS)));
    }

    #[test]
    fn the_group_is_found_among_others_and_cut_answers_are_harmless() {
        let group = |name: &[u8], id: u32| {
            let mut group = Vec::new();
            put_attribute(&mut group, GROUP_NAME, name);
            put_attribute(&mut group, GROUP_ID, &id.to_ne_bytes());
            group
        };
        let mut groups = Vec::new();
        put_attribute(&mut groups, 1, &group(b"other\0", 4));
        put_attribute(&mut groups, 2, &group(GROUP, 5));
        let answer = message(MULTICAST_GROUPS, &groups);
        assert_eq!(find_group(&answer), Some(5));
        for end in 0..answer.len() {
            assert!(matches!(find_group(&answer[..end]), None | Some(5)));
            is_power_button(&answer[..end]);
        }
        // An attribute that says it has no length ends the list.
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }
}
