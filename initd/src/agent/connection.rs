//! Connections: how many, how long, and their end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::agent::Ready;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};

use super::exec::Aftermath;
use super::{router, vsock};
use crate::console;
use crate::container::Containers;

/// The most connections at a time. The one side that may connect is the host, so more is a fault of its.
const MAX_CONNECTIONS: u32 = 128;

/// How long a request's head may take, which is also how long a connection may idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// How long the host may take to take the last bytes of a connection.
const LAST_BYTES: Duration = Duration::from_secs(2);

/// Serves the host's connections.
pub struct Server {
    pub(super) containers: Arc<Containers>,
    pub(super) ready: Ready,
    places: Arc<Semaphore>,
    finishing: watch::Sender<bool>,
}

impl Server {
    /// A server of these containers.
    pub fn new(containers: Arc<Containers>, ready: Ready) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
        Arc::new(Self { containers, ready, places, finishing: watch::Sender::new(false) })
    }

    /// Accepts connections for ever.
    pub async fn accept(self: Arc<Self>, listener: vsock::Listener) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok(connection) => {
                    let server = Arc::clone(&self);
                    tokio::spawn(async move {
                        server.serve_host(connection).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    console::say(&format!("cannot accept a connection of the host: {error}"));
                    // Out of descriptors or memory; both come back when something ends.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve_host(self: &Arc<Self>, connection: UnixStream) {
        let Ok(connection) = connection.into_std() else { return };
        let Ok(second) = connection.try_clone() else { return };
        let Ok(connection) = UnixStream::from_std(connection) else { return };
        self.serve(connection).await;
        // The place stays taken until then, so that the machine does not end too early.
        let _ = tokio::time::timeout(LAST_BYTES, taken_by_host(second)).await;
    }

    /// Serves one connection until it ends.
    pub async fn serve<C>(self: &Arc<Self>, connection: C)
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let aftermath = Arc::new(Aftermath::default());
        let service = service_fn(|request| {
            let (server, aftermath) = (Arc::clone(self), Arc::clone(&aftermath));
            async move { Ok::<_, Infallible>(router::answer(&server, request, &aftermath).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(MAX_HEAD)
            .half_close(true)
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut finishing = self.finishing.subscribe();
        // A connection that breaks is the host's affair: whatever it asked for is done or not, and said so.
        let ended = tokio::select! {
            _ = connection.as_mut() => true,
            _ = finishing.wait_for(|finishing| *finishing) => false,
        };
        if !ended {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
        aftermath.end().await;
    }

    /// Lets every connection finish what it answers, takes no more, and returns when all have ended.
    pub async fn finish(&self) {
        self.finishing.send_replace(true);
        let _ = self.places.acquire_many(MAX_CONNECTIONS - 1).await;
    }
}

/// Returns when the host has taken everything and has closed its side, which it does when ours is closed.
///
/// The machine may be turned off as soon as all connections have ended; bytes still on the way to the host
/// would be lost with it.
async fn taken_by_host(connection: std::os::unix::net::UnixStream) {
    if connection.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let Ok(connection) = UnixStream::from_std(connection) else { return };
    let mut rest = [0; 512];
    loop {
        if connection.readable().await.is_err() {
            return;
        }
        match connection.try_read(&mut rest) {
            Ok(1..) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}
