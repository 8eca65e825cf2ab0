//! `cargo xtask lab`: a command as root where `/dev/kvm` boots stock guests.
//!
//! Where the host's own KVM does (VT-x or AMD-V), the command runs in place, in namespaces of its own.
//! Elsewhere QEMU emulates a machine with AMD SVM: a kernel and a root of Debian's, cached by content
//! ([`image`]), what was built as a tar on a second disk ([`parcel`]), and one virtio port between the
//! first process inside ([`agent`]) and this one ([`wire`]).

mod agent;
mod emulator;
mod image;
mod network;
mod parcel;
mod place;
mod wire;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

pub use agent::run as agent;
pub use parcel::{AGENT, OUT, PLACE};
pub use place::{PlaceArgs, inside as place};

/// The exit status that says the time was up, as `timeout` of coreutils has it.
const TIMED_OUT: u8 = 124;

/// What to run in the lab, and in which.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// One processor whose clock counts instructions: for measurements, not for speed.
    #[arg(long)]
    pub icount: bool,
    /// How many processors the lab has.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub smp: u8,
    /// The lab's memory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 6144, value_parser = clap::value_parser!(u32).range(512..))]
    pub memory: u32,
    /// After how many seconds the lab is ended (with status 124).
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// A file or folder that is carried to `/bulkhead` beside what was built. May be repeated.
    #[arg(long, value_name = "PATH")]
    pub carry: Vec<PathBuf>,
    /// A folder to which the lab's `/out` is copied when the command has ended.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// A package of Debian's that the lab's root has beside its own: another root, built and kept apart. May be
    /// repeated.
    #[arg(long, value_name = "PACKAGE")]
    pub with: Vec<String>,
    /// Give a prompt on this terminal.
    #[arg(long, conflicts_with_all = ["icount"])]
    pub shell: bool,
    /// Run in place even where a lab seems needed, to try this path.
    #[arg(long, hide = true)]
    pub in_place: bool,
    /// Say where time goes.
    #[arg(long, short)]
    pub verbose: bool,
    /// The command and its arguments; they arrive exactly as they are given.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Runs the command and gives its exit status.
pub fn run(args: &LabArgs) -> Result<u8> {
    if args.command.is_empty() && !args.shell {
        bail!("Name a command after `--`, or ask for `--shell`");
    }
    let clock = Clock { start: Instant::now(), shown: args.verbose };
    if args.in_place || (!args.icount && place::boots_guests()) {
        eprintln!(
            "lab: in place, in fresh mount, network and process namespaces: this host's KVM boots guests"
        );
        return place::run(args);
    }
    eprintln!(
        "lab: in an emulated machine with AMD SVM (QEMU, TCG{})",
        if args.icount { ", instruction clock" } else { "" }
    );
    emulator::run(args, clock)
}

/// Says on standard error where time goes, when asked to.
#[derive(Debug, Clone, Copy)]
struct Clock {
    start: Instant,
    shown: bool,
}

impl Clock {
    fn mark(&self, what: &str) {
        if self.shown {
            eprintln!("lab: {:8.3} s  {what}", self.start.elapsed().as_secs_f64());
        }
    }
}
