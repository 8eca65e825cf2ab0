//! The conformance suite: one case a clause of the OCI runtime specification 1.2, on any runtime with runc's command
//! line.
//!
//! ```text
//! runtime-suite --runtime NAME=PATH… [--only PART] [--jobs N] [--folder DIR] [--json FILE] [--list] [--deaf|--quick]
//! ```
//!
//! It runs as root on cgroup v2 (`cargo xtask lab`). With `--deaf` no case's change of the configuration reaches the
//! runtime: each case that passes nevertheless is one that does not look, and is told. With `--quick` what has to be
//! refused is not shown to be accepted without its fault.

mod bundle;
mod case;
mod cases;
mod cleanup;
mod process;
mod runner;
mod runtime;
mod terminal;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use runtime::Runtime;

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    runtimes: Vec<Runtime>,
    only: Vec<String>,
    jobs: usize,
    folder: PathBuf,
    json: Option<PathBuf>,
    list: bool,
    deaf: bool,
    quick: bool,
}

fn main() -> ExitCode {
    let done = options(std::env::args().skip(1)).and_then(|options| {
        if options.list {
            runner::list();
            return Ok(());
        }
        runner::run(&options)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("runtime-suite: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        runtimes: Vec::new(),
        only: Vec::new(),
        jobs: 2,
        folder: PathBuf::from("/tmp/conformance"),
        json: None,
        list: false,
        deaf: false,
        quick: false,
    };
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{option} wants a value"));
        match option.as_str() {
            "--runtime" => options.runtimes.push(Runtime::parse(&value()?)?),
            "--only" => options.only.push(value()?),
            "--jobs" => options.jobs = value()?.parse().context("--jobs is a number")?,
            "--folder" => options.folder = PathBuf::from(value()?),
            "--json" => options.json = Some(PathBuf::from(value()?)),
            "--list" => options.list = true,
            "--deaf" => options.deaf = true,
            "--quick" => options.quick = true,
            _ => bail!("There is no option {option}"),
        }
    }
    Ok(options)
}
