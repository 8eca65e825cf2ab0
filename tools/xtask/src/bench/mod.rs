//! `cargo xtask bench NAME`: figures from the lab's instruction clock, against other VMMs.
//!
//! A bench is a folder with two halves. The one outside packs what it needs ([`carry::Carried`]) and shows
//! what comes back; the one inside the lab starts VMMs ([`subject`], [`guest`], [`process`]) and counts
//! ([`counters`], [`histogram`], [`tally`], [`trace`], [`smaps`]).

mod api;
mod block;
mod boot;
mod carry;
mod container;
mod counters;
mod guest;
mod histogram;
mod image;
mod memory;
mod net;
mod outcome;
mod process;
mod smaps;
mod strace;
mod subject;
mod table;
mod tally;
mod trace;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

pub use carry::NoFigures;
pub use net::LoadArgs;

/// What is measured.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// From exec to the guest's first process, against QEMU microvm and other VMMs, with the same guest.
    Boot(boot::BootArgs),
    /// What a VMM takes beside its guest's memory, and many machines at once from one image.
    Memory(memory::MemoryArgs),
    /// Requests a second and system calls a request of the VMM's API.
    Api(api::ApiArgs),
    /// What a request of a drive costs, against QEMU microvm on the same file.
    Block(block::BlockArgs),
    /// TCP both ways and requests through a tap on a bridge, against QEMU microvm with and without vhost.
    Net(net::NetArgs),
    /// What it takes to run `/bin/true` in a container, against crun and runc.
    Container(container::ContainerArgs),
    /// What it takes to make a disk of an image of 20 layers, against what people put together for it.
    Image(image::ImageArgs),
}

/// What every bench takes.
#[derive(Debug, Args)]
struct Common {
    /// Another VMM that takes Firecracker's command line. May be repeated.
    #[arg(long, value_name = "NAME=PATH", value_parser = subject::peer)]
    peer: Vec<(String, PathBuf)>,
    /// How many processors the lab has. With more than one no clock counts instructions: only counts compare.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    smp: u8,
    /// A file for the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail when a figure misses what has to hold.
    #[arg(long)]
    gate: bool,
    /// After how many seconds all of it is ended.
    #[arg(long, value_name = "S", default_value_t = 900)]
    timeout: u64,
}

/// Names a bench to its half inside the lab.
#[derive(Debug, Args)]
pub struct InsideArgs {
    bench: Name,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    Boot,
    Memory,
    Api,
    Block,
    Net,
    Container,
    Image,
    /// One way to make that disk, in a process of its own.
    ImageWay,
}

/// Measures; 0 when everything could be and nothing is missed.
pub fn run(args: &BenchArgs) -> Result<u8> {
    match &args.bench {
        Bench::Boot(args) => boot::run(args),
        Bench::Memory(args) => memory::run(args),
        Bench::Api(args) => api::run(args),
        Bench::Block(args) => block::run(args),
        Bench::Net(args) => net::run(args),
        Bench::Container(args) => container::run(args),
        Bench::Image(args) => image::run(args),
    }
}

/// The half in a guest: a load.
pub fn load(args: &LoadArgs) -> Result<u8> {
    net::load(args)
}

/// The half inside the lab.
pub fn inside(args: &InsideArgs) -> Result<u8> {
    match args.bench {
        Name::Boot => boot::inside(),
        Name::Memory => memory::inside(),
        Name::Api => api::inside(),
        Name::Block => block::inside(),
        Name::Net => net::inside(),
        Name::Container => container::inside(),
        Name::Image => image::inside(),
        Name::ImageWay => image::inside_way(),
    }
}
