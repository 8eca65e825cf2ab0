//! What a guest that is gone has sent and programs of the host have not read yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Fate};
use super::poller::{Poller, TIMER};

/// How long the end of a machine waits for programs to read. One that does not costs others no more than that.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first id of a stream.
const FIRST_ID: u64 = TIMER + 1;

/// Connections between two drivers of one guest, or behind its last one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Estate {
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl Estate {
    /// Keeps those that have something left for their programs.
    pub fn leave(&self, connections: impl Iterator<Item = Connection>) {
        let left = connections.filter_map(Connection::outlive);
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
    }

    /// Gives them to somebody who goes on with them.
    pub fn take(&self) -> Vec<Connection> {
        std::mem::take(&mut *self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the programs read what is left, for two seconds at the most.
    pub fn settle(&self) {
        let mut left: HashMap<u64, Connection> = (FIRST_ID..).zip(self.take()).collect();
        let end = Instant::now() + PATIENCE;
        let Ok(mut poller) = Poller::new() else { return };
        left.retain(|&id, connection| poller.watch_stream(connection.stream(), id).is_ok());
        while !left.is_empty() {
            let wait = end.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return;
            }
            for (id, events) in poller.events(wait) {
                if left.get_mut(&id).is_some_and(|found| found.socket_event(events) != Fate::Live) {
                    left.remove(&id);
                }
            }
        }
    }
}
