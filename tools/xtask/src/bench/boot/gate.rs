//! What has to hold of a start's figures: at or below QEMU microvm in the same run, within our own budgets.

use super::report::{Figures, Report};

/// RSS and private dirty memory outside the memory slots, each (SPECIFICATION.md, "Budgets").
const MEMORY_KIB: u64 = 3 << 10;

/// Every sentence names a figure that is missed; none means that all hold.
pub fn missed(report: &Report) -> Vec<String> {
    let figures = |name: &str| {
        let outcome = report.results.iter().find(|outcome| outcome.name == name);
        outcome.map_or(Err(format!("{name} was not started")), |outcome| {
            outcome.figures.as_ref().map_err(Clone::clone)
        })
    };
    match (figures("bulkhead-vmm"), figures("qemu-microvm")) {
        (Ok(ours), Ok(peer)) => compare(ours, peer),
        (ours, peer) => [ours.err(), peer.err()].into_iter().flatten().collect(),
    }
}

fn compare(ours: &Figures, peer: &Figures) -> Vec<String> {
    // The first start has cold caches, which the instruction clock distorts.
    let warm = |figures: &Figures| {
        figures.starts.iter().skip(1).map(|start| start.up_ms).fold(f64::INFINITY, f64::min)
    };
    let memory = ours.starts.last().map(|start| start.footprint).unwrap_or_default();
    let figures = [
        ("start to init, ms", warm(ours), warm(peer)),
        ("KVM exits until init", ours.traced.total as f64, peer.traced.total as f64),
        (
            "exits to user space until init",
            ours.traced.userspace_total as f64,
            peer.traced.userspace_total as f64,
        ),
        ("RSS outside guest memory, KiB", memory.rss_kib as f64, MEMORY_KIB as f64),
        ("private dirty outside guest memory, KiB", memory.private_dirty_kib as f64, MEMORY_KIB as f64),
    ];
    let over = figures.iter().filter(|(_, ours, limit)| !(ours.is_finite() && ours <= limit));
    over.map(|(what, ours, limit)| format!("{what}: {ours:.0} is above {limit:.0}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::outcome::Outcome;
    use super::super::super::smaps::Footprint;
    use super::super::super::trace::Exits;
    use super::super::report::Start;
    use super::*;

    fn outcome(name: &str, up_ms: f64, exits: u64, rss_kib: u64) -> Outcome<Figures> {
        let footprint = Footprint { rss_kib, private_dirty_kib: rss_kib, ..Footprint::default() };
        let start = Start { up_ms, whole_ms: up_ms, counters: BTreeMap::new(), footprint };
        let cold = Start { up_ms: up_ms * 9.0, ..start.clone() };
        let traced = Exits { total: exits, userspace_total: exits, ..Exits::default() };
        let figures = Ok(Figures { starts: vec![cold, start], traced });
        Outcome { name: name.to_owned(), version: String::new(), figures }
    }

    fn missed_by(ours: Outcome<Figures>, peer: Outcome<Figures>) -> usize {
        missed(&Report { host: String::new(), kernel_line: String::new(), results: vec![ours, peer] }).len()
    }

    #[test]
    fn figures_at_or_below_the_limits_hold() {
        let peer = || outcome("qemu-microvm", 1000.0, 2000, 80_000);
        assert_eq!(missed_by(outcome("bulkhead-vmm", 1000.0, 2000, 3072), peer()), 0);
    }

    #[test]
    fn each_figure_above_its_limit_is_named() {
        let peer = || outcome("qemu-microvm", 1000.0, 2000, 80_000);
        assert_eq!(missed_by(outcome("bulkhead-vmm", 1001.0, 2000, 3072), peer()), 1);
        assert_eq!(missed_by(outcome("bulkhead-vmm", 1000.0, 2001, 3072), peer()), 2);
        assert_eq!(missed_by(outcome("bulkhead-vmm", 1000.0, 2000, 3073), peer()), 2);
    }

    #[test]
    fn a_vmm_that_gave_no_figures_misses() {
        let mut peer = outcome("qemu-microvm", 1000.0, 2000, 80_000);
        peer.figures = Err("it ended".to_owned());
        assert_eq!(missed_by(outcome("bulkhead-vmm", 1.0, 1, 1), peer), 1);
    }
}
