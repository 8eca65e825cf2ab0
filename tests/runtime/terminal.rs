//! The receiving end of a Unix socket over which a runtime sends a descriptor: a console, or a seccomp listener.

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::Value;

use crate::process::wait_readable;

/// A socket that a runtime is told of.
#[derive(Debug)]
pub struct Receiver {
    listener: UnixListener,
    /// Where it is.
    pub path: PathBuf,
}

impl Receiver {
    /// Listens at a path.
    pub fn new(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path).context("Cannot listen for a descriptor")?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Accepts one connection and receives one message: its descriptors.
    pub fn receive(&self, deadline: Instant) -> Result<Vec<OwnedFd>> {
        Ok(self.message(deadline)?.0)
    }

    /// Accepts one connection and receives one document, with the descriptors that come with its beginning.
    pub fn receive_document(&self, deadline: Instant) -> Result<(Vec<OwnedFd>, Value)> {
        let (descriptors, mut text, mut stream) = self.message(deadline)?;
        loop {
            // Its sender may leave the connection open: it ends where it is whole.
            let shown = String::from_utf8_lossy(&text).into_owned();
            match serde_json::from_str(shown.trim_end_matches('\0')) {
                Ok(document) => return Ok((descriptors, document)),
                Err(error) if error.is_eof() => {}
                Err(error) => return Err(error).with_context(|| format!("it is no document: {shown:?}")),
            }
            wait_readable(&[stream.as_fd()], deadline)?;
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).context("Cannot read a document")?;
            ensure!(length > 0, "the document is not whole: {shown:?}");
            text.extend_from_slice(buffer.get(..length).unwrap_or_default());
        }
    }

    fn message(&self, deadline: Instant) -> Result<(Vec<OwnedFd>, Vec<u8>, UnixStream)> {
        wait_readable(&[self.listener.as_fd()], deadline).context("The runtime sent no descriptor")?;
        let (stream, _) = self.listener.accept().context("Cannot accept")?;
        wait_readable(&[stream.as_fd()], deadline).context("The runtime sent no descriptor")?;
        let mut text = vec![0; 65536];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .context("Cannot receive")?;
        text.truncate(received.bytes);
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        Ok((descriptors, text, stream))
    }
}

/// Reads from a terminal until the text has this in it; an end of the other side (EIO) ends it.
pub fn read_until(terminal: &mut File, wanted: &str, deadline: Instant) -> Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if String::from_utf8_lossy(&text).contains(wanted) {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        wait_readable(&[terminal.as_fd()], deadline)
            .with_context(|| format!("{wanted:?} was not said: {:?}", String::from_utf8_lossy(&text)))?;
        let length = terminal
            .read(&mut buffer)
            .with_context(|| format!("the terminal ended: {:?}", String::from_utf8_lossy(&text)))?;
        text.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
}
