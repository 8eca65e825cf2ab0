//! Brings what a container writes into its log.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::log::{Log, Stream};

/// How much is read at once: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// Reads both pipes until all their writers are gone, then ends the log.
pub fn collect(log: &Arc<Log>, out: OwnedFd, err: OwnedFd) -> io::Result<()> {
    let (out, err) = (Receiver::from_owned_fd(out)?, Receiver::from_owned_fd(err)?);
    let log = Arc::clone(log);
    tokio::spawn(async move {
        tokio::join!(pump(&log, Stream::Out, out), pump(&log, Stream::Err, err));
        log.end();
    });
    Ok(())
}

async fn pump(log: &Log, stream: Stream, mut pipe: Receiver) {
    let mut chunk = Vec::with_capacity(4096);
    loop {
        chunk.clear();
        match pipe.read_buf(&mut chunk).await {
            Ok(0) => return,
            Ok(read) => {
                log.append(stream, &chunk);
                // A container that writes much gets a larger buffer; most never need one.
                if read == chunk.capacity() && chunk.capacity() < CHUNK {
                    chunk.reserve_exact(CHUNK);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                crate::console::say(&format!("cannot read a container's output: {error}"));
                return;
            }
        }
    }
}
