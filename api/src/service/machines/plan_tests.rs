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
        machines in prop::collection::vec((0..5_u8, 0..6_usize, any::<bool>()), 0..6),
        there in prop::collection::vec(0..8_u8, 0..8),
    ) {
        const PHASES: [Phase; 6] = [
            Phase::Created, Phase::Creating, Phase::Running, Phase::Paused, Phase::Stopped, Phase::Failed,
        ];
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
