//! Every target over its seeds, and over what chance makes of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its seeds are missing")]

use std::fs;
use std::path::Path;

use bulkhead_fuzz::TARGETS;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, TestRunner};

/// The seeds of a target.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

/// A seed in which a piece is replaced, taken out, doubled, or put before another seed's end.
fn changed(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let seed = proptest::sample::select(seeds.clone());
    let other = proptest::sample::select(seeds);
    let places = (any::<proptest::sample::Index>(), any::<proptest::sample::Index>());
    (seed, other, places, 0..4_u8, any::<Vec<u8>>()).prop_map(|(mut seed, other, (from, to), way, bytes)| {
        let (from, to) = (from.index(seed.len() + 1), to.index(seed.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        match way {
            0 => drop(seed.splice(from..to, bytes)),
            1 => drop(seed.drain(from..to)),
            2 => drop(seed.splice(from..from, seed[from..to].to_vec())),
            _ => {
                seed.truncate(from);
                seed.extend(other.get(to..).unwrap_or_default());
            }
        }
        seed
    })
}

#[test]
fn every_target_takes_its_seeds_and_what_chance_makes_of_them() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| target(seed));
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(1000) });
        let tried = runner.run(&changed(seeds), |bytes| {
            target(&bytes);
            Ok(())
        });
        tried.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
