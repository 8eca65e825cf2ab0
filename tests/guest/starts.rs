//! Starts in a row and processors by number, with nothing left over.

use bulkhead_tests::{Daemon, Footprint, asset};

#[test]
fn guests_with_1_2_and_4_processors() {
    let daemon = Daemon::start();
    for processors in ["1", "2", "4"] {
        let run =
            daemon.bulkhead(&["run", "--rm", "--cpus", processors, &asset("busybox.img"), "nproc"]).ok();
        assert_eq!(run.text(), processors);
    }
}

#[test]
fn twenty_starts_in_a_row_leave_nothing_behind() {
    let before = Footprint::take();
    {
        let daemon = Daemon::start();
        for round in 0..20 {
            let word = format!("round {round}");
            let run =
                daemon.bulkhead(&["run", "--rm", "-p", "7000:7000", &asset("busybox.img"), "echo", &word]);
            assert_eq!((run.status, run.text()), (0, word.as_str()), "{}", run.stderr);
        }
    }
    let left = Footprint::take().added_since(&before);
    assert!(left.is_empty(), "left over: {left:#?}");
}
