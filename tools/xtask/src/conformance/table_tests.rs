use serde_json::json;

use super::*;

/// A table of one case a verdict of ours, which both others pass.
fn table(ours: &[(&str, bool)]) -> Table {
    let verdict = |passes: bool| json!({ "verdict": if passes { "pass" } else { "fail" } });
    let cases: Vec<Value> = ours
        .iter()
        .map(|(case, passes)| {
            let results = json!({ OURS: verdict(*passes), "crun": verdict(true), "runc": verdict(true) });
            json!({ "case": case, "clause": "config.md Root", "level": "MUST", "results": results })
        })
        .collect();
    Table::from_report(&json!({ "runtimes": { OURS: "1", "crun": "2" }, "cases": cases })).unwrap()
}

#[test]
fn what_is_written_is_read_again() {
    let written = table(&[("root.a", true), ("root.b", false)]);
    let text = written.text();
    assert!(text.contains("| MUST passed | 1 of 2 | 2 of 2 | 2 of 2 |"), "{text}");
    assert_eq!(Table::parse(&text), written);
}

#[test]
fn a_table_that_is_not_true_any_more_is_found() {
    let known = table(&[("root.a", true), ("root.b", false), ("root.c", true)]);
    assert!(known.differences(&known, true).is_empty());
    let now = table(&[("root.a", false), ("root.b", true), ("root.d", true)]);
    // Two verdicts that changed, one case that is new to three runtimes, one that is gone.
    assert_eq!(now.differences(&known, true).len(), 2 + 3 + 1);
    assert_eq!(now.differences(&known, false).len(), 2 + 3);
}

#[test]
fn what_was_not_tried_stays() {
    let known = table(&[("root.a", true), ("root.b", false), ("root.c", true)]);
    let now = table(&[("root.b", true), ("root.d", true)]);
    let names = |table: Table| table.rows.iter().map(|row| row.case.clone()).collect::<Vec<_>>().join(" ");
    let over = now.over(&known, false);
    assert_eq!(over.rows[1].passes(OURS), Some(true));
    assert_eq!(names(over), "root.a root.b root.c root.d");
    assert_eq!(names(now.over(&known, true)), "root.b root.d");
}

#[test]
fn who_was_not_tried_is_taken_from_the_table() {
    let known = table(&[("root.a", true)]);
    let mut now = known.clone();
    for row in &mut now.rows {
        row.passes.retain(|name, _| name == OURS);
    }
    assert!(!now.rows[0].peers_pass());
    assert!(now.with_peers_of(&known).rows[0].peers_pass());
}
