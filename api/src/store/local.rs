//! The store of one node: a redb file.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::{Change, ChangeKind, Expect, Listing, Record, Store, StoreError, Watch, Write};

/// Key to version (8 bytes, big endian) and value.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Revision and place in its transaction, to [`Logged`] as JSON.
const CHANGES: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("changes");
/// Counters by name.
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
/// The counter of revisions.
const REVISION: &str = "revision";
/// How many changes are kept for watchers that come late.
const KEPT_CHANGES: u64 = 4096;
/// How many changes a live watcher may be behind.
const LIVE_CHANGES: usize = 1024;

/// Records in one redb file, which one process holds at a time.
#[derive(Debug)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    changes: broadcast::Sender<Change>,
    /// Held from before a commit until its changes are sent, so that they are sent in order.
    order: std::sync::Mutex<()>,
}

/// A change as the log keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Logged {
    kind: ChangeKind,
    key: String,
    /// JSON, hence text.
    value: String,
}

fn backend<E: Into<redb::Error>>(operation: &'static str) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError::Backend { operation, source: Box::new(error.into()) }
}

impl LocalStore {
    /// Opens or makes the file. Fails while another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open {
            path: path.display().to_string(),
            source,
        };
        let database = Database::create(path).map_err(|error| failed(Box::new(error)))?;
        Self::with_database(database)
    }

    /// A store that lives as long as the process.
    pub fn in_memory() -> Result<Self, StoreError> {
        let database = Database::builder()
            .create_with_backend(redb::backends::InMemoryBackend::new())
            .map_err(backend("open"))?;
        Self::with_database(database)
    }

    fn with_database(database: Database) -> Result<Self, StoreError> {
        let transaction = database.begin_write().map_err(backend("open"))?;
        transaction.open_table(RECORDS).map_err(backend("open"))?;
        transaction.open_table(CHANGES).map_err(backend("open"))?;
        transaction.open_table(COUNTERS).map_err(backend("open"))?;
        transaction.commit().map_err(backend("open"))?;
        let (changes, _) = broadcast::channel(LIVE_CHANGES);
        Ok(Self { inner: Arc::new(Inner { database, changes, order: std::sync::Mutex::new(()) }) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|error| StoreError::Backend { operation, source: Box::new(error) })?
    }
}

impl Store for LocalStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        let key = key.to_owned();
        Box::pin(self.blocking("read", move |inner| inner.get(&key)))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing, StoreError>> {
        let prefix = prefix.to_owned();
        Box::pin(self.blocking("read", move |inner| inner.list(&prefix)))
    }

    fn apply(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.blocking("write", move |inner| inner.apply(writes)))
    }

    fn watch<'a>(&'a self, prefix: &'a str, since: Option<u64>) -> BoxFuture<'a, Result<Watch, StoreError>> {
        let prefix = prefix.to_owned();
        Box::pin(self.blocking("read", move |inner| inner.watch(&prefix, since)))
    }
}

