//! What has to hold of a start's figures: at or below QEMU microvm in the same run, within our own budgets, and no
//! more exits than are written down.

use super::report::{Figures, GuestReport, Report};

/// Our counts, a line for each kernel: its release, the vCPUs, all exits until init, those to user space. A kernel
/// that is not in the list is held against the peer and the budgets only.
const COUNTS: &str = include_str!("counts.list");

/// How much more than what is written down, in percent.
const MARGIN: u64 = 2;

/// RSS and private dirty memory outside the memory slots, each (SPECIFICATION.md, "Budgets").
const MEMORY_KIB: u64 = 3 << 10;

/// Every sentence names a figure that is missed; none means that all hold.
pub fn missed(report: &Report) -> Vec<String> {
    report.guests.iter().flat_map(missed_by).collect()
}

fn missed_by(report: &GuestReport) -> Vec<String> {
    let figures = |name: &str| {
        let outcome = report.results.iter().find(|outcome| outcome.name == name);
        outcome.map_or(Err(format!("{name} was not started")), |outcome| {
            outcome.figures.as_ref().map_err(Clone::clone)
        })
    };
    match (figures("bulkhead-vmm"), figures("qemu-microvm")) {
        (Ok(ours), Ok(peer)) => {
            let mut missed = compare(ours, peer);
            missed.extend(counted(COUNTS, report, ours));
            missed.iter().map(|why| format!("Linux {}: {why}", report.release)).collect()
        }
        (ours, peer) => [ours.err(), peer.err()].into_iter().flatten().collect(),
    }
}

/// Holds our counts against those that are written down.
fn counted(counts: &str, report: &GuestReport, ours: &Figures) -> Vec<String> {
    let known = counts.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let found = words.next()? == report.release && words.next()? == report.vcpus.to_string();
        let mut number = || words.next()?.parse::<u64>().ok();
        found.then(|| Some((number()?, number()?))).flatten()
    });
    let Some((all, userspace)) = known else { return Vec::new() };
    let exits = &ours.traced;
    let pairs = [("KVM exits", exits.total, all), ("exits to user space", exits.userspace_total, userspace)];
    let over = pairs.iter().filter(|(_, ours, known)| ours * 100 > known * (100 + MARGIN));
    over.map(|(what, ours, known)| format!("{what} until init: {ours}, and {known} are written down"))
        .collect()
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

    fn guest(results: Vec<Outcome<Figures>>) -> GuestReport {
        GuestReport { release: "6.1.0-test".to_owned(), kernel_line: String::new(), vcpus: 1, results }
    }

    fn count(ours: Outcome<Figures>, peer: Outcome<Figures>) -> usize {
        missed(&Report { host: String::new(), guests: vec![guest(vec![ours, peer])] }).len()
    }

    #[test]
    fn figures_at_or_below_the_limits_hold() {
        let peer = || outcome("qemu-microvm", 1000.0, 2000, 80_000);
        assert_eq!(count(outcome("bulkhead-vmm", 1000.0, 2000, 3072), peer()), 0);
    }

    #[test]
    fn each_figure_above_its_limit_is_named() {
        let peer = || outcome("qemu-microvm", 1000.0, 2000, 80_000);
        assert_eq!(count(outcome("bulkhead-vmm", 1001.0, 2000, 3072), peer()), 1);
        assert_eq!(count(outcome("bulkhead-vmm", 1000.0, 2001, 3072), peer()), 2);
        assert_eq!(count(outcome("bulkhead-vmm", 1000.0, 2000, 3073), peer()), 2);
    }

    #[test]
    fn counts_hold_within_the_margin() {
        let ours = outcome("bulkhead-vmm", 1.0, 102, 1).figures.unwrap();
        let missed = |counts: &str| counted(counts, &guest(Vec::new()), &ours).len();
        assert_eq!(missed("6.1.0-test 1 100 100\n"), 0);
        assert_eq!(missed("6.1.0-test 2 1 1\n6.1.0-test 1 99 100\n"), 1);
        assert_eq!(missed("6.1.0-other 1 1 1\n"), 0, "not this kernel's");
        for line in COUNTS.lines().filter(|line| !line.starts_with('#')) {
            assert_eq!(line.split_whitespace().count(), 4, "{line}");
        }
    }

    #[test]
    fn a_vmm_that_gave_no_figures_misses() {
        let mut peer = outcome("qemu-microvm", 1000.0, 2000, 80_000);
        peer.figures = Err("it ended".to_owned());
        assert_eq!(count(outcome("bulkhead-vmm", 1.0, 1, 1), peer), 1);
    }
}
