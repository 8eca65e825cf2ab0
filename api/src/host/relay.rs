//! Two sockets whose bytes are each the other's.
//!
//! Whatever they say is between the two: nothing is kept but one piece a direction, and who does not read holds the
//! other side up.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::exchange::Cause;

/// How much is read at once.
const CHUNK: usize = 32 << 10;
/// How often it is looked whether a client is there whose bytes nobody takes.
const LOOK: Duration = Duration::from_secs(1);

/// A socket that speaks HTTP no more.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    /// What has come with the end of HTTP.
    ahead: Bytes,
}

impl Wire {
    /// What is left of a connection when it has been upgraded.
    pub fn of(upgraded: Upgraded) -> Result<Self, Cause> {
        let parts = upgraded.downcast::<TokioIo<UnixStream>>().map_err(|_| "it is no Unix socket")?;
        Ok(Self { stream: parts.io.into_inner(), ahead: parts.read_buf })
    }

    /// The socket for who waits for it, and what has come already.
    pub fn into_std(self) -> io::Result<(Bytes, std::os::unix::net::UnixStream)> {
        let stream = self.stream.into_std()?;
        stream.set_nonblocking(false)?;
        Ok((self.ahead, stream))
    }

    /// Its two directions, and what has come already.
    pub fn into_split(self) -> (Bytes, OwnedReadHalf, OwnedWriteHalf) {
        let (read, write) = self.stream.into_split();
        (self.ahead, read, write)
    }
}

/// Goes on until the guest has ended its side and all of it is the client's, or the client has ended his.
pub async fn relay(client: Wire, guest: Wire) {
    let Ok(watched) = client.stream.as_fd().try_clone_to_owned() else { return };
    let (from_client, mut client_read, mut client_write) = client.into_split();
    let (from_guest, mut guest_read, mut guest_write) = guest.into_split();
    let up = async {
        if copy(from_client, &mut client_read, &mut guest_write).await.is_err() {
            // The guest takes no more; what it still says is the client's.
            pending::<()>().await;
        }
    };
    let gone = async {
        while !has_left(&watched) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        _ = copy(from_guest, &mut guest_read, &mut client_write) => {}
        () = up => {}
        () = gone => {}
    }
}

/// Copies until nothing more comes. Only writing fails.
async fn copy(ahead: Bytes, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> io::Result<()> {
    to.write_all(&ahead).await?;
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        to.write_all(&chunk[..length]).await?;
    }
    Ok(())
}

/// Whether the other side sends no more, also where what it has sent is not read.
fn has_left(stream: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok()
        && polled[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
