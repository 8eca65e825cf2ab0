//! A container's log as a stream of frames.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::sync::mpsc;

use super::body::Refusal;
use crate::container::log::{Log, Next, frame};

/// What a reader wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The sequence number to begin at.
    pub since: u64,
    /// Go on until the log ends.
    pub follow: bool,
}

impl Query {
    /// Reads `since=N&follow=BOOL`.
    pub fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for pair in text.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let wrong = || {
                Refusal(StatusCode::BAD_REQUEST, format!("The query {pair} is not since=N or follow=BOOL"))
            };
            match pair.split_once('=').ok_or_else(wrong)? {
                ("since", value) => query.since = value.parse().map_err(|_| wrong())?,
                ("follow", value) => query.follow = value.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        Ok(query)
    }
}

/// Sends what the reader wants through the channel. One frame is in flight: a slow reader holds no memory.
pub fn stream(log: Arc<Log>, query: &Query) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(1);
    let Query { mut since, follow } = *query;
    tokio::spawn(async move {
        let mut changes = log.watch();
        loop {
            match log.read(since) {
                Next::Piece(stream, sequence, bytes) => {
                    since = sequence + bytes.len() as u64;
                    if sender.send(frame(stream, sequence, &bytes)).await.is_err() {
                        return;
                    }
                }
                Next::Nothing if follow => {
                    tokio::select! {
                        changed = changes.changed() => if changed.is_err() { return },
                        () = sender.closed() => return,
                    }
                }
                Next::Nothing | Next::End => return,
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::log::Stream;

    #[test]
    fn queries_are_read() {
        let query = |text| Query::parse(Some(text)).map_err(|refusal| refusal.1);
        assert_eq!(query("since=5&follow=true").unwrap(), Query { since: 5, follow: true });
        assert_eq!(Query::parse(None).unwrap(), Query::default());
        for wrong in ["since=-1", "since=", "follow=yes", "follow", "other=1"] {
            assert!(query(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_follows_gets_everything_and_the_end() {
        let log = Arc::new(Log::new());
        log.append(Stream::Out, b"early");
        let mut frames = stream(Arc::clone(&log), &Query { since: 0, follow: true });
        assert_eq!(frames.recv().await.unwrap()[16..], *b"early");
        log.append(Stream::Err, b"late");
        log.end();
        assert_eq!(frames.recv().await.unwrap()[16..], *b"late");
        assert!(frames.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_does_not_follow_gets_what_is_there() {
        let log = Arc::new(Log::new());
        log.append(Stream::Out, b"early");
        let mut frames = stream(log, &Query { since: 2, follow: false });
        let frame = frames.recv().await.unwrap();
        assert_eq!((&frame[16..], frame[15]), (&b"rly"[..], 2));
        assert!(frames.recv().await.is_none());
    }
}
