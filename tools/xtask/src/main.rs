//! What people run: `cargo xtask lab | build | kernel | check | conformance | fuzz | bench`. One file (or folder) a task.

mod bench;
mod build;
mod check;
mod conformance;
mod cpio;
mod fuzz;
mod host;
mod kernel;
mod lab;
mod openapi;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Bulkhead's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run a command as root where `/dev/kvm` boots stock guests.
    Lab(lab::LabArgs),
    /// Build everything that people run into `target/bulkhead`.
    Build(build::BuildArgs),
    /// Build the small kernel, with everything that containers need and nothing else.
    Kernel(kernel::KernelArgs),
    /// Hold the rules of the house that a program can hold.
    Check,
    /// Describe the VMM's API in `vmm/openapi.yaml`, from the code.
    Openapi(openapi::OpenapiArgs),
    /// Try container runtimes by the clauses of the OCI runtime specification.
    Conformance(conformance::ConformanceArgs),
    /// Let libFuzzer look for bytes that break a promise.
    Fuzz(fuzz::FuzzArgs),
    /// Measure on the lab's instruction clock.
    Bench(bench::BenchArgs),
    /// The half of a bench inside the lab.
    #[command(hide = true)]
    BenchInside(bench::InsideArgs),
    /// The load of a bench, in a guest.
    #[command(hide = true)]
    BenchLoad(bench::LoadArgs),
    /// The first process of a lab machine.
    #[command(hide = true)]
    LabAgent,
    /// The inner half of a lab in place.
    #[command(hide = true)]
    LabPlace(lab::PlaceArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Lab(args) => lab::run(&args),
        Task::Build(args) => build::run(&args),
        Task::Kernel(args) => kernel::run(&args),
        Task::Check => check::run(),
        Task::Openapi(args) => openapi::run(&args),
        Task::Conformance(args) => conformance::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::BenchInside(args) => bench::inside(&args),
        Task::BenchLoad(args) => bench::load(&args),
        Task::LabAgent => lab::agent(),
        Task::LabPlace(args) => lab::place(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            let code = error.downcast_ref().map(|bench::NoFigures { code }| *code).filter(|code| *code != 0);
            code.map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}
