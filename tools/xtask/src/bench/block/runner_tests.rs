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
    let counts = |exits: u64, calls: &[(&str, &str, u64)]| {
        let mut counts = Counts { exits: [("1".to_owned(), exits)].into(), ..Counts::default() };
        for (thread, call, count) in calls {
            counts.calls.entry((*thread).to_owned()).or_default().insert((*call).to_owned(), *count);
        }
        counts
    };
    let own = counts(2000, &[("vcpu-0", "write", 70)]);
    let all =
        counts(2300, &[("vcpu-0", "write", 470), ("io-0-data", "preadv", 100), ("io-0-data", "read", 200)]);
    let figures = cost(&all, &own, 100, 5.0);
    assert!((figures.io_calls - 3.0).abs() < 1e-9 && (figures.calls - 7.0).abs() < 1e-9, "{figures:?}");
    assert!((figures.exits - 3.0).abs() < 1e-9, "{figures:?}");
    assert_eq!(figures.commonest[0], ("vcpu-0".to_owned(), "write".to_owned(), 470));
}
