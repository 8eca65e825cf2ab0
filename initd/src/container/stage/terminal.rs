//! The container's terminal (`process.terminal`), whose other side goes to a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_protocol::oci::Spec;
use rustix::fs::{FileType, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::StageError;
use crate::rootfs::beneath::{Beneath, Links};
use crate::rootfs::{RootfsError, mounts};

/// `DEVPTS_SUPER_MAGIC`.
const DEVPTS: i64 = 0x1cd1;

/// Makes a terminal from the container's own devpts, sends its other side to `socket`, and makes it this
/// session's. What comes back is input, output and errors. The first process's is the container's console, too.
pub fn make(root: &Beneath, socket: &OwnedFd, spec: &Spec, first: bool) -> Result<[OwnedFd; 3], StageError> {
    let failed = |error: Errno| RootfsError::path("open the terminal maker", "/dev/pts/ptmx")(error);
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let other = root.open("/dev/pts/ptmx", flags, Links::Refuse).map_err(failed)?;
    let stat = rustix::fs::fstat(&other).map_err(failed)?;
    let right = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2)
        && rustix::fs::fstatfs(&other).map_err(failed)?.f_type == DEVPTS;
    if !right {
        return Err(failed(Errno::NODEV).into());
    }
    rustix::pty::unlockpt(&other).map_err(RootfsError::step("unlock the terminal"))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal =
        rustix::pty::ioctl_tiocgptpeer(&other, flags).map_err(RootfsError::step("open the terminal"))?;
    if let Some(size) = spec.process.console_size {
        let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&other, size).map_err(RootfsError::step("set process.consoleSize"))?;
    }
    if first {
        bind_console(root, &terminal)?;
    }
    send(socket, &other, b"/dev/ptmx").map_err(RootfsError::step("send the terminal to --console-socket"))?;
    rustix::process::ioctl_tiocsctty(&terminal).map_err(RootfsError::step("take the terminal"))?;
    let copy = || rustix::io::fcntl_dupfd_cloexec(&terminal, 3);
    Ok([copy()?, copy()?, terminal])
}

/// The terminal is also /dev/console, where the container's /dev lets it be.
fn bind_console(root: &Beneath, terminal: &OwnedFd) -> Result<(), StageError> {
    let failed = |error: Errno| RootfsError::path("bind the terminal to", "/dev/console")(error);
    let copy = match mounts::copy(terminal, "", false) {
        // The mounts are those of another container, which has its console.
        Err(Errno::PERM | Errno::INVAL) => return Ok(()),
        copy => copy.map_err(failed)?,
    };
    let place = root.make_file("/dev/console", Links::Refuse).map_err(failed)?;
    Ok(mounts::attach(&copy, &place).map_err(failed)?)
}

/// Sends a descriptor along with some text.
pub fn send(socket: impl AsFd, descriptor: &OwnedFd, text: &[u8]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = IoSlice::new(text);
    rustix::net::sendmsg(socket, &[text], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// Receives what [`send`] has sent. Where nothing is there and the socket does not wait, `WouldBlock`.
pub fn receive(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 64];
    let mut text = [IoSliceMut::new(&mut text)];
    rustix::net::recvmsg(socket, &mut text, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    descriptors.flatten().next().ok_or_else(|| io::Error::other("no terminal came from its process"))
}

/// Gives the streams to the program's user, who may want to open /dev/stdout anew.
pub fn give_away(streams: Option<&[OwnedFd; 3]>, uid: u32) -> Result<(), StageError> {
    if uid == 0 {
        return Ok(());
    }
    let own = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let given: Vec<BorrowedFd<'_>> =
        streams.map_or(own.to_vec(), |streams| streams.iter().map(AsFd::as_fd).collect());
    for stream in given {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        if null || stat.st_uid == uid {
            continue;
        }
        match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
            Err(error) => return Err(RootfsError::step("give away the streams")(error).into()),
        }
    }
    Ok(())
}
