//! What has to hold of making a disk: a share of what the best other way takes, and no larger than what others make.

use super::OURS;
use super::report::{Figures, Report};
use super::way::WAYS;

/// The most of the best other way's time. Half is wanted, and held where the processor has instructions for SHA-256
/// (`--here`); the lab's has none, and three quarters of our instructions there are digests.
const SHARE: f64 = 0.75;
/// The most memory, in KiB.
const MEMORY: u64 = 256 << 10;
/// Disks are as large as another's to about this share: there is more than one order of the same blocks.
const SLACK: f64 = 1.01;

/// Every sentence names a figure that is missed; none means that all hold.
pub fn missed(report: &Report) -> Vec<String> {
    let figures = |name: &str| -> Option<Figures> {
        let found = report.results.iter().find(|outcome| outcome.name == name);
        found.and_then(|outcome| outcome.figures.as_ref().ok()).copied()
    };
    let Some(ours) = figures(OURS) else { return vec![format!("{OURS} was not measured")] };
    let mut missed = Vec::new();
    if ours.memory_kib > MEMORY {
        missed.push(format!("{} KiB of memory are above {MEMORY}", ours.memory_kib));
    }
    for way in WAYS.iter().filter(|way| way.name != OURS) {
        let Some(theirs) = figures(way.name) else {
            missed.push(format!("{} was not measured", way.name));
            continue;
        };
        if ours.ms > theirs.ms * SHARE {
            missed
                .push(format!("{:.0} ms are above {SHARE} of the {:.0} of {}", ours.ms, theirs.ms, way.name));
        }
        if way.erofs && ours.disk as f64 > theirs.disk as f64 * SLACK {
            missed.push(format!("{} bytes are above the {} of {}", ours.disk, theirs.disk, way.name));
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::Outcome;
    use super::*;

    fn missed_by(ours: Figures, theirs: Figures) -> usize {
        let outcome = |name: &str, figures| Outcome {
            name: name.to_owned(),
            version: String::new(),
            figures: Ok(figures),
        };
        let of = |name| if name == OURS { ours } else { theirs };
        let results = WAYS.iter().map(|way| outcome(way.name, of(way.name))).collect();
        missed(&Report { host: String::new(), results }).len()
    }

    #[test]
    fn what_is_above_a_share_or_a_peer_is_named() {
        let theirs =
            Figures { ms: 100.0, processor_ms: 100.0, memory_kib: 1, read: 1, written: 1, disk: 1000 };
        let ours = Figures { ms: 75.0, ..theirs };
        assert_eq!(missed_by(ours, theirs), 0);
        assert_eq!(missed_by(Figures { ms: 76.0, ..ours }, theirs), 3);
        assert_eq!(missed_by(Figures { disk: 1011, ..ours }, theirs), 2);
        assert_eq!(missed_by(Figures { memory_kib: MEMORY + 1, ..ours }, theirs), 1);
        assert_eq!(missed(&Report { host: String::new(), results: Vec::new() }).len(), 1);
    }
}
