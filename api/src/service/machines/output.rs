//! What a machine printed, and what it prints.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::live::Live;
use crate::host::HostError;
use crate::host::log_store::LogReader;
use crate::service::Service;
use crate::service::error::ServiceError;

/// The most of a console that is told.
const MAX_CONSOLE: u64 = 1 << 20;
/// The most that is handed out in one piece, about.
const PIECE: usize = 64 << 10;

/// Log frames in pieces.
#[derive(Debug)]
pub struct Output {
    reader: LogReader,
    /// Follow while it is live.
    live: Option<Arc<Live>>,
}

impl Service {
    /// A machine's output from a sequence number on, and what comes if it is to be followed.
    pub async fn output(&self, name: &str, since: u64, follow: bool) -> Result<Output, ServiceError> {
        let id = self.machine(name).await?.metadata.id;
        let live = if follow { self.live(&id) } else { None };
        Ok(Output { reader: LogReader::open(&self.layout.container_log(&id), since), live })
    }

    /// The end of a machine's console.
    pub async fn console(&self, name: &str) -> Result<Vec<u8>, ServiceError> {
        let id = self.machine(name).await?.metadata.id;
        let path = self.layout.console(&id);
        match end_of(&path, MAX_CONSOLE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => Ok(read.map_err(HostError::file("read", &path))?),
        }
    }
}

/// The last bytes of a file, at most so many.
pub(super) fn end_of(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Output {
    /// Whole frames; nothing at the end.
    pub async fn next_piece(&mut self) -> Option<Bytes> {
        loop {
            // Taken before the look: what is kept between the look and the wait ends the wait.
            let growth = self.live.as_ref().map(|live| live.growth());
            let finished = match &self.live {
                Some(live) => tokio::time::timeout(Duration::ZERO, live.finished()).await.is_ok(),
                None => true,
            };
            let mut piece = Vec::new();
            while piece.len() < PIECE {
                // A file that cannot be read ends the stream; the daemon logs why elsewhere.
                let Ok(Some(frame)) = self.reader.next_frame() else { break };
                piece.extend(frame.encode());
            }
            if !piece.is_empty() {
                return Some(piece.into());
            }
            if finished {
                return None;
            }
            if let Some(mut growth) = growth {
                let _ = tokio::time::timeout(Duration::from_secs(5), growth.changed()).await;
            }
        }
    }
}
