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
            (Phase::Running, true) => &mut plan.adopt,
            (Phase::Running, false) => &mut plan.end,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn recorded(id: &str, phase: Phase, alive: bool) -> Recorded {
        Recorded { id: id.into(), phase, alive }
    }

    #[test]
    fn each_step_of_a_start_can_be_the_last() {
        // Recorded as on its way; nothing else.
        let on_its_way = [recorded("a", Phase::Creating, false)];
        assert_eq!(plan(&on_its_way, &Found::default()).fail, set(&["a"]));
        // With folders, then with a cgroup, then with a process that the record does not know yet.
        let found = Found {
            processes: vec![("a".into(), 7)],
            groups: list(&["a"]),
            runs: list(&["a"]),
            states: list(&["a"]),
        };
        let planned = plan(&on_its_way, &found);
        assert_eq!((planned.fail, planned.kill), (set(&["a"]), BTreeSet::from([7])));
        assert_eq!((planned.groups, planned.runs), (set(&["a"]), set(&["a"])));
        assert!(planned.states.is_empty(), "its logs are kept");
        // With a process that the record knows: its container was not started, as far as we know.
        assert_eq!(plan(&[recorded("a", Phase::Creating, true)], &found).kill, BTreeSet::from([7]));
        // It runs.
        let planned = plan(&[recorded("a", Phase::Running, true)], &found);
        assert_eq!(planned, Plan { adopt: set(&["a"]), ..Plan::default() });
        // It ran.
        let planned = plan(&[recorded("a", Phase::Running, false)], &found);
        assert_eq!((planned.end, planned.kill), (set(&["a"]), BTreeSet::from([7])));
    }

    #[test]
    fn what_has_no_record_goes() {
        let found = Found {
            processes: vec![("b".into(), 8)],
            groups: list(&["b"]),
            runs: list(&["b"]),
            states: list(&["b", "a"]),
        };
        let planned = plan(&[recorded("a", Phase::Stopped, false)], &found);
        assert_eq!(planned.kill, BTreeSet::from([8]));
        assert_eq!(planned.states, set(&["b"]));
        assert!(planned.end.is_empty() && planned.fail.is_empty());
    }

    proptest! {
        #[test]
        fn nothing_of_an_adopted_machine_is_touched(
            machines in prop::collection::vec((0..5_u8, 0..5_usize, any::<bool>()), 0..6),
            there in prop::collection::vec(0..8_u8, 0..8),
        ) {
            const PHASES: [Phase; 5] =
                [Phase::Created, Phase::Creating, Phase::Running, Phase::Stopped, Phase::Failed];
            let mut recorded: Vec<Recorded> = machines.into_iter().map(|(id, phase, alive)| Recorded {
                id: id.to_string(), phase: PHASES[phase], alive,
            }).collect();
            recorded.sort_by(|left, right| left.id.cmp(&right.id));
            recorded.dedup_by(|left, right| left.id == right.id);
            let names: Vec<String> = there.iter().map(u8::to_string).collect();
            let found = Found {
                processes: there.iter().map(|id| (id.to_string(), u32::from(*id) + 100)).collect(),
                groups: names.clone(), runs: names.clone(), states: names,
            };
            let planned = plan(&recorded, &found);
            for id in &planned.adopt {
                let pid = id.parse::<u32>().unwrap() + 100;
                prop_assert!(!planned.kill.contains(&pid));
                prop_assert!(!planned.groups.contains(id) && !planned.runs.contains(id));
                prop_assert!(!planned.states.contains(id));
            }
            for machine in &recorded {
                let lists = [&planned.adopt, &planned.end, &planned.fail];
                let times = lists.iter().filter(|list| list.contains(&machine.id)).count();
                prop_assert_eq!(times, usize::from(machine.phase.is_live()));
            }
        }
    }
}
