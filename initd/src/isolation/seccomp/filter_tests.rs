use super::super::simulator;
use super::*;

/// The action and the number of steps.
fn run(program: &[libc::sock_filter], number: u32, arguments: [u64; 6]) -> (u32, usize) {
    simulator::run(program, number, arguments).unwrap()
}

fn filter(rules: &[(u32, &[Rule])]) -> Filter {
    let rules = rules.iter().map(|(number, rules)| (*number, rules.to_vec())).collect();
    Filter { default_action: ERRNO | 1, rules }
}

fn when(comparison: Comparison, value: u64) -> Rule {
    Rule { conditions: vec![Condition { argument: 1, comparison, value }], action: ALLOW }
}

const ALWAYS: Rule = Rule { conditions: Vec::new(), action: ALLOW };

#[test]
fn every_number_gets_its_own_decision() {
    let always = [ALWAYS];
    let even: Vec<_> = (0..400).step_by(2).map(|number| (number, &always[..])).collect();
    let program = filter(&even).compile();
    for number in 0..500 {
        let expected = if number < 400 && number % 2 == 0 { ALLOW } else { ERRNO | 1 };
        assert_eq!(run(&program, number, [0; 6]).0, expected, "{number}");
    }
    assert_eq!(run(&program, X32, [0; 6]).0, ERRNO | 38);
    assert_eq!(run(&program, u32::MAX, [0; 6]).0, ERRNO | 38);
}

#[test]
fn comparisons_agree_with_arithmetic() {
    let interesting =
        [0, 1, 2, 40, u64::from(u32::MAX), 1 << 32, (1 << 32) + 40, (40 << 32) + 1, u64::MAX - 1, u64::MAX];
    for value in interesting {
        for argument in interesting {
            let holds = |comparison| {
                let program = filter(&[(7, &[when(comparison, value)])]).compile();
                run(&program, 7, [9, argument, 9, 9, 9, 9]).0 == ALLOW
            };
            assert_eq!(holds(Comparison::Equal), argument == value);
            assert_eq!(holds(Comparison::NotEqual), argument != value);
            assert_eq!(holds(Comparison::Less), argument < value);
            assert_eq!(holds(Comparison::LessOrEqual), argument <= value);
            assert_eq!(holds(Comparison::Greater), argument > value);
            assert_eq!(holds(Comparison::GreaterOrEqual), argument >= value);
            let mask = 0xffff_ffff;
            assert_eq!(holds(Comparison::Masked(mask)), argument & mask == value);
        }
    }
}

#[test]
fn the_first_rule_that_holds_decides() {
    let deny = Rule { action: ERRNO | 38, ..when(Comparison::Equal, 5) };
    let program = filter(&[(7, &[deny, ALWAYS])]).compile();
    assert_eq!(run(&program, 7, [0, 5, 0, 0, 0, 0]).0, ERRNO | 38);
    assert_eq!(run(&program, 7, [0, 6, 0, 0, 0, 0]).0, ALLOW);
}

#[test]
fn far_code_is_reached() {
    let bulky: Vec<_> = (0..60).map(|value| when(Comparison::Masked(u64::MAX), value)).collect();
    let program = filter(&[(1, &bulky), (3, &bulky), (5, &[ALWAYS])]).compile();
    assert!(program.len() > 600);
    assert_eq!(run(&program, 5, [0; 6]).0, ALLOW);
    assert_eq!(run(&program, 3, [0, 59, 0, 0, 0, 0]).0, ALLOW);
    assert_eq!(run(&program, 1, [0, 60, 0, 0, 0, 0]).0, ERRNO | 1);
}

#[test]
fn another_architecture_ends_the_process() {
    let program = filter(&[]).compile();
    assert_eq!(program[2].k, KILL_PROCESS);
}
