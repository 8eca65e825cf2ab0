use super::*;

/// fio's terse report, with zeros for what is not read.
fn terse(read: (u64, u64), write: (u64, u64)) -> String {
    let mut fields = vec!["0".to_owned(); 130];
    fields[0] = "3".to_owned();
    for (at, (kib, ms)) in [(5, read), (46, write)] {
        fields[at] = kib.to_string();
        fields[at + 3] = ms.to_string();
    }
    format!("noise\n{}\nbench: done\n", fields.join(";"))
}

#[test]
fn a_rate_is_read_from_fio_and_short_runs_are_refused() {
    let (read, write) = (JOBS[0], JOBS[1]);
    assert_eq!(rate(&terse((4000, 500), (0, 0)), &read, 1000), Some(2000.0));
    assert_eq!(rate(&terse((0, 0), (4000, 250)), &write, 1000), Some(4000.0));
    assert_eq!(rate(&terse((4000, 500), (0, 0)), &write, 1000), None);
    assert_eq!(rate(&terse((2000, 500), (0, 0)), &read, 1000), None);
    assert_eq!(rate("fio: no such file\n", &read, 1000), None);
}

#[test]
fn costs_are_by_request_and_without_what_fio_did_beside() {
    let call = |thread: &str, number, count| ((thread.to_owned(), number), count);
    let own = Counts { calls: [call("vcpu-0", 1, 70)].into(), exits: 2000, ..Counts::default() };
    let counts = Counts {
        calls: [
            call("vcpu-0", 1, 70),
            call("vcpu-0", 228, 400),
            call("io-0-data", 295, 100),
            call("io-0-data", 228, 200),
        ]
        .into(),
        exits: 2300,
        user_exits: 200,
        interrupts: 100,
    };
    let figures = counts.less(&own, 100, 5.0);
    assert!((figures.io_calls - 3.0).abs() < 1e-9 && (figures.time_calls - 2.0).abs() < 1e-9, "{figures:?}");
    assert!((figures.calls - 7.0).abs() < 1e-9 && (figures.exits - 3.0).abs() < 1e-9, "{figures:?}");
    assert_eq!(figures.commonest[0], ("vcpu-0".to_owned(), 228, 400));
}
