//! `cargo xtask fuzz`: libFuzzer on the targets of `tests/fuzz`, on stable Rust.
//!
//! libFuzzer needs to see which edges the program takes. rustc has a flag for that which is not stable
//! (`-Zsanitizer`); LLVM's pass behind it is reached by stable ones, which is what `cargo fuzz --sanitizer none` does,
//! too. Without a sanitizer what is found is panics, overflows and assertions: all that safe Rust can do wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::{host, workspace};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// What `cargo fuzz` asks of LLVM; and arithmetic that overflows ends the process.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";
/// The longest input that is tried, in bytes.
const LONGEST: u32 = 16 << 10;

/// What is tried, and for how long.
#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// The target; all of them, one after the other, when none is named.
    target: Option<String>,
    /// How long each is tried.
    #[arg(long, value_name = "S", default_value_t = 60)]
    seconds: u32,
    /// Try this input alone, as one that was found.
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
}

/// Fuzzes; 0 when nothing was found.
pub fn run(args: &FuzzArgs) -> Result<u8> {
    let seeds = workspace::root()?.join("tests/fuzz/seeds");
    let names = names(&seeds)?;
    let chosen = match &args.target {
        Some(name) if names.contains(name) => vec![name.clone()],
        Some(name) => bail!("There is no target {name:?}; there are {}", names.join(", ")),
        None => names,
    };
    let program = build()?;
    let mut found = 0;
    for name in chosen {
        let folder = workspace::target_dir()?.join("fuzz").join(&name);
        let corpus = folder.join("corpus");
        fs::create_dir_all(&corpus).with_context(|| format!("Cannot make {}", corpus.display()))?;
        let mut command = Command::new(&program);
        command.env("BULKHEAD_FUZZ_TARGET", &name);
        match &args.input {
            Some(input) => command.arg(input),
            None => command
                .arg(format!("-max_total_time={}", args.seconds))
                .arg(format!("-max_len={LONGEST}"))
                .arg(format!("-artifact_prefix={}/", folder.display()))
                .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"])
                .arg(&corpus)
                .arg(seeds.join(&name)),
        };
        println!("fuzz: {name}");
        let status = command.status().with_context(|| format!("Cannot run {}", program.display()))?;
        if !status.success() {
            found += 1;
            println!("fuzz: {name}: {status}; what was found is in {}", folder.display());
        }
    }
    Ok(u8::from(found > 0))
}

/// The targets: each has seeds.
fn names(seeds: &Path) -> Result<Vec<String>> {
    let folder = fs::read_dir(seeds).with_context(|| format!("Cannot read {}", seeds.display()))?;
    let names = folder.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Builds the fuzzer, apart from everything else, since its code is another.
fn build() -> Result<PathBuf> {
    host::ensure(&[host::CXX])?;
    let target = workspace::target_dir()?.join("fuzz");
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--package", "bulkhead-fuzz", "--features", "libfuzzer"])
        .args(["--target", TRIPLE, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", FLAGS)
        .current_dir(workspace::root()?)
        .status()
        .context("Cannot run cargo")?;
    ensure!(built.success(), "The fuzzer does not build: {built}");
    Ok(target.join(TRIPLE).join("release/bulkhead-fuzz"))
}
