//! Configurations as we read them, and as the crate `oci-spec` does: two documents, and every change of them in one
//! place. Where the two of us disagree, it is written here, with the reason.

#![allow(clippy::unwrap_used, reason = "a test ends where its documents are wrong")]

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_initd::fuzzing;
use serde::Serialize;
use serde_json::{Value, json};

/// A document that sets everything, and what `runc spec` and its like write.
const DOCUMENTS: [&str; 2] =
    [include_str!("../seeds/oci_config/whole.json"), include_str!("../seeds/oci_config/plain.json")];

/// A configuration without what stands for nothing.
fn plain<T: Serialize>(spec: &T) -> Value {
    let mut value = serde_json::to_value(spec).unwrap();
    simplify(&mut value);
    value
}

/// Takes out what is the same as its absence: `null`, `false`, 0, empty lists and objects. The crate keeps capabilities
/// in no order.
fn simplify(value: &mut Value) {
    let nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(_) => false,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
    };
    match value {
        Value::Array(list) => {
            list.iter_mut().for_each(simplify);
            if list.iter().any(|value| value.as_str().is_some_and(|word| word.starts_with("CAP_"))) {
                list.sort_by_key(ToString::to_string);
            }
        }
        Value::Object(members) => {
            members.values_mut().for_each(simplify);
            members.retain(|_, value| !nothing(value));
        }
        _ => {}
    }
}

/// Every place of a document.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    let mut below = |name: String, value| {
        let place = format!("{at}/{name}");
        all.push(place.clone());
        places(value, &place, all);
    };
    match value {
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| below(index.to_string(), value));
        }
        Value::Object(members) => {
            for (name, value) in members {
                below(name.replace('~', "~0").replace('/', "~1"), value);
            }
        }
        _ => {}
    }
}

/// Changes of one place: taken out, of another kind, another of its kind.
fn changes(document: &Value, place: &str) -> Vec<(&'static str, Value)> {
    let with = |value: Value| {
        let mut changed = document.clone();
        *changed.pointer_mut(place).unwrap() = value;
        changed
    };
    let mut changed = vec![
        ("null", with(Value::Null)),
        ("a text", with(json!("x"))),
        ("no text", with(json!(""))),
        ("a list", with(json!([]))),
        ("an object", with(json!({}))),
        ("true", with(json!(true))),
        ("0", with(json!(0))),
        ("-1", with(json!(-1))),
        ("2^31", with(json!(1_u64 << 31))),
        ("2^32", with(json!(1_u64 << 32))),
        ("2^63", with(json!(1_u64 << 63))),
        ("1.5", with(json!(1.5))),
    ];
    let mut without = document.clone();
    let (parent, name) = place.rsplit_once('/').unwrap();
    if let Some(members) = without.pointer_mut(parent).and_then(Value::as_object_mut) {
        members.remove(&name.replace("~1", "/").replace("~0", "~"));
        changed.push(("taken out", without));
    }
    changed
}

const REQUIRED: &str = "the specification requires it; the crate takes 0";
const NULL: &str = "null is what is not there, as Go reads it";
const UNKNOWN: &str = "a capability that is not known is told and left out, as the specification wants";

const CLASS: &str = "the crate makes a class up; here it is refused when the values are looked at";

