//! The half inside the lab.

use anyhow::Result;

use super::super::carry;
use super::super::outcome::{self, Outcome};
use super::plan::{DAEMON, Plan};
use super::report::Report;
use super::{daemon, fleet};

/// Measures what the plan names, and the daemon with machines of our own VMM.
pub fn run() -> Result<u8> {
    let mut plan: Plan = carry::plan()?;
    let mut subjects = std::mem::take(&mut plan.subjects);
    let mut results =
        outcome::of_each(&mut subjects, |subject| fleet::measure(subject, &plan.guest, plan.machines))?;
    if plan.daemon {
        results.push(Outcome::new(DAEMON, "through the daemon".to_owned(), daemon::measure(&plan)));
    }
    let status = outcome::status(&results);
    carry::give(&Report { host: outcome::host(), guest_mib: plan.guest.memory, steady: false, results })?;
    Ok(status)
}
