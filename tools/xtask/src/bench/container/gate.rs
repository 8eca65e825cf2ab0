//! What has to hold of a container: the budgets, and less than what crun and runc take in the same run.

use super::OURS;
use super::report::Report;

/// The most milliseconds of the lab's clock.
const MOST_MS: f64 = 25.0;
/// The most system calls, those of the container's program and of the C library's start in it included.
const MOST_CALLS: u64 = 400;
/// The most processes and threads that are made.
const MOST_CLONES: u64 = 1;

/// Every sentence names a figure that is missed; none means that all hold.
pub fn missed(report: &Report) -> Vec<String> {
    let figures = |name: &str| {
        report
            .results
            .iter()
            .find(|outcome| outcome.name == name)
            .and_then(|outcome| outcome.figures.as_ref().ok())
    };
    let Some(ours) = figures(OURS) else { return vec![format!("{OURS} was not measured")] };
    let mut missed = Vec::new();
    if ours.median_ms() > MOST_MS {
        missed.push(format!("{:.1} ms are above {MOST_MS}", ours.median_ms()));
    }
    if ours.all_calls() > MOST_CALLS {
        missed.push(format!("{} system calls are above {MOST_CALLS}", ours.all_calls()));
    }
    if ours.clones() > MOST_CLONES {
        missed.push(format!("{} clones are above {MOST_CLONES}", ours.clones()));
    }
    for peer in report.results.iter().filter(|outcome| outcome.name != OURS) {
        let Some(theirs) = figures(&peer.name) else {
            missed.push(format!("{} was not measured", peer.name));
            continue;
        };
        if ours.all_calls() > theirs.all_calls() || ours.median_ms() > theirs.median_ms() {
            missed.push(format!("{} takes less", peer.name));
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::Outcome;
    use super::super::report::Figures;
    use super::*;

    fn outcome(name: &str, ms: f64, read: u64, clones: u64) -> Outcome<Figures> {
        let calls = [("read".to_owned(), read), ("clone3".to_owned(), clones)].into();
        let figures = Figures { runs_ms: vec![ms, ms], calls };
        Outcome { name: name.to_owned(), version: String::new(), figures: Ok(figures) }
    }

    fn missed_by(results: Vec<Outcome<Figures>>) -> usize {
        missed(&Report { host: String::new(), results }).len()
    }

    #[test]
    fn what_is_above_a_budget_or_a_peer_is_named() {
        assert_eq!(missed_by(vec![outcome(OURS, 25.0, 399, 1), outcome("crun", 35.0, 800, 1)]), 0);
        assert_eq!(missed_by(vec![outcome(OURS, 25.1, 401, 2)]), 3);
        assert_eq!(missed_by(vec![outcome(OURS, 20.0, 300, 1), outcome("crun", 19.0, 800, 1)]), 1);
        assert_eq!(missed_by(vec![outcome("crun", 35.0, 800, 1)]), 1);
    }
}
