//! The commands, one a file. Each prints sentences for people, or with `--json` one document for programs.

mod build;
mod disk;
mod inspect;
mod kernel;
mod output;
mod pull;
mod push;
mod registry;
mod sbom;
mod store;

use std::error::Error;

use bulkhead_image::command_line;
use clap::{CommandFactory, Parser, Subcommand};

/// What a command may end with: any error with its chain of causes, told once by `main`.
pub type Outcome = Result<(), Box<dyn Error>>;

/// The words of the command line.
#[derive(Debug, Parser)]
#[command(name = "bulkhead-image", version, about = "Container images in; bootable, verified disks out")]
pub struct Arguments {
    /// Print one JSON document in place of sentences
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a container root, or with --appliance a whole disk that boots by itself
    Build(Box<build::Build>),
    /// Fetch an image from a registry into the store
    Pull(Box<pull::Pull>),
    /// Send an image, or a built one as an artifact, to a registry
    Push(Box<push::Push>),
    /// List the images of the store
    Ls(store::List),
    /// Forget an image of the store, and remove what no other one has
    Rm(store::Remove),
    /// Remove what no image of the store has, and what interrupted pulls left
    Gc(store::Collect),
    /// Print what a built image, or one of layers, says of itself
    Inspect(Box<inspect::Inspect>),
    /// Say of what packages an image or a source consists, in SPDX's or CycloneDX's words
    Sbom(sbom::Sbom),
    /// Make a raw disk or a qcow2 of another
    Convert(disk::Convert),
    /// Fetch a disk, hold it against its digest and make a raw disk of it
    Import(disk::Import),
    /// Take Debian's kernel package apart into vmlinux, initramfs and kernel.json, or make them of a kernel without
    /// modules
    Kernel(kernel::Kernel),
    /// Print a completion script for a shell
    Completion(command_line::Completion),
    /// Write manual pages into a folder that is there
    #[command(hide = true)]
    Man(command_line::Man),
}

/// Runs a command to its end.
pub fn execute(arguments: Arguments) -> Outcome {
    let json = arguments.json;
    match arguments.command {
        Command::Build(command) => command.execute(json),
        Command::Pull(command) => command.execute(json),
        Command::Push(command) => command.execute(json),
        Command::Ls(command) => command.execute(json),
        Command::Rm(command) => command.execute(json),
        Command::Gc(command) => command.execute(json),
        Command::Inspect(command) => command.execute(json),
        Command::Sbom(command) => command.execute(),
        Command::Convert(command) => command.execute(json),
        Command::Import(command) => command.execute(json),
        Command::Kernel(command) => command.execute(json),
        Command::Completion(command) => Ok(command.execute(Arguments::command())?),
        Command::Man(command) => Ok(command.execute(Arguments::command())?),
    }
}
