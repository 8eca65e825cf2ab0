//! What has to hold of memory.

use super::plan::DAEMON;
use super::report::{Figures, Report};

/// RSS and private dirty memory outside the memory slots, each (SPECIFICATION.md, "Budgets").
const MEMORY_KIB: u64 = 3 << 10;

/// Every sentence names a figure that is missed; none means that all hold.
pub fn missed(report: &Report, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut missed = Vec::new();
    for name in ["bulkhead-vmm", DAEMON].into_iter().filter(|name| wanted(name)) {
        let outcome = report.results.iter().find(|outcome| outcome.name == name);
        match outcome.map(|outcome| &outcome.figures) {
            Some(Ok(figures)) => missed.extend(over(name, figures)),
            Some(Err(why)) => missed.push(format!("{name}: {why}")),
            None => missed.push(format!("{name} was not measured")),
        }
    }
    missed
}

fn over(name: &str, figures: &Figures) -> Vec<String> {
    let limits = [
        ("RSS outside guest memory, KiB", figures.alone.rss_kib, MEMORY_KIB),
        ("private dirty outside guest memory, KiB", figures.alone.private_dirty_kib, MEMORY_KIB),
        ("the last machine's PSS outside guest memory, KiB", figures.last.pss_kib, figures.alone.rss_kib),
        ("left over", figures.left_over.len() as u64, 0),
    ];
    let over = limits.iter().filter(|(_, ours, limit)| ours > limit);
    over.map(|(what, ours, limit)| format!("{name}: {what}: {ours} is above {limit}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::Outcome;
    use super::super::super::smaps::Footprint;
    use super::*;

    fn report(rss_kib: u64, left_over: Vec<String>) -> Report {
        let footprint = Footprint { rss_kib, pss_kib: 10, ..Footprint::default() };
        let figures = Figures::new(footprint, &[footprint], &[1.0], left_over);
        let outcome =
            |name: &str, figures| Outcome { name: name.to_owned(), version: String::new(), figures };
        let daemon = Figures::new(footprint, &[footprint], &[1.0], Vec::new());
        let results = vec![outcome("bulkhead-vmm", Ok(figures)), outcome("bulkhead run", Ok(daemon))];
        Report { host: String::new(), guest_mib: 64, steady: true, results }
    }

    #[test]
    fn what_is_over_or_missing_is_named() {
        assert_eq!(missed(&report(3072, Vec::new()), |_| true).len(), 0);
        assert_eq!(missed(&report(3073, vec!["file x".to_owned()]), |_| true).len(), 3);
        let mut gone = report(20, Vec::new());
        gone.results.pop();
        assert_eq!(missed(&gone, |_| true), ["bulkhead run was not measured"]);
        assert_eq!(missed(&gone, |name| name != DAEMON).len(), 0);
    }
}
