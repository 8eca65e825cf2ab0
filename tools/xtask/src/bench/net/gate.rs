//! What has to hold of the network's figures: not above QEMU microvm without vhost in the same run.

use super::load::Load;
use super::report::Report;

/// Counts are steady to about this share.
const SLACK: f64 = 1.02;

/// Every sentence names a figure that is missed; none means that all hold.
pub fn missed(report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    for load in Load::ALL {
        let figures = ["bulkhead-vmm", "qemu-microvm"].map(|name| report.figures(name, load));
        let [Some(ours), Some(peer)] = figures else {
            missed.push(format!("{load:?} was not measured"));
            continue;
        };
        for ((what, ours), (_, peer)) in ours.counted().into_iter().zip(peer.counted()) {
            if ours > peer * SLACK {
                missed.push(format!("{load:?}: {ours:.2} {what} are above {peer:.2}"));
            }
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::Outcome;
    use super::super::super::tally::Counts;
    use super::super::report::Figures;
    use super::*;

    fn outcome(name: &str, exits: u64) -> Outcome<Vec<Figures>> {
        let figures = |load| Figures {
            load,
            count: 1 << 20,
            ms: 1.0,
            counts: Counts { exits: [("123".to_owned(), exits)].into(), ..Counts::default() },
        };
        let figures = Ok(Load::ALL.map(figures).to_vec());
        Outcome { name: name.to_owned(), version: String::new(), figures }
    }

    #[test]
    fn what_is_above_the_peer_is_named() {
        let report = |results| Report { host: String::new(), steady: true, bytes: 1, requests: 1, results };
        let both = |ours| vec![outcome("bulkhead-vmm", ours), outcome("qemu-microvm", 1000)];
        assert!(missed(&report(both(1020))).is_empty());
        assert_eq!(missed(&report(both(1100))).len(), 3);
        assert_eq!(missed(&report(Vec::new())).len(), 3);
    }
}