impl Inner {
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let transaction = self.database.begin_read().map_err(backend("read"))?;
        let table = transaction.open_table(RECORDS).map_err(backend("read"))?;
        let found = table.get(key).map_err(backend("read"))?;
        Ok(found.and_then(|value| unpack(key, value.value())))
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let transaction = self.database.begin_read().map_err(backend("read"))?;
        let table = transaction.open_table(RECORDS).map_err(backend("read"))?;
        let counters = transaction.open_table(COUNTERS).map_err(backend("read"))?;
        let revision = counters.get(REVISION).map_err(backend("read"))?.map_or(0, |value| value.value());
        let mut records = Vec::new();
        for entry in table.range(prefix..).map_err(backend("read"))? {
            let (key, value) = entry.map_err(backend("read"))?;
            if !key.value().starts_with(prefix) {
                break;
            }
            records.extend(unpack(key.value(), value.value()));
        }
        Ok(Listing { records, revision })
    }

    fn apply(&self, writes: Vec<Write>) -> Result<u64, StoreError> {
        let _order = self.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let transaction = self.database.begin_write().map_err(backend("write"))?;
        let (revision, changes) = commit_into(&transaction, writes)?;
        transaction.commit().map_err(backend("write"))?;
        for change in changes {
            // An error only says that nobody watches.
            let _ = self.changes.send(change);
        }
        Ok(revision)
    }

    fn watch(&self, prefix: &str, since: Option<u64>) -> Result<Watch, StoreError> {
        // No commit can come between the subscription and the reading of the past.
        let _order = self.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let live = self.changes.subscribe();
        let Some(since) = since else { return Ok(Watch { past: Vec::new(), live }) };
        let transaction = self.database.begin_read().map_err(backend("read"))?;
        let counters = transaction.open_table(COUNTERS).map_err(backend("read"))?;
        let now = counters.get(REVISION).map_err(backend("read"))?.map_or(0, |value| value.value());
        let table = transaction.open_table(CHANGES).map_err(backend("read"))?;
        if since < now {
            let oldest = table.first().map_err(backend("read"))?.map_or(now, |(key, _)| key.value().0);
            if oldest > since + 1 {
                return Err(StoreError::Compacted { since });
            }
        }
        let mut past = Vec::new();
        for entry in table.range((since.saturating_add(1), 0)..).map_err(backend("read"))? {
            let (key, value) = entry.map_err(backend("read"))?;
            let Ok(logged) = serde_json::from_slice::<Logged>(value.value()) else { continue };
            if logged.key.starts_with(prefix) {
                let record =
                    Record { key: logged.key, version: key.value().0, value: logged.value.into_bytes() };
                past.push(Change { kind: logged.kind, record });
            }
        }
        Ok(Watch { past, live })
    }
}

/// Checks every condition, then writes. The caller commits or drops.
fn commit_into(transaction: &WriteTransaction, writes: Vec<Write>) -> Result<(u64, Vec<Change>), StoreError> {
    let mut records = transaction.open_table(RECORDS).map_err(backend("write"))?;
    let mut log = transaction.open_table(CHANGES).map_err(backend("write"))?;
    let mut counters = transaction.open_table(COUNTERS).map_err(backend("write"))?;
    let revision = counters.get(REVISION).map_err(backend("write"))?.map_or(0, |value| value.value()) + 1;
    counters.insert(REVISION, revision).map_err(backend("write"))?;

    let mut changes = Vec::with_capacity(writes.len());
    for write in writes {
        let (key, expect, value) = match write {
            Write::Put { key, expect, value } => (key, expect, Some(value)),
            Write::Delete { key, expect } => (key, expect, None),
        };
        let before = records
            .get(key.as_str())
            .map_err(backend("write"))?
            .and_then(|value| unpack(&key, value.value()));
        let holds = match expect {
            Expect::Anything => true,
            Expect::Absent => before.is_none(),
            Expect::Version(version) => before.as_ref().is_some_and(|record| record.version == version),
        };
        if !holds {
            return Err(StoreError::Conflict { key });
        }
        let (kind, value) = match (value, before) {
            (Some(value), before) => {
                records.insert(key.as_str(), pack(revision, &value).as_slice()).map_err(backend("write"))?;
                (if before.is_some() { ChangeKind::Modified } else { ChangeKind::Added }, value)
            }
            (None, Some(before)) => {
                records.remove(key.as_str()).map_err(backend("write"))?;
                (ChangeKind::Deleted, before.value)
            }
            (None, None) => continue,
        };
        changes.push(Change { kind, record: Record { key, version: revision, value } });
    }
    for (place, change) in (0u32..).zip(&changes) {
        let logged = Logged {
            kind: change.kind,
            key: change.record.key.clone(),
            value: String::from_utf8_lossy(&change.record.value).into_owned(),
        };
        let bytes = serde_json::to_vec(&logged)
            .map_err(|error| StoreError::Backend { operation: "write", source: Box::new(error) })?;
        log.insert((revision, place), bytes.as_slice()).map_err(backend("write"))?;
    }
    let oldest = revision.saturating_sub(KEPT_CHANGES);
    log.retain_in(..(oldest, 0), |_, _| false).map_err(backend("write"))?;
    Ok((revision, changes))
}

fn pack(version: u64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + value.len());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn unpack(key: &str, bytes: &[u8]) -> Option<Record> {
    let (version, value) = bytes.split_first_chunk::<8>()?;
    Some(Record { key: key.to_owned(), version: u64::from_be_bytes(*version), value: value.to_vec() })
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
