use super::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET};
use super::*;

const OFFERED: u64 = VERSION_1 | 1 << 5;

fn accept(negotiation: &mut Negotiation, features: u64) {
    for half in 0..2 {
        negotiation.select_accepted(half);
        negotiation.accept_half((features >> (32 * half)) as u32);
    }
}

/// Drives up to `status`, with good features.
fn at(status: u32) -> Negotiation {
    let mut negotiation = Negotiation::default();
    for step in [ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK] {
        if status & step == 0 {
            break;
        }
        if step == FEATURES_OK {
            accept(&mut negotiation, OFFERED);
        }
        negotiation.write_status(negotiation.status() | step, OFFERED);
    }
    assert_eq!(negotiation.status(), status);
    negotiation
}

const LADDER: [u32; 5] = [
    0,
    ACKNOWLEDGE,
    ACKNOWLEDGE | DRIVER,
    ACKNOWLEDGE | DRIVER | FEATURES_OK,
    ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
];

#[test]
fn of_all_writes_in_all_states_only_the_next_step_and_giving_up_count() {
    for (rung, &state) in LADDER.iter().enumerate() {
        for value in (0..=0xff_u32).chain([0x100, 0xf00, 1 << 31, u32::MAX, 1 << 31 | state]) {
            let mut negotiation = at(state);
            if state == ACKNOWLEDGE | DRIVER {
                accept(&mut negotiation, OFFERED);
            }
            let step = negotiation.write_status(value, OFFERED);
            let asked = value & !NEEDS_RESET;
            let next = LADDER.get(rung + 1).copied();
            let legal = asked == state
                || Some(asked) == next
                || asked == state | FAILED
                || (state == 0 && asked == ACKNOWLEDGE | DRIVER);
            let expected = match value {
                0 => Step::Reset,
                _ if Some(asked) == next && asked & DRIVER_OK != 0 => Step::Activate,
                _ => Step::None,
            };
            assert_eq!(step, expected, "{state:#x} <- {value:#x}");
            let after = if legal && asked != 0 { asked } else { state };
            assert_eq!(negotiation.status(), after, "{state:#x} <- {value:#x}");
        }
    }
}

#[test]
fn who_gave_up_can_only_reset() {
    for state in LADDER {
        let mut negotiation = at(state);
        negotiation.write_status(state | FAILED, OFFERED);
        for value in (1..=0xff).chain([1 << 31, u32::MAX]) {
            assert_eq!(negotiation.write_status(value, OFFERED), Step::None);
            assert_eq!(negotiation.status(), state | FAILED);
        }
        assert_eq!(negotiation.write_status(0, OFFERED), Step::Reset);
    }
}

#[test]
fn features_count_only_between_driver_and_features_ok() {
    for state in LADDER {
        let mut negotiation = at(state);
        let before = negotiation.accepted();
        accept(&mut negotiation, 1 << 5 | 1 << 40);
        let expected = if state == ACKNOWLEDGE | DRIVER { 1 << 5 | 1 << 40 } else { before };
        assert_eq!(negotiation.accepted(), expected, "{state:#x}");
    }
}

#[test]
fn unoffered_and_legacy_features_keep_features_ok_off() {
    for (features, good) in [
        (OFFERED, true),
        (VERSION_1, true),
        (0, false),
        (1 << 5, false),
        (OFFERED | 1 << 6, false),
        (OFFERED | 1 << 63, false),
        (u64::MAX, false),
    ] {
        let mut negotiation = at(ACKNOWLEDGE | DRIVER);
        accept(&mut negotiation, features);
        negotiation.write_status(ACKNOWLEDGE | DRIVER | FEATURES_OK, OFFERED);
        assert_eq!(negotiation.takes_queues(), good, "{features:#x}");
    }
}

#[test]
fn halves_that_do_not_exist_are_empty() {
    let mut negotiation = at(ACKNOWLEDGE | DRIVER);
    for half in [2, 3, u32::MAX] {
        negotiation.select_offered(half);
        assert_eq!(negotiation.offered_half(u64::MAX), 0);
        negotiation.select_accepted(half);
        negotiation.accept_half(u32::MAX);
        assert_eq!(negotiation.accepted(), 0);
    }
    negotiation.select_offered(0);
    assert_eq!(negotiation.offered_half(0x1_0000_0002), 2);
    negotiation.select_offered(1);
    assert_eq!(negotiation.offered_half(0x1_0000_0002), 1);
}
