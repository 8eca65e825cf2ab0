//! What has to hold of the API: no more system calls a request than a peer of Firecracker's kind in the same run.

use super::client::HTTP;
use super::report::Report;

/// The most system calls of a request on a connection that stays, whoever else is measured.
const MOST_CALLS: f64 = 4.0;

/// Every sentence names a figure that is missed; none means that all hold.
pub fn missed(report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    for question in HTTP {
        let Some(ours) = report.figures("bulkhead-vmm", question.name) else {
            missed.push(format!("{} was not measured", question.name));
            continue;
        };
        let ours = ours.all_calls();
        if !question.reconnect && ours > MOST_CALLS {
            missed.push(format!("{}: {ours:.2} system calls are above {MOST_CALLS}", question.name));
        }
        let peers = report
            .results
            .iter()
            .filter(|outcome| !["bulkhead-vmm", "qemu-microvm"].contains(&outcome.name.as_str()));
        for peer in peers {
            let Some(theirs) = report.figures(&peer.name, question.name) else {
                missed.push(format!("{}: {} was not measured", question.name, peer.name));
                continue;
            };
            let theirs = theirs.all_calls();
            if ours > theirs {
                missed.push(format!(
                    "{}: {ours:.2} system calls are above {}'s {theirs:.2}",
                    question.name, peer.name
                ));
            }
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::Outcome;
    use super::super::report::{ByRequest, Figures};
    use super::*;

    fn outcome(name: &str, calls: f64) -> Outcome<ByRequest> {
        let one = Figures { per_second: 1.0, calls: [("read".to_owned(), calls)].into() };
        let figures: ByRequest =
            HTTP.iter().map(|question| (question.name.to_owned(), one.clone())).collect();
        Outcome { name: name.to_owned(), version: String::new(), figures: Ok(figures) }
    }

    fn missed_by(results: Vec<Outcome<ByRequest>>) -> usize {
        missed(&Report { host: String::new(), results }).len()
    }

    #[test]
    fn more_calls_than_a_peer_or_than_allowed_are_named() {
        assert_eq!(missed_by(vec![outcome("bulkhead-vmm", 4.0), outcome("qemu-microvm", 1.0)]), 0);
        assert_eq!(missed_by(vec![outcome("bulkhead-vmm", 4.0), outcome("peer", 4.0)]), 0);
        assert_eq!(missed_by(vec![outcome("bulkhead-vmm", 3.1), outcome("peer", 3.0)]), 4);
        assert_eq!(missed_by(vec![outcome("bulkhead-vmm", 4.1)]), 3);
        assert_eq!(missed_by(Vec::new()), 4);
    }
}
