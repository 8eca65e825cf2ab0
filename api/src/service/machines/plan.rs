//! What is to be done after a restart of the daemon: a pure function of what is recorded and what is there.

use std::collections::BTreeSet;

use crate::service::model::Phase;

/// A machine as its record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its id.
    pub id: String,
    /// Its phase.
    pub phase: Phase,
    /// The very process of its record runs.
    pub alive: bool,
}

/// What is found on the host, by the ids of machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Processes of VMMs.
    pub processes: Vec<(String, u32)>,
    /// Cgroups.
    pub groups: Vec<String>,
    /// Run folders.
    pub runs: Vec<String>,
    /// State folders.
    pub states: Vec<String>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Machines that run: take them over.
    pub adopt: BTreeSet<String>,
    /// Machines that ran and have ended: record how.
    pub end: BTreeSet<String>,
    /// Machines that were on their way up: they failed.
    pub fail: BTreeSet<String>,
    /// Processes that belong to no machine that is taken over.
    pub kill: BTreeSet<u32>,
    /// Cgroups, run folders and state folders that nobody needs.
    pub groups: BTreeSet<String>,
    /// Run folders that nobody needs.
    pub runs: BTreeSet<String>,
    /// State folders that nobody needs.
    pub states: BTreeSet<String>,
}

/// The plan.
pub fn plan(recorded: &[Recorded], found: &Found) -> Plan {
    let mut plan = Plan::default();
    for machine in recorded {
        let list = match (machine.phase, machine.alive) {
            (Phase::Running | Phase::Paused, true) => &mut plan.adopt,
            (Phase::Running | Phase::Paused, false) => &mut plan.end,
            (Phase::Creating, _) => &mut plan.fail,
            (Phase::Created | Phase::Stopped | Phase::Failed, _) => continue,
        };
        list.insert(machine.id.clone());
    }
    let adopted = |id: &String| plan.adopt.contains(id);
    let without = |names: &[String]| names.iter().filter(|id| !adopted(id)).cloned().collect();
    plan.kill = found.processes.iter().filter(|(id, _)| !adopted(id)).map(|(_, pid)| *pid).collect();
    plan.groups = without(&found.groups);
    plan.runs = without(&found.runs);
    let known = |id: &String| recorded.iter().any(|machine| machine.id == *id);
    plan.states = found.states.iter().filter(|id| !known(id)).cloned().collect();
    plan
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
