//! The figures, and how they are shown.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::super::outcome::Outcome;
use super::super::smaps::Footprint;
use super::super::table::lay_out;

/// How much of what was left over is shown.
const SHOWN: usize = 5;

/// All figures of a bench.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The lab's kernel.
    pub host: String,
    /// A guest's memory.
    pub guest_mib: u32,
    /// Whether the clock counts instructions: without that, times are shown against one another.
    #[serde(default)]
    pub steady: bool,
    /// One for each VMM, and one for the daemon.
    pub results: Vec<Outcome<Figures>>,
}

/// A VMM's figures.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    /// One machine alone.
    pub alone: Footprint,
    /// How many there were at once.
    pub machines: usize,
    /// The one that was started last.
    pub last: Footprint,
    /// What a machine takes of the host on the average, its guest's memory included, in KiB: PSS.
    pub mean_pss_kib: u64,
    /// From the first start until the first of them was up.
    pub first_up_ms: f64,
    /// From the first start until all of them were up.
    pub all_up_ms: f64,
    /// What was there after they had ended and not before.
    pub left_over: Vec<String>,
}

impl Figures {
    /// From what was seen of the one, and of all at once.
    pub fn new(alone: Footprint, all: &[Footprint], up: &[f64], left_over: Vec<String>) -> Self {
        let sum: u64 = all.iter().map(|one| one.pss_kib + one.guest_pss_kib).sum();
        Self {
            alone,
            machines: all.len(),
            last: all.last().copied().unwrap_or_default(),
            mean_pss_kib: sum / u64::try_from(all.len().max(1)).unwrap_or(1),
            first_up_ms: up.first().copied().unwrap_or_default(),
            all_up_ms: up.iter().copied().fold(0.0, f64::max),
            left_over,
        }
    }
}

impl Report {
    /// The table for people.
    pub fn table(&self) -> String {
        let number = |of: fn(&Figures) -> u64| self.each(move |figures| of(figures).to_string());
        let mut rows = vec![
            ("", self.results.iter().map(|outcome| outcome.name.clone()).collect()),
            ("alone, outside guest memory, KiB: RSS", number(|figures| figures.alone.rss_kib)),
            ("  PSS", number(|figures| figures.alone.pss_kib)),
            ("  private dirty", number(|figures| figures.alone.private_dirty_kib)),
            ("machines at once", number(|figures| figures.machines as u64)),
            ("the last, outside guest memory, KiB: RSS", number(|figures| figures.last.rss_kib)),
            ("  PSS", number(|figures| figures.last.pss_kib)),
            ("  private dirty", number(|figures| figures.last.private_dirty_kib)),
            ("the last's guest memory, KiB: PSS", number(|figures| figures.last.guest_pss_kib)),
            ("a machine, all of it, KiB: PSS, mean", number(|figures| figures.mean_pss_kib)),
            ("left over", number(|figures| figures.left_over.len() as u64)),
        ];
        if self.steady {
            rows.push((
                "the first is up after, ms",
                self.each(|figures| format!("{:.0}", figures.first_up_ms)),
            ));
            rows.push(("all are up after, ms", self.each(|figures| format!("{:.0}", figures.all_up_ms))));
            let each = |figures: &Figures| format!("{:.0}", figures.all_up_ms / figures.machines as f64);
            rows.push(("  a machine", self.each(each)));
        } else if let Some(first) = self.results.iter().find_map(|outcome| outcome.figures.as_ref().ok()) {
            let of_first = |figures: &Figures| format!("{:.2}", figures.all_up_ms / first.all_up_ms);
            rows.push(("all are up after, times the first's", self.each(of_first)));
        }
        let mut text = format!("guests of {} MiB\n{}", self.guest_mib, lay_out(&rows));
        for outcome in &self.results {
            let _ = writeln!(text, "{} ({})", outcome.name, outcome.version);
            match &outcome.figures {
                Ok(figures) => {
                    for left in figures.left_over.iter().take(SHOWN) {
                        let _ = writeln!(text, "  left over: {left}");
                    }
                }
                Err(why) => {
                    let _ = writeln!(text, "  not measured: {why}");
                }
            }
        }
        text
    }

    fn each(&self, show: impl Fn(&Figures) -> String) -> Vec<String> {
        let shown =
            |outcome: &Outcome<Figures>| outcome.figures.as_ref().map_or_else(|_| "-".to_owned(), &show);
        self.results.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_and_the_mean_are_told_apart() {
        let of = |pss_kib, guest_pss_kib| Footprint { pss_kib, guest_pss_kib, ..Footprint::default() };
        let all = [of(300, 1000), of(100, 3000)];
        let figures = Figures::new(of(700, 1), &all, &[10.0, 30.0], vec!["file x".to_owned()]);
        assert_eq!((figures.mean_pss_kib, figures.last.pss_kib), (2200, 100));
        assert_eq!((figures.machines, figures.all_up_ms as u64), (2, 30));
        let outcome =
            |name: &str, figures| Outcome { name: name.to_owned(), version: "1".to_owned(), figures };
        let results = vec![outcome("ours", Ok(figures)), outcome("theirs", Err("it ended".to_owned()))];
        let table = Report { host: String::new(), guest_mib: 64, steady: false, results }.table();
        for wanted in ["guests of 64 MiB", "1.00", "2200", "left over: file x", "not measured: it ended"] {
            assert!(table.contains(wanted), "{table}");
        }
    }
}
