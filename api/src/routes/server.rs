//! The server: HTTP/1.1 on a Unix socket, with limits on time and number.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use crate::host::HostError;

/// Connections at once; the next one waits.
const MAX_CONNECTIONS: usize = 512;
/// How long a request's head may take to arrive.
const HEAD: Duration = Duration::from_secs(15);
/// The most bytes of a head that are kept.
const MAX_HEAD: usize = 64 << 10;
/// How long requests have to end when the daemon ends.
const GOODBYE: Duration = Duration::from_secs(5);

/// Listens on a socket that its owner alone may use. One that a dead daemon left is replaced; one that is
/// served is not.
pub async fn listen(path: &Path) -> Result<UnixListener, HostError> {
    if UnixStream::connect(path).await.is_ok() {
        let source = io::Error::new(io::ErrorKind::AddrInUse, "a daemon serves it already");
        return Err(HostError::file("listen on", path)(source));
    }
    let kind = std::fs::symlink_metadata(path).map(|found| found.file_type());
    if let Ok(kind) = kind {
        use std::os::unix::fs::FileTypeExt;
        if !kind.is_socket() {
            return Err(HostError::file("listen on", path)(io::Error::other("it is there and no socket")));
        }
        crate::host::layout::remove_file(path)?;
    }
    // No moment in which somebody else could connect: the mask is in force when the socket is made.
    let former = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(former);
    bound.map_err(HostError::file("listen on", path))
}

/// Serves until `stop` says so; then requests have a moment to end.
pub async fn serve(listener: UnixListener, router: Router, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone());
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let stopped = async move {
                // Whether it says so or is gone, the daemon ends.
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let ended = tokio::select! {
                // A client that breaks off is no error of ours.
                _ = connection.as_mut() => true,
                () = stopped => false,
            };
            if !ended {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(GOODBYE, connection).await;
            }
            drop(permit);
        });
    }
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(GOODBYE, room.acquire_many(all)).await;
}

async fn accept(
    listener: &UnixListener,
    room: &Arc<Semaphore>,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Out of descriptors, most likely: a moment later some are free.
            tracing::warn!("Cannot accept a connection: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
