//! libFuzzer around the target that `BULKHEAD_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use bulkhead_fuzz::{TARGETS, Target, target};

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("BULKHEAD_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("BULKHEAD_FUZZ_TARGET is {name:?}; the targets are {}", names.join(", "));
        std::process::exit(2)
    })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| CHOSEN(bytes));
