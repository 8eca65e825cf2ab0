//! What has to hold: the budgets of `SPECIFICATION.md`, and not more exits than QEMU microvm in the same run.

use super::plan::JOBS;
use super::report::{Outcome, Report};

/// The most system calls of the I/O threads a request of 4 KiB, time apart, by depth.
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

fn of(ours: &Outcome, all: &[Outcome]) -> Vec<String> {
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
            let calls = figures.io_calls - figures.time_calls;
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
    use super::super::report::Figures;
    use super::*;

    fn report(calls: f64, time: f64, exits: f64) -> Report {
        let outcome = |name: &str, io_calls, time_calls, user_exits| Outcome {
            name: name.to_owned(),
            version: String::new(),
            figures: Ok(JOBS
                .map(|job| {
                    let figures = Figures { io_calls, time_calls, user_exits, ..Figures::default() };
                    (job.name.to_owned(), figures)
                })
                .into()),
        };
        let results = vec![
            outcome("bulkhead-vmm Sync", calls, time, exits),
            outcome("qemu-microvm native", 9.0, 0.0, 3.0),
        ];
        Report { host: String::new(), clock: String::new(), steady: true, results }
    }

    #[test]
    fn figures_within_the_budgets_hold_and_those_above_are_named() {
        assert_eq!(missed(&report(1.2, 0.0, 2.0)), [""; 0]);
        assert_eq!(missed(&report(3.1, 2.0, 2.0)), [""; 0]);
        assert_eq!(missed(&report(1.3, 0.0, 2.0)).len(), 2);
        assert_eq!(missed(&report(4.1, 0.0, 2.0)).len(), 4);
        assert_eq!(missed(&report(1.0, 0.0, 3.1)).len(), 4);
        assert_eq!(missed(&report(f64::NAN, 0.0, 2.0)).len(), 4);
    }

    #[test]
    fn a_vmm_without_figures_misses() {
        let mut report = report(1.0, 0.0, 1.0);
        report.results[0].figures = Err("it ended".to_owned());
        assert_eq!(missed(&report), ["bulkhead-vmm Sync: it ended"]);
        report.results.remove(0);
        assert_eq!(missed(&report).len(), 1);
    }
}
