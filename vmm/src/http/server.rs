//! The socket, its thread, its connections.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::{fs, io};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::answer::Answer;
use super::{ApiError, MAX_CONNECTIONS, PATIENCE, route};
use crate::machine::Controller;

/// What a client hears when there are too many.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 45\r\n\r\n\
    {\"fault_message\":\"Too many open connections\"}";

/// A bound socket; gone from the file system when this is dropped.
pub struct ApiServer {
    listener: UnixListener,
    path: SocketPath,
}

/// Removes the socket.
pub struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = fs::remove_file(&self.0);
    }
}

impl ApiServer {
    /// Binds the socket. A path that exists is refused, as Firecracker does: it may be another machine's.
    pub fn bind(path: &Path) -> Result<Self, ApiError> {
        let refused = |error| ApiError::Bind(path.to_owned(), error);
        let listener = UnixListener::bind(path).map_err(refused)?;
        let path = SocketPath(path.to_owned());
        // The process's mask has kept others out until here.
        fs::set_permissions(&path.0, fs::Permissions::from_mode(0o600)).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        Ok(Self { listener, path })
    }

    /// Serves on a thread of its own until the process ends. The socket goes with what is returned.
    pub fn serve(self, controller: Arc<Controller>, max_body: usize) -> Result<SocketPath, ApiError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(ApiError::Thread)?;
        let listener = self.listener;
        std::thread::Builder::new()
            .name("api".into())
            .stack_size(512 << 10)
            .spawn(move || {
                let served = LocalSet::new().block_on(&runtime, accept(listener, controller, max_body));
                if let Err(error) = served {
                    log::error!("Cannot serve the API: {error}");
                    eprintln!("Cannot serve the API: {error}");
                }
            })
            .map_err(ApiError::Thread)?;
        Ok(self.path)
    }
}

async fn accept(listener: UnixListener, controller: Arc<Controller>, max_body: usize) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let open = Rc::new(Cell::new(0usize));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Out of descriptors, or a client that went away: others may still come.
            Err(_) => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        if open.get() >= MAX_CONNECTIONS {
            refuse(stream);
            continue;
        }
        open.set(open.get() + 1);
        let (open, controller) = (open.clone(), controller.clone());
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| serve(controller.clone(), request, max_body));
            // A client that breaks off is its own affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                // A client that has said all it wants to say still hears its answer.
                .half_close(true)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            open.set(open.get() - 1);
        });
    }
}

/// Tells a client that there are too many, without waiting for it.
fn refuse(stream: UnixStream) {
    if let Ok(mut stream) = stream.into_std() {
        // A client that does not take it is gone.
        let _ = stream.write_all(FULL);
    }
}

async fn serve(
    controller: Arc<Controller>,
    request: Request<Incoming>,
    max_body: usize,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = read(body, max_body).await;
    Ok(route::respond(&controller, &parts.method, parts.uri.path(), &body))
}

/// The whole body, within the limit and in time.
async fn read(body: Incoming, limit: usize) -> Result<Bytes, Answer> {
    let too_large = |size: String| {
        let text = format!(
            "Request payload with size {size} is larger than the limit of {limit} allowed by server."
        );
        // Firecracker's status for it; 413 says that the guest's metadata grew too large.
        Answer::refused(text)
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(body.size_hint().lower().to_string()));
    }
    match tokio::time::timeout(PATIENCE, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large("unknown".into())),
        Ok(Err(error)) => Err(Answer::refused(format!("The request cannot be read: {error}."))),
        Err(_) => {
            Err(Answer::Fault(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time.".into()))
        }
    }
}
