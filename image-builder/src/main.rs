//! `bulkhead-image`: builds and inspects images and takes kernel packages apart.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use bulkhead_image::kernel::{self, KernelSource, KernelSpec};
use bulkhead_image::limits::Limits;
use bulkhead_image::{ApplianceOptions, BuildOptions, RuntimeOptions, Source};
use bulkhead_protocol::image::Manifest;
use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bulkhead-image", version, about = "Container images in; bootable, verified disks out")]
struct Arguments {
    /// Print one JSON document in place of sentences
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a container root, or with --appliance a whole disk that boots by itself
    Build(Box<BuildArguments>),
    /// Print the manifest of a built image
    Inspect {
        /// The image
        file: PathBuf,
        /// Hold every part against its digest too
        #[arg(long)]
        verify: bool,
    },
    /// Take Debian's kernel package apart into vmlinux, initramfs and kernel.json, or make them of a kernel without
    /// modules
    Kernel {
        /// The package, linux-image-….deb
        #[arg(long, value_name = "FILE", required_unless_present = "vmlinux")]
        deb: Option<PathBuf>,
        /// An uncompressed kernel that has everything built in, instead of a package
        #[arg(long, value_name = "FILE", conflicts_with_all = ["deb", "modules"])]
        vmlinux: Option<PathBuf>,
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

#[derive(Debug, Args)]
struct BuildArguments {
    /// oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF], dir:DIR or tar:FILE
    source: String,
    /// The image to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Make a whole disk with its own kernel
    #[arg(long, requires = "kernel", requires = "initramfs")]
    appliance: bool,
    /// The appliance's kernel, as `bulkhead-image kernel` writes it
    #[arg(long, value_name = "FILE", requires = "appliance")]
    kernel: Option<PathBuf>,
    /// The appliance's initramfs, as `bulkhead-image kernel` writes it
    #[arg(long, value_name = "FILE", requires = "appliance")]
    initramfs: Option<PathBuf>,
    /// The appliance's kernel command line
    #[arg(long, value_name = "WORDS", requires = "appliance")]
    boot_args: Option<String>,
    /// In place of the image's entry point
    #[arg(long, value_name = "PROGRAM", requires = "appliance")]
    entrypoint: Option<String>,
    /// Set a variable in the container's environment
    #[arg(long, short, value_name = "NAME=VALUE", requires = "appliance")]
    env: Vec<String>,
    /// The container's host name
    #[arg(long, value_name = "NAME", requires = "appliance")]
    hostname: Option<String>,
    /// Limit the container's memory, in MiB
    #[arg(long, value_name = "MIB", requires = "appliance")]
    memory: Option<u64>,
    /// Limit the container's processes
    #[arg(long, value_name = "N", requires = "appliance")]
    pids: Option<u32>,
    /// What to run, in place of the image's command
    #[arg(last = true, requires = "appliance")]
    command: Vec<String>,
    /// The file system's time of making, in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0, value_name = "SECONDS")]
    build_time: u64,
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
    let json = arguments.json;
    match arguments.command {
        Command::Build(arguments) => {
            let source: Source = arguments.source.parse()?;
            let output = arguments.output.clone();
            let manifest = bulkhead_image::build(&source, &output, &build_options(*arguments))?;
            print_manifest(&manifest, json)
        }
        Command::Inspect { file, verify } => {
            let manifest = bulkhead_image::read_manifest(&file)?;
            if verify {
                bulkhead_image::verify(&file, &manifest)?;
            }
            print_manifest(&manifest, json)
        }
        Command::Kernel { deb, vmlinux, initd, output, modules } => {
            let source = deb.map(KernelSource::Package).or(vmlinux.map(KernelSource::Vmlinux));
            let source = source.ok_or("Name a package or a kernel")?;
            let record = kernel::take_apart(&KernelSpec { source, initd, output, extra_modules: modules })?;
            if json {
                return print(&(serde_json::to_string(&record)? + "\n"));
            }
            if record.modules.is_empty() {
                return print(&format!("Linux {} without modules\n", record.version));
            }
            let names: Vec<_> = record.modules.iter().map(|module| module.name.as_str()).collect();
            print(&format!("Linux {} with the modules {}\n", record.version, names.join(" ")))
        }
    }
}

fn build_options(arguments: BuildArguments) -> BuildOptions {
    let runtime = RuntimeOptions {
        entrypoint: arguments.entrypoint.map(|program| vec![program]),
        command: Some(arguments.command),
        env: arguments.env,
        hostname: arguments.hostname,
        memory: arguments.memory.map(|mebibytes| mebibytes.saturating_mul(1 << 20)),
        pids: arguments.pids,
        ..RuntimeOptions::default()
    };
    let appliance = arguments.kernel.zip(arguments.initramfs).filter(|_| arguments.appliance);
    let appliance = appliance.map(|(kernel, initramfs)| ApplianceOptions {
        kernel,
        initramfs,
        boot_args: arguments.boot_args,
        runtime,
    });
    BuildOptions { build_time: arguments.build_time, limits: Limits::default(), appliance }
}

fn print_manifest(manifest: &Manifest, json: bool) -> Result<(), Box<dyn Error>> {
    let text = if json { serde_json::to_string(manifest)? + "\n" } else { describe(manifest)? };
    print(&text)
}

/// Prints; whoever stopped reading has seen enough.
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A manifest for people.
fn describe(manifest: &Manifest) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    let config = &manifest.config;
    let kind = serde_json::to_value(manifest.kind)?;
    let words = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
    writeln!(out, "{:<13} {:?}", "name", manifest.name)?;
    writeln!(out, "{:<13} {}", "kind", kind.as_str().unwrap_or_default())?;
    writeln!(out, "{:<13} {}", "architecture", manifest.architecture)?;
    // Words of an image are quoted: they may hold anything, control characters included.
    for (name, text) in [
        ("entrypoint", words(&config.entrypoint)),
        ("cmd", words(&config.cmd)),
        ("env", words(&config.env)),
        ("working dir", words(std::slice::from_ref(&config.working_dir))),
        ("user", words(std::slice::from_ref(&config.user))),
        ("ports", words(&config.exposed_ports)),
        ("volumes", words(&config.volumes)),
        ("stop signal", words(std::slice::from_ref(&config.stop_signal))),
    ] {
        if !matches!(text.as_str(), "" | "\"\"") {
            writeln!(out, "{name:<13} {text}")?;
        }
    }
    for (name, value) in &config.labels {
        writeln!(out, "{:<13} {name:?} {value:?}", "label")?;
    }
    if let Some(boot_args) = &manifest.boot_args {
        writeln!(out, "{:<13} {boot_args:?}", "boot args")?;
    }
    for (name, part) in &manifest.parts {
        writeln!(
            out,
            "{:<13} {name}: {} bytes at {}, sha256 {}",
            "part", part.size, part.offset, part.sha256
        )?;
    }
    Ok(out)
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
