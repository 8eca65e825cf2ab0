//! What has to hold of the network's figures: not above QEMU microvm without vhost in the same run, and for requests
//! not above what is written down here.

use super::load::Load;
use super::report::Report;

/// Counts are steady to about this share.
const SLACK: f64 = 1.02;

/// What is held against the peer. Interrupts are not: how many frames the host has ready when it is looked is chance.
const COMPARED: [&str; 3] = ["KVM exits", "exits to user space", "system calls"];

/// What a request costs on the instruction clock: a halt before the thread that serves it is let in and one before the
/// answer comes, a notification, one interrupt, whose reason alone is asked for here; two waits, the question, the answer
/// and a look whether there is more.
const REQUEST: [(&str, f64); 4] =
    [("KVM exits", 4.2), ("exits to user space", 1.0), ("interrupts", 1.0), ("system calls", 6.0)];

/// Every sentence names a figure that is missed; none means that all hold.
pub fn missed(report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    for load in Load::ALL {
        let figures = ["bulkhead-vmm", "qemu-microvm"].map(|name| report.figures(name, load));
        let [Some(ours), Some(peer)] = figures else {
            missed.push(format!("{load:?} was not measured"));
            continue;
        };
        let ours = ours.counted();
        let mut over = |what: &str, limit: f64, whose: &str| {
            let found = ours.iter().find(|(name, _)| *name == what).map_or(f64::NAN, |(_, each)| *each);
            // A number that is none misses, too.
            if found.is_nan() || found > limit * SLACK {
                missed.push(format!("{load:?}: {found:.2} {what} are above {whose} {limit:.2}"));
            }
        };
        let peers = peer.counted().into_iter().filter(|(what, _)| COMPARED.contains(what));
        peers.for_each(|(what, each)| over(what, each, "QEMU's"));
        if load == Load::Ask && report.steady {
            REQUEST.iter().for_each(|(what, each)| over(what, *each, "the known"));
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
            count: if load == Load::Ask { 1000 } else { 1 << 20 },
            ms: 1.0,
            counts: Counts { exits: [("123".to_owned(), exits)].into(), ..Counts::default() },
        };
        let figures = Ok(Load::ALL.map(figures).to_vec());
        Outcome { name: name.to_owned(), version: String::new(), figures }
    }

    #[test]
    fn what_is_above_the_peer_or_the_known_is_named() {
        let report = |steady, ours| {
            let results = vec![outcome("bulkhead-vmm", ours), outcome("qemu-microvm", 4300)];
            Report { host: String::new(), steady, bytes: 1, requests: 1, results }
        };
        assert_eq!(missed(&report(true, 4200)), [""; 0]);
        assert_eq!(missed(&report(false, 4300)), [""; 0]);
        assert_eq!(missed(&report(true, 4300)).len(), 1);
        assert_eq!(missed(&report(true, 4400)).len(), 4);
        assert_eq!(missed(&Report { results: Vec::new(), ..report(true, 1) }).len(), 3);
    }
}