/// Where we disagree, and why.
const EXPECTED: [(&str, Disagreement, &str); 33] = [
    ("linux.gidMappings.*", Disagreement::Theirs, REQUIRED),
    ("linux.gidMappings.*.containerID", Disagreement::Theirs, REQUIRED),
    ("linux.gidMappings.*.hostID", Disagreement::Theirs, REQUIRED),
    ("linux.gidMappings.*.size", Disagreement::Theirs, REQUIRED),
    ("linux.uidMappings.*", Disagreement::Theirs, REQUIRED),
    ("linux.uidMappings.*.containerID", Disagreement::Theirs, REQUIRED),
    ("linux.uidMappings.*.hostID", Disagreement::Theirs, REQUIRED),
    ("linux.uidMappings.*.size", Disagreement::Theirs, REQUIRED),
    ("mounts.*.gidMappings.*", Disagreement::Theirs, REQUIRED),
    ("mounts.*.gidMappings.*.containerID", Disagreement::Theirs, REQUIRED),
    ("mounts.*.gidMappings.*.hostID", Disagreement::Theirs, REQUIRED),
    ("mounts.*.gidMappings.*.size", Disagreement::Theirs, REQUIRED),
    ("mounts.*.uidMappings.*", Disagreement::Theirs, REQUIRED),
    ("mounts.*.uidMappings.*.containerID", Disagreement::Theirs, REQUIRED),
    ("mounts.*.uidMappings.*.hostID", Disagreement::Theirs, REQUIRED),
    ("mounts.*.uidMappings.*.size", Disagreement::Theirs, REQUIRED),
    ("process.rlimits.*.hard", Disagreement::Theirs, REQUIRED),
    ("process.rlimits.*.soft", Disagreement::Theirs, REQUIRED),
    (
        "linux.resources.hugepageLimits.*.limit",
        Disagreement::Theirs,
        "a uint64; the crate takes what is negative",
    ),
    (
        "linux.seccomp.syscalls.*.args.*.index",
        Disagreement::Theirs,
        "beyond 32 bits; there are six arguments",
    ),
    ("process.consoleSize.height", Disagreement::Theirs, "beyond 16 bits, which a terminal's size has"),
    ("process.consoleSize.width", Disagreement::Theirs, "beyond 16 bits, which a terminal's size has"),
    ("process.ioPriority.priority", Disagreement::Theirs, "beyond 32 bits; there are eight"),
    ("linux.resources.devices.*.allow", Disagreement::Ours, NULL),
    ("process.user.uid", Disagreement::Ours, NULL),
    ("process.user.gid", Disagreement::Ours, NULL),
    ("process", Disagreement::Values, "the crate makes one up; a container without one starts nothing"),
    ("process.ioPriority", Disagreement::Values, CLASS),
    ("process.ioPriority.class", Disagreement::Values, CLASS),
    ("process.user", Disagreement::Ours, "root, as with runc and crun"),
    ("process.capabilities.bounding.*", Disagreement::Ours, UNKNOWN),
    ("process.capabilities.effective.*", Disagreement::Ours, UNKNOWN),
    ("process.capabilities.permitted.*", Disagreement::Ours, UNKNOWN),
];

/// Who takes a document that the other refuses, or that each reads as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Disagreement {
    Ours,
    Theirs,
    Values,
}

fn disagreement(document: &Value) -> Option<Disagreement> {
    let text = document.to_string();
    let ours = fuzzing::read_config(text.as_bytes());
    let theirs = serde_json::from_str::<oci_spec::runtime::Spec>(&text).ok();
    match (&ours, &theirs) {
        (None, Some(_)) => Some(Disagreement::Theirs),
        // Values are looked at by the crate's types, and by us once all is read.
        (Some(ours), None) => fuzzing::takes_config(ours).then_some(Disagreement::Ours),
        (Some(ours), Some(theirs)) => (plain(ours) != plain(theirs)).then_some(Disagreement::Values),
        (None, None) => None,
    }
}

/// A place with a star for each number.
fn pattern(place: &str) -> String {
    let star = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = place.split('/').skip(1).map(|part| if star(part) { "*" } else { part });
    parts.collect::<Vec<_>>().join(".")
}

#[test]
fn we_read_what_others_read_but_where_it_is_said() {
    let mut seen: BTreeMap<(String, Disagreement), BTreeSet<&str>> = BTreeMap::new();
    for text in DOCUMENTS {
        // The crate has this flag under a name that is not the specification's.
        let text = text.replace("SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM");
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(disagreement(&document), None);
        let mut all = Vec::new();
        places(&document, "", &mut all);
        assert!(all.len() > 80, "{}", all.len());
        for place in all {
            for (what, changed) in changes(&document, &place) {
                if let Some(kind) = disagreement(&changed) {
                    seen.entry((pattern(&place), kind)).or_default().insert(what);
                }
            }
        }
    }
    let expected =
        EXPECTED.iter().map(|(place, kind, _)| ((*place).to_owned(), *kind)).collect::<BTreeSet<_>>();
    let found = seen.keys().cloned().collect::<BTreeSet<_>>();
    let new: Vec<_> = seen.iter().filter(|(key, _)| !expected.contains(key)).collect();
    assert!(new.is_empty(), "not said: {new:#?}");
    let gone: Vec<_> = expected.difference(&found).collect();
    assert!(gone.is_empty(), "no longer so: {gone:#?}");
}
