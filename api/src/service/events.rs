//! Events: what happened to other resources. The newest are kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{ServiceError, chain};
use super::model::{Event, EventSpec, EventStatus, Metadata, Resource};
use super::{Service, clock};

/// How many events are kept, at least.
const KEPT: usize = 1000;
/// How many more there may be before the oldest are deleted.
const SLACK: usize = 100;

/// Numbers of events are times; two at once differ nevertheless.
static LAST: AtomicU64 = AtomicU64::new(0);

fn next_number() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let last = LAST.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(now.max(last + 1)));
    now.max(last.unwrap_or(0) + 1)
}

impl Service {
    /// Keeps an event. That it cannot be kept is logged and no reason to fail.
    pub(super) async fn tell<T: Resource>(&self, subject: &T, action: &str, message: Option<String>) {
        let id = format!("{:016x}", next_number());
        let event = Event {
            metadata: Metadata { id: id.clone(), name: id, resource_version: 0, created_at: clock::now() },
            spec: EventSpec {
                kind: T::KIND.to_owned(),
                id: subject.metadata().id.clone(),
                name: subject.metadata().name.clone(),
                action: action.to_owned(),
                message,
            },
            status: EventStatus {},
        };
        let kept = async {
            self.records.append(&event).await?;
            self.forget_old_events().await
        };
        if let Err(error) = kept.await {
            tracing::warn!("Cannot keep an event: {}", chain(&error));
        }
    }

    async fn forget_old_events(&self) -> Result<(), ServiceError> {
        let events = self.records.list::<Event>().await?.items;
        if events.len() <= KEPT + SLACK {
            return Ok(());
        }
        for event in events.iter().take(events.len() - KEPT) {
            self.records.delete(event, Vec::new()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow() {
        let numbers: Vec<u64> = (0..1000).map(|_| next_number()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
