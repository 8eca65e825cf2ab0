//! `bulkhead-image`: builds and inspects images and takes kernel packages apart.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use bulkhead_image::kernel::{self, KernelSpec};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bulkhead-image", version, about = "Container images in; bootable, verified disks out")]
struct Arguments {
    /// Print one JSON document instead of sentences
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take Debian's kernel package apart into vmlinux, initramfs and kernel.json
    Kernel {
        /// The package, linux-image-….deb
        #[arg(long, value_name = "FILE")]
        deb: PathBuf,
        /// The static bulkhead-initd that becomes /init
        #[arg(long, value_name = "FILE")]
        initd: PathBuf,
        /// The folder that the results are written to
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
        /// A further kernel module, with what it needs (virtio_balloon, dm_verity, ...)
        #[arg(long = "module", value_name = "NAME")]
        modules: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bulkhead-image: {}", sentence(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    match arguments.command {
        Command::Kernel { deb, initd, output, modules } => {
            let record = kernel::take_apart(&KernelSpec { deb, initd, output, extra_modules: modules })?;
            if arguments.json {
                println!("{}", serde_json::to_string(&record)?);
            } else {
                let names: Vec<_> = record.modules.iter().map(|module| module.name.as_str()).collect();
                println!("Linux {} with the modules {}", record.version, names.join(" "));
            }
        }
    }
    Ok(())
}

/// The error with its whole chain of causes, in one sentence.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
