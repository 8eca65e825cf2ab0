//! The same figures in Prometheus's text format (exposition format 0.0.4): totals since the process's start, in base
//! units, devices told apart by labels. A metric has the name of Firecracker's figure, as far as Prometheus's
//! conventions let it: `block_rootfs.read_count` is `bulkhead_vmm_block_read_total{drive="rootfs"}`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::figures::{Figure, Kind};
use crate::clock;

/// A page, in bytes.
const PAGE: u64 = 4096;
/// What every name begins with.
const PREFIX: &str = "bulkhead_vmm_";
/// The kinds of device of which there may be several: the group's name before the device's, and the label for it.
const LABELS: [(&str, &str); 3] = [("block_", "drive"), ("net_", "interface"), ("pmem_", "pmem")];

/// Values of a metric by their labels.
struct Family {
    help: String,
    kind: Kind,
    samples: Vec<(String, String)>,
}

/// Metrics on their way into text.
#[derive(Default)]
pub struct Exposition {
    families: BTreeMap<String, Family>,
}

impl Exposition {
    /// Adds a metric, or a value to one. `labels` are names and values.
    pub fn add(&mut self, name: &str, help: &str, kind: Kind, labels: &[(&str, &str)], value: String) {
        let family = self.families.entry(name.to_owned()).or_insert_with(|| Family {
            help: help.trim().replace('\\', "\\\\").replace('\n', "\\n"),
            kind,
            samples: Vec::new(),
        });
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        family.samples.push((labels, value));
    }

    /// Adds a figure of the group that reports name so.
    pub(super) fn add_figure(&mut self, group: &str, figure: &Figure) {
        let figure_name = figure.name.strip_suffix("_agg").unwrap_or(figure.name);
        let (name, unit) = match figure.part {
            "" => without_unit(figure_name),
            "sum_us" => (figure_name.to_owned(), Unit::Microseconds),
            part => (format!("{figure_name}_{}", part.trim_end_matches("_us")), Unit::Microseconds),
        };
        let count = name.strip_suffix("_count").unwrap_or(&name);
        let (name, unit, labels) = if let Some(method) = group.strip_suffix("_api_requests") {
            // `drive_fails` of `put_api_requests`: one metric for all requests, one for those that were refused.
            let (endpoint, name) = match count.strip_suffix("_fails") {
                Some(endpoint) => (endpoint, "api_requests_refused"),
                None => (count, "api_requests"),
            };
            (name.to_owned(), unit, vec![("method", method), ("endpoint", endpoint)])
        } else if group == "latencies_us" {
            (format!("latency_{count}"), Unit::Microseconds, Vec::new())
        } else if let Some((kind, label, id)) = device(group) {
            (format!("{kind}{count}"), unit, vec![(label, id)])
        } else {
            // Firecracker's group for the process would say "vmm" twice.
            let group = if group == "vmm" { "process" } else { group };
            (format!("{group}_{count}"), unit, Vec::new())
        };
        let name = if name.ends_with("_freed") { name + "_bytes" } else { name };
        let seconds = if unit == Unit::One { "" } else { "_seconds" };
        let total = if figure.kind == Kind::Counter { "_total" } else { "" };
        let help = match (group.strip_suffix("_api_requests"), figure.help.trim()) {
            (Some(_), _) if name.ends_with("refused") => "Requests that were refused.".to_owned(),
            (Some(_), _) => "Requests, those that were refused among them.".to_owned(),
            (_, "") => format!("Firecracker's {group}.{}.", figure.name),
            (_, help) if unit == Unit::One => help.to_owned(),
            (_, help) => help.replace("microseconds", "seconds").replace("milliseconds", "seconds"),
        };
        let name = format!("{PREFIX}{name}{seconds}{total}");
        self.add(&name, &help, figure.kind, &labels, unit.in_base_units(figure.value));
    }

    /// Adds what is known of this process, under the names that Prometheus's libraries give it, and which VMM and
    /// machine it is.
    pub fn add_process(&mut self, id: &str) {
        let version = env!("CARGO_PKG_VERSION");
        let labels = [("id", id), ("version", version)];
        self.add(
            "bulkhead_vmm_info",
            "Which machine this is, and of which VMM.",
            Kind::Gauge,
            &labels,
            "1".into(),
        );
        let processor = Unit::Microseconds.in_base_units(clock::process_cpu_us());
        let help = "Processor time of the process, its guest's among it.";
        self.add("process_cpu_seconds_total", help, Kind::Counter, &[], processor);
        // A process that sees no /proc tells nothing of its memory.
        if let Some(resident) = resident_bytes() {
            let help = "Memory of the process that is resident, its guest's among it.";
            self.add("process_resident_memory_bytes", help, Kind::Gauge, &[], resident.to_string());
        }
    }

    /// The text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, Family { help, kind, samples }) in &self.families {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

/// The second field of `/proc/self/statm` (proc(5)), in pages.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split(' ').nth(1)?.parse::<u64>().ok()? * PAGE)
}

/// The group's kind, the label for its device, and the device's name.
fn device(group: &str) -> Option<(&'static str, &'static str, &str)> {
    LABELS.iter().find_map(|(kind, label)| Some((*kind, *label, group.strip_prefix(kind)?)))
}

/// What a figure is counted in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Itself.
    One,
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
}

impl Unit {
    /// The value in seconds, where it is a time.
    fn in_base_units(self, value: u64) -> String {
        match self {
            Self::One => value.to_string(),
            Self::Milliseconds => format!("{}.{:03}", value / 1000, value % 1000),
            Self::Microseconds => format!("{}.{:06}", value / 1_000_000, value % 1_000_000),
        }
    }
}

fn without_unit(name: &str) -> (String, Unit) {
    let units = [("_us", Unit::Microseconds), ("_ms", Unit::Milliseconds)];
    let found = units.iter().find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, *unit)));
    let (name, unit) = found.unwrap_or((name, Unit::One));
    (name.to_owned(), unit)
}

/// A label's value as it stands between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
