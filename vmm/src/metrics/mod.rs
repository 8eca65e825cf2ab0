//! Figures of what happened, in Firecracker's words and shape.
//!
//! A group is a struct of [`Counter`]s that whoever counts holds behind an `Arc`; the [`Registry`] knows every
//! group by its name. A report tells what happened since the last one, as Firecracker's `SharedIncMetric`
//! does; what is not a count of events (a time, a level) is a [`Gauge`] and told as it stands.

mod balloon;
mod block;
mod console;
mod entropy;
mod figures;
mod mmds;
mod net;
mod pmem;
mod process;
mod prometheus;
mod requests;
mod sink;
mod vcpu;
mod vsock;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use self::figures::Figure;

pub use self::balloon::BalloonMetrics;
pub use self::block::BlockMetrics;
pub use self::console::ConsoleMetrics;
pub use self::entropy::EntropyMetrics;
pub use self::figures::{Figures, Kind};
pub use self::mmds::MmdsMetrics;
pub use self::net::NetMetrics;
pub use self::pmem::PmemMetrics;
pub use self::process::{KeyboardMetrics, LoggerMetrics, ProcessMetrics, UartMetrics};
pub use self::prometheus::Exposition;
pub use self::requests::RequestMetrics;
pub use self::sink::{PERIOD, Sink};
pub use self::vcpu::VcpuMetrics;
pub use self::vsock::VsockMetrics;

/// Counts events.
#[derive(Debug, Default)]
pub struct Counter {
    total: AtomicU64,
    reported: AtomicU64,
}

impl Counter {
    /// `count` more.
    pub fn add(&self, count: u64) {
        self.total.fetch_add(count, Ordering::Relaxed);
    }

    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// How many there were since the process started.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// Writes what is new since it was last written.
impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let total = self.total();
        let reported = self.reported.swap(total, Ordering::Relaxed);
        serializer.serialize_u64(total.saturating_sub(reported))
    }
}

/// A value as it stands.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Gauge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.value())
    }
}

/// Figures that are reported together.
trait Group: Send + Sync {
    /// What is new.
    fn report(&self) -> Value;
    /// Each figure since the process's start.
    fn each(&self, see: &mut dyn FnMut(Figure));
}

impl<T: Serialize + Figures + Send + Sync> Group for T {
    fn each(&self, see: &mut dyn FnMut(Figure)) {
        Figures::each(self, see);
    }

    fn report(&self) -> Value {
        // Fails only for maps whose keys are no strings, of which no group has one.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Every group of a process, by name. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    groups: Arc<Mutex<BTreeMap<String, Arc<dyn Group>>>>,
    process: Arc<ProcessMetrics>,
}

impl Default for Registry {
    fn default() -> Self {
        let process = Arc::<ProcessMetrics>::default();
        let groups = process.groups().into_iter().map(|(name, group)| (name.to_owned(), group)).collect();
        Self { groups: Arc::new(Mutex::new(groups)), process }
    }
}

impl Registry {
    /// The groups that are in every report.
    pub fn process(&self) -> &Arc<ProcessMetrics> {
        &self.process
    }

    /// Whether somebody is in the middle of a report.
    fn is_busy(&self) -> bool {
        self.groups.try_lock().is_err()
    }

    /// A group that is reported as `name`.
    pub fn group<T: Serialize + Figures + Default + Send + Sync + 'static>(
        &self,
        name: impl Into<String>,
    ) -> Arc<T> {
        let group = Arc::<T>::default();
        self.groups().insert(name.into(), group.clone());
        group
    }

    /// A group of one device of a kind, reported as `KIND_ID`; what the devices of a kind count together is
    /// reported as `KIND`.
    pub fn device_group<T>(&self, kind: &str, id: &str) -> Arc<T>
    where
        T: Serialize + Figures + Default + Send + Sync + 'static,
    {
        self.group(format!("{kind}_{id}"))
    }

    /// What happened since the last report.
    pub fn report(&self) -> Map<String, Value> {
        let mut report = Map::new();
        for (name, group) in self.groups().iter() {
            let figures = group.report();
            if let Some(kind) = DEVICE_KINDS.iter().find(|kind| is_of_kind(name, kind)) {
                add(report.entry(*kind).or_insert(Value::Null), &figures);
            }
            report.insert(name.clone(), figures);
        }
        report
    }

    /// Adds every figure to a text for Prometheus.
    pub fn expose(&self, exposition: &mut Exposition) {
        for (name, group) in self.groups().iter() {
            group.each(&mut |figure| exposition.add_figure(name, &figure));
        }
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<dyn Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kinds of which there may be several devices; their figures are also reported together.
const DEVICE_KINDS: [&str; 3] = ["block", "net", "pmem"];

fn is_of_kind(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('_'))
}

/// Adds figures to figures, field by field.
fn add(sum: &mut Value, figures: &Value) {
    match (sum, figures) {
        (Value::Object(sum), Value::Object(figures)) => {
            for (name, figure) in figures {
                let sum = sum.entry(name).or_insert(Value::Null);
                match name.as_str() {
                    "min_us" => extreme(sum, figure, |sum, figure| figure != 0 && (sum == 0 || figure < sum)),
                    "max_us" => extreme(sum, figure, |sum, figure| figure > sum),
                    _ => add(sum, figure),
                }
            }
        }
        (sum @ Value::Null, figures) => *sum = figures.clone(),
        (Value::Number(sum), Value::Number(figure)) => {
            let total = sum.as_u64().unwrap_or_default().saturating_add(figure.as_u64().unwrap_or_default());
            *sum = total.into();
        }
        _ => {}
    }
}

/// Takes over a figure that goes further than what is there: shortest and longest times are no sums.
fn extreme(sum: &mut Value, figure: &Value, further: impl Fn(u64, u64) -> bool) {
    let figure = figure.as_u64().unwrap_or_default();
    if sum.as_u64().is_none_or(|sum| further(sum, figure)) {
        *sum = figure.into();
    }
}

#[cfg(test)]
mod tests {
    use super::figures::figures;
    use super::*;

    figures! {
    #[derive(Default, Serialize)]
    pub struct Group {
        pub events: Counter,
        pub level: Gauge,
    }
    }

    #[test]
    fn events_are_told_once_and_levels_each_time() {
        let registry = Registry::default();
        let (first, second) =
            (registry.device_group::<Group>("net", "a"), registry.device_group::<Group>("net", "b"));
        first.events.add(2);
        second.events.increment();
        second.level.set(7);
        let report = Value::from(registry.report());
        assert_eq!(report["net_a"], serde_json::json!({"events": 2, "level": 0}));
        assert_eq!(report["net"], serde_json::json!({"events": 3, "level": 7}));
        first.events.increment();
        let report = Value::from(registry.report());
        assert_eq!(report["net"], serde_json::json!({"events": 1, "level": 7}));
        assert_eq!(first.events.total(), 3);
    }

    #[test]
    fn times_of_devices_are_joined_by_their_extremes() {
        let registry = Registry::default();
        for (id, times) in [("a", &[7, 3][..]), ("b", &[9]), ("c", &[])] {
            let drive = registry.device_group::<BlockMetrics>("block", id);
            let times = times.iter().map(|time| std::time::Duration::from_micros(*time));
            times.for_each(|time| drive.read_agg.record(time));
        }
        let report = Value::from(registry.report());
        let expected = serde_json::json!({"min_us": 3, "max_us": 9, "sum_us": 19});
        assert_eq!(report["block"]["read_agg"], expected);
    }
}
