//! What is written up of how far an import is, for whoever looks. Who looks seldom misses steps and costs nothing: there
//! is one item a blob, however often it changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use bulkhead_image::progress::{Outcome, Progress};

use crate::service::lock;
use crate::service::model::ProgressItem;

/// Items as they are now.
#[derive(Debug, Default)]
pub struct Board(Mutex<Items>);

#[derive(Debug, Default)]
struct Items {
    /// In the order in which they began, with the change that was the last of each.
    items: Vec<(ProgressItem, u64)>,
    by_name: HashMap<String, usize>,
    /// Counts changes.
    changes: u64,
}

impl Board {
    /// What has changed since the change `seen`, and the number of the last change.
    pub fn since(&self, seen: u64) -> (Vec<ProgressItem>, u64) {
        let items = lock(&self.0);
        let changed = items.items.iter().filter(|(_, change)| *change > seen);
        (changed.map(|(item, _)| item.clone()).collect(), items.changes)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut ProgressItem)) {
        let items = &mut *lock(&self.0);
        let Some((item, last)) = items.by_name.get(name).and_then(|place| items.items.get_mut(*place)) else {
            return;
        };
        items.changes += 1;
        *last = items.changes;
        change(item);
    }
}

impl Progress for Board {
    fn begin(&self, name: &str, size: u64, there: u64) {
        {
            let items = &mut *lock(&self.0);
            if !items.by_name.contains_key(name) {
                items.by_name.insert(name.to_owned(), items.items.len());
                let item = ProgressItem { name: name.to_owned(), size, current: there, outcome: None };
                items.items.push((item, 0));
            }
        }
        self.change(name, |item| (item.size, item.current, item.outcome) = (size, there, None));
    }

    fn advance(&self, name: &str, bytes: u64) {
        self.change(name, |item| item.current = item.current.saturating_add(bytes));
    }

    fn restart(&self, name: &str) {
        self.change(name, |item| item.current = 0);
    }

    fn end(&self, name: &str, outcome: Outcome) {
        self.change(name, |item| (item.current, item.outcome) = (item.size, Some(outcome.into())));
    }
}

/// How far an import is: its own pull, and then a build that others may wait for, too.
#[derive(Debug, Default)]
pub struct ImportProgress {
    /// The pull.
    pub pull: Board,
    /// The build, once it has begun.
    pub build: OnceLock<Arc<Board>>,
}

/// How far somebody has looked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pull: u64,
    build: u64,
}

impl ImportProgress {
    /// What has changed since somebody looked, whose look this is.
    pub fn since(&self, seen: &mut Seen) -> Vec<ProgressItem> {
        let (mut items, change) = self.pull.since(seen.pull);
        seen.pull = change;
        if let Some(build) = self.build.get() {
            let (built, change) = build.since(seen.build);
            seen.build = change;
            items.extend(built);
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::model::ProgressOutcome;

    #[test]
    fn who_looks_seldom_sees_one_item_a_blob() {
        let progress = ImportProgress::default();
        let mut seen = Seen::default();
        assert!(progress.since(&mut seen).is_empty());
        progress.pull.begin("a", 3_000_000, 0);
        progress.pull.begin("b", 10, 10);
        progress.pull.advance("nothing that began", 7);
        for _ in 0..1_000_000 {
            progress.pull.advance("a", 1);
        }
        let told = |items: Vec<ProgressItem>| -> Vec<_> {
            items.into_iter().map(|item| (item.name, item.current, item.outcome)).collect()
        };
        assert_eq!(told(progress.since(&mut seen)), [("a".into(), 1_000_000, None), ("b".into(), 10, None)]);
        assert!(progress.since(&mut seen).is_empty());
        progress.pull.restart("a");
        progress.pull.end("b", Outcome::Present);
        let build = Arc::<Board>::default();
        build.begin("root", 5, 0);
        progress.build.set(build).unwrap();
        let present = Some(ProgressOutcome::Present);
        let expected = [("a".into(), 0, None), ("b".into(), 10, present), ("root".into(), 0, None)];
        assert_eq!(told(progress.since(&mut seen)), expected);
    }
}
