//! All cases on all runtimes: several at a time, each with its verdict.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::case::Case;
use crate::runtime::Runtime;
use crate::trial::Trial;
use crate::{Options, cases};

/// How one case ended on one runtime.
#[derive(Debug)]
struct Verdict {
    /// Why it failed.
    failed: Option<String>,
    /// How many changes it made to the configuration.
    changes: usize,
    milliseconds: u128,
}

/// Names every case.
pub fn list() {
    for case in cases::all() {
        println!("{}\t{}\t{}", case.id, case.level.name(), case.clause);
    }
}

/// Runs what was asked for. Fails when nothing could be tried; a case that fails is a result.
pub fn run(options: &Options) -> Result<()> {
    let chosen = choose(&options.only)?;
    ensure!(!options.runtimes.is_empty(), "Name a runtime: --runtime NAME=PATH");
    // A container's first process becomes our child when the runtime's command has ended: we learn how it ends.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("Cannot become the parent of containers")?;
    fs::create_dir_all(&options.folder).context("Cannot make the folder for bundles")?;
    let work: Vec<(&Case, &Runtime)> =
        chosen.iter().flat_map(|case| options.runtimes.iter().map(move |runtime| (*case, runtime))).collect();
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(BTreeMap::new());
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((case, runtime)) = work.get(index) else { break };
                    let verdict = try_case(case, runtime, options, index);
                    tell(case, runtime, &verdict, options.deaf);
                    if let Ok(mut verdicts) = verdicts.lock() {
                        verdicts.insert((case.id, runtime.name.as_str()), verdict);
                    }
                }
            });
        }
    });
    crate::cleanup::remove(&options.folder);
    let Ok(verdicts) = verdicts.into_inner() else { bail!("a case broke the suite") };
    ensure!(verdicts.len() == work.len(), "of {} cases only {} were tried", work.len(), verdicts.len());
    let seconds = started.elapsed().as_secs_f64();
    for runtime in &options.runtimes {
        let mine = verdicts.iter().filter(|((_, name), _)| *name == runtime.name);
        let (passed, failed): (Vec<_>, Vec<_>) = mine.partition(|(_, verdict)| verdict.failed.is_none());
        let milliseconds: u128 = passed.iter().chain(&failed).map(|(_, verdict)| verdict.milliseconds).sum();
        println!("{}: {} pass, {} fail, {milliseconds} ms", runtime.name, passed.len(), failed.len());
    }
    println!("{} trials in {seconds:.1} s", verdicts.len());
    if let Some(file) = &options.json {
        let report = report(&chosen, &options.runtimes, &verdicts);
        fs::write(file, serde_json::to_vec_pretty(&report)?).context("Cannot write the report")?;
    }
    if options.deaf { hears_nothing(&verdicts) } else { Ok(()) }
}

fn choose(only: &[String]) -> Result<Vec<&'static Case>> {
    let cases = cases::all();
    let mut seen = std::collections::BTreeSet::new();
    for case in &cases {
        ensure!(seen.insert(case.id), "There are two cases {}", case.id);
    }
    let asked = |case: &&Case| only.is_empty() || only.iter().any(|part| case.id.contains(part.as_str()));
    let chosen: Vec<&Case> = cases.into_iter().filter(asked).collect();
    ensure!(!chosen.is_empty(), "There is no such case");
    Ok(chosen)
}

fn try_case(case: &Case, runtime: &Runtime, options: &Options, index: usize) -> Verdict {
    let started = Instant::now();
    let mut changes = 0;
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let id = format!("{}-{index}", runtime.name);
        let mut trial = Trial::new(runtime, &id, &options.folder, options.deaf)?;
        if options.quick {
            trial.hurry();
        }
        let attempt = (case.attempt)(&mut trial);
        changes = trial.changes();
        attempt
    }));
    let failed = match attempt {
        Ok(attempt) => attempt.err().map(|error| format!("{error:#}")),
        Err(_) => Some("the case panicked".to_owned()),
    };
    Verdict { failed, changes, milliseconds: started.elapsed().as_millis() }
}

fn tell(case: &Case, runtime: &Runtime, verdict: &Verdict, deaf: bool) {
    if let (Some(why), false) = (&verdict.failed, deaf) {
        println!("FAIL {:8} {} ({}): {why}", runtime.name, case.id, case.level.name());
    }
}

fn report(cases: &[&Case], runtimes: &[Runtime], verdicts: &BTreeMap<(&str, &str), Verdict>) -> Value {
    let rows = cases.iter().map(|case| {
        let results = runtimes.iter().map(|runtime| {
            let verdict = verdicts.get(&(case.id, runtime.name.as_str()));
            let why = verdict.and_then(|verdict| verdict.failed.clone());
            let verdict = if why.is_none() { "pass" } else { "fail" };
            (runtime.name.clone(), json!({ "verdict": verdict, "why": why }))
        });
        let results: serde_json::Map<String, Value> = results.collect();
        json!({ "case": case.id, "clause": case.clause, "level": case.level.name(), "results": results })
    });
    let versions: serde_json::Map<String, Value> =
        runtimes.iter().map(|runtime| (runtime.name.clone(), json!(runtime.version()))).collect();
    json!({ "runtimes": versions, "cases": rows.collect::<Vec<_>>() })
}

/// Fails when a case that changes the configuration passes although no change arrives.
fn hears_nothing(verdicts: &BTreeMap<(&str, &str), Verdict>) -> Result<()> {
    let blind = verdicts
        .iter()
        .filter(|(_, verdict)| verdict.failed.is_none() && verdict.changes > 0)
        // What must not happen does not happen either when nothing evil is asked for.
        .filter(|((case, _), _)| !case.starts_with("safe."));
    let blind: Vec<&str> = blind.map(|((case, _), _)| *case).collect();
    ensure!(blind.is_empty(), "These pass although the runtime is told of no change: {}", blind.join(" "));
    Ok(())
}
