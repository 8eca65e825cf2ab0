//! What has to hold: the budgets of `SPECIFICATION.md`, and not more exits than QEMU microvm in the same run.

use std::collections::BTreeMap;

use super::super::outcome::Outcome;
use super::plan::JOBS;
use super::report::{Figures, Report};

type Measured = Outcome<BTreeMap<String, Figures>>;

/// The most system calls of the I/O threads a request of 4 KiB, by depth.
const CALLS: [(u32, f64); 2] = [(1, 4.0), (32, 1.2)];

/// Every sentence names a figure that is missed; none means that all hold.
pub fn missed(report: &Report) -> Vec<String> {
    let ours = report.results.iter().filter(|outcome| outcome.name.starts_with("bulkhead"));
    let mut missed: Vec<String> = ours.flat_map(|outcome| of(outcome, &report.results)).collect();
    if !report.results.iter().any(|outcome| outcome.name.starts_with("bulkhead")) {
        missed.push("bulkhead-vmm was not measured".to_owned());
    }
    missed
}

fn of(ours: &Measured, all: &[Measured]) -> Vec<String> {
    let figures = match &ours.figures {
        Ok(figures) => figures,
        Err(why) => return vec![format!("{}: {why}", ours.name)],
    };
    let mut missed = Vec::new();
    for (depth, limit) in CALLS {
        for job in JOBS.iter().filter(|job| job.size == 4096 && job.depth == depth) {
            let Some(figures) = figures.get(job.name) else {
                missed.push(format!("{}: {} was not measured", ours.name, job.name));
                continue;
            };
            let calls = figures.io_calls;
            // A number that is none misses, too.
            if calls.is_nan() || calls > limit {
                missed
                    .push(format!("{}, {}: {calls:.2} system calls are above {limit}", ours.name, job.name));
            }
            let peers = all.iter().filter(|other| other.name.starts_with("qemu"));
            let peers =
                peers.filter_map(|other| Some(other.figures.as_ref().ok()?.get(job.name)?.user_exits));
            let least = peers.fold(f64::INFINITY, f64::min);
            if figures.user_exits > least {
                let exits = figures.user_exits;
                missed.push(format!(
                    "{}, {}: {exits:.2} exits to user space are above QEMU's {least:.2}",
                    ours.name, job.name
                ));
            }
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(calls: f64, exits: f64) -> Report {
        let outcome = |name: &str, io_calls, user_exits| Outcome {
            name: name.to_owned(),
            version: String::new(),
            figures: Ok(JOBS
                .map(|job| {
                    let figures = Figures { io_calls, user_exits, ..Figures::default() };
                    (job.name.to_owned(), figures)
                })
                .into()),
        };
        let results =
            vec![outcome("bulkhead-vmm Sync", calls, exits), outcome("qemu-microvm native", 9.0, 3.0)];
        Report { host: String::new(), steady: true, results }
    }

    #[test]
    fn figures_within_the_budgets_hold_and_those_above_are_named() {
        assert_eq!(missed(&report(1.2, 2.0)), [""; 0]);
        assert_eq!(missed(&report(1.3, 2.0)).len(), 2);
        assert_eq!(missed(&report(4.1, 2.0)).len(), 4);
        assert_eq!(missed(&report(1.0, 3.1)).len(), 4);
        assert_eq!(missed(&report(f64::NAN, 2.0)).len(), 4);
    }

    #[test]
    fn a_vmm_without_figures_misses() {
        let mut report = report(1.0, 1.0);
        report.results[0].figures = Err("it ended".to_owned());
        assert_eq!(missed(&report), ["bulkhead-vmm Sync: it ended"]);
        report.results.remove(0);
        assert_eq!(missed(&report).len(), 1);
    }
}
