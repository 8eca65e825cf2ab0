//! The figures, and how they are shown.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::super::outcome::Outcome;
use super::super::smaps::Footprint;
use super::super::table::lay_out;
use super::super::trace::{Exits, Reason};

/// All figures of a bench.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The lab's kernel.
    pub host: String,
    /// One for each guest.
    pub guests: Vec<GuestReport>,
}

/// The figures with one guest.
#[derive(Debug, Serialize, Deserialize)]
pub struct GuestReport {
    /// Its kernel's release.
    pub release: String,
    /// Its command line.
    pub kernel_line: String,
    /// Its processors.
    pub vcpus: u8,
    /// One for each VMM.
    pub results: Vec<Outcome<Figures>>,
}

/// A VMM's figures.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    /// The first start, with cold caches, then each timed one.
    pub starts: Vec<Start>,
    /// A further start, with tracing, which itself takes time.
    pub traced: Exits,
}

/// One start, without tracing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// From exec to the marker.
    pub up_ms: f64,
    /// From exec to the end of the process, its time waiting for us apart.
    pub whole_ms: f64,
    /// KVM's counters while the guest's first process waits.
    pub counters: BTreeMap<String, u64>,
    /// The VMM's memory then.
    pub footprint: Footprint,
}

impl Report {
    /// The tables for people.
    pub fn table(&self) -> String {
        self.guests.iter().map(GuestReport::table).collect::<Vec<_>>().join("\n")
    }
}

impl GuestReport {
    fn table(&self) -> String {
        let title = format!("Linux {}, {} vCPU", self.release, self.vcpus);
        let mut rows: Vec<(&str, Vec<String>)> = vec![
            (&title, self.each(|outcome, _| outcome.name.clone())),
            ("up, ms: first; then each", self.figures(|figures| times(&figures.starts, |start| start.up_ms))),
            (
                "start to exit, ms: first; then each",
                self.figures(|figures| times(&figures.starts, |start| start.whole_ms)),
            ),
            (
                "exec to KVM_CREATE_VM, ms (traced)",
                self.figures(|figures| format!("{:.1}", figures.traced.configured_ms)),
            ),
            ("KVM_CREATE_VM, ms", self.figures(|figures| format!("{:.1}", figures.traced.create_vm_ms))),
            (
                "exec to first KVM_RUN, ms (kernel loaded)",
                self.figures(|figures| format!("{:.1}", figures.traced.first_entry_ms)),
            ),
            ("handling exits, ms", self.figures(|figures| format!("{:.1}", figures.traced.handling_ms))),
            (
                "both, ms",
                self.figures(|figures| {
                    format!("{:.1}", figures.traced.first_entry_ms + figures.traced.handling_ms)
                }),
            ),
            ("KVM exits until init", self.figures(|figures| figures.traced.total.to_string())),
            (
                "KVM exits by KVM's counter, once init waits",
                self.figures(|figures| {
                    last(figures, |start| start.counters.get("exits").copied().unwrap_or(0))
                }),
            ),
            (
                "exits to user space until init",
                self.figures(|figures| figures.traced.userspace_total.to_string()),
            ),
            (
                "RSS outside guest memory, KiB",
                self.figures(|figures| last(figures, |start| start.footprint.rss_kib)),
            ),
            (
                "private dirty outside guest memory, KiB",
                self.figures(|figures| last(figures, |start| start.footprint.private_dirty_kib)),
            ),
        ];
        let reasons = self.names(|exits| exits.reasons.keys());
        let userspace = self.names(|exits| exits.userspace.keys());
        let count = |map: &BTreeMap<String, u64>, name: &str| map.get(name).copied().unwrap_or(0).to_string();
        rows.push(("by the processor's reason, with ms to the next entry", Vec::new()));
        rows.extend(reasons.iter().map(|name| {
            let shown = |figures: &Figures| {
                let Reason { count, ms } = figures.traced.reasons.get(name).copied().unwrap_or_default();
                format!("{count} {ms:5.1}")
            };
            (name.as_str(), self.figures(shown))
        }));
        rows.push(("to user space by KVM's reason", Vec::new()));
        rows.extend(
            userspace
                .iter()
                .map(|name| (name.as_str(), self.figures(|figures| count(&figures.traced.userspace, name)))),
        );
        let mut text = lay_out(&rows);
        for outcome in &self.results {
            let _ = writeln!(text, "{} ({})", outcome.name, outcome.version);
            let _ = match &outcome.figures {
                Ok(figures) => {
                    let ports = figures.traced.ports.iter().map(|(port, count)| format!("{port} {count}"));
                    writeln!(text, "  commonest ports: {}", ports.collect::<Vec<_>>().join(", "))
                }
                Err(why) => writeln!(text, "  not measured: {why}"),
            };
        }
        text
    }

    fn each(&self, show: impl Fn(&Outcome<Figures>, Option<&Figures>) -> String) -> Vec<String> {
        self.results.iter().map(|outcome| show(outcome, outcome.figures.as_ref().ok())).collect()
    }

    fn figures(&self, show: impl Fn(&Figures) -> String) -> Vec<String> {
        self.each(|_, figures| figures.map_or_else(|| "-".to_owned(), &show))
    }

    fn names<'a, I: Iterator<Item = &'a String>>(&'a self, of: impl Fn(&'a Exits) -> I) -> Vec<String> {
        let figures = self.results.iter().filter_map(|outcome| outcome.figures.as_ref().ok());
        let mut names: Vec<String> = figures.flat_map(|figures| of(&figures.traced)).cloned().collect();
        names.sort();
        names.dedup();
        names
    }
}

fn times(starts: &[Start], of: impl Fn(&Start) -> f64) -> String {
    let times: Vec<String> = starts.iter().map(|start| format!("{:.0}", of(start))).collect();
    match times.split_first() {
        Some((first, rest)) => format!("{first}; {}", rest.join(" ")),
        None => "-".to_owned(),
    }
}

fn last(figures: &Figures, of: impl Fn(&Start) -> u64) -> String {
    figures.starts.last().map_or_else(|| "-".to_owned(), |start| of(start).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_who_failed_and_who_did_not() {
        let start = Start {
            up_ms: 940.4,
            whole_ms: 1000.0,
            counters: BTreeMap::new(),
            footprint: Footprint::default(),
        };
        let traced = Exits {
            reasons: [("io".to_owned(), Reason { count: 145, ms: 2.5 })].into(),
            ports: vec![("0x3f8".to_owned(), 95)],
            ..Exits::default()
        };
        let figures = Figures { starts: vec![start.clone(), start], traced };
        let report = GuestReport {
            release: "6.1".to_owned(),
            kernel_line: String::new(),
            vcpus: 1,
            results: vec![
                Outcome { name: "ours".to_owned(), version: "1".to_owned(), figures: Ok(figures) },
                Outcome {
                    name: "theirs".to_owned(),
                    version: "2".to_owned(),
                    figures: Err("it ended".to_owned()),
                },
            ],
        };
        let table = Report { host: String::new(), guests: vec![report] }.table();
        for wanted in ["940; 940", "0x3f8 95", "not measured: it ended", "145   2.5", "Linux 6.1, 1 vCPU"] {
            assert!(table.contains(wanted), "{table}");
        }
    }
}
