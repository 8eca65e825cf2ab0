//! `bulkhead-image build`: from a source to an image.

use std::path::PathBuf;
use std::sync::Arc;

use bulkhead_image::command_line::Bars;
use bulkhead_image::disk::RootFormat;
use bulkhead_image::limits::Limits;
use bulkhead_image::sbom::SbomSpec;
use bulkhead_image::{ApplianceOptions, BuildOptions, RuntimeOptions, Source};
use clap::{Args, ValueEnum};

use super::registry::RegistryFlags;
use super::sbom::{Format as SbomFormat, tell_unread};
use super::{Outcome, output};

/// The file system of a root.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Format {
    /// Uncompressed: built and read faster
    #[default]
    Erofs,
    /// Compressed with zstd by tar2sqfs (Debian's squashfs-tools-ng), where size counts
    Squashfs,
}

#[derive(Debug, Args)]
pub struct Build {
    /// docker://REF of a registry, store:REF that was pulled, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF], dir:DIR or tar:FILE, with - for a FILE that
    /// comes from standard input; busybox, root:busybox:FILE, or debian:SUITE[?include=A,B][&variant=minbase][&mirror=URL]
    source: String,
    /// The image to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The root's file system
    #[arg(long, value_enum, default_value_t)]
    format: Format,
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
    /// Write beside it of what packages the image consists
    #[arg(long, value_name = "FILE")]
    sbom: Option<PathBuf>,
    /// In what words
    #[arg(long, value_enum, default_value_t, requires = "sbom")]
    sbom_format: SbomFormat,
    /// The file system's time of making, in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0, value_name = "SECONDS")]
    build_time: u64,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Build {
    pub fn execute(self, json: bool) -> Outcome {
        let source: Source = Source::parse_local(&self.source)?;
        let (file, time) = (self.output.clone(), self.build_time);
        let sbom = self.sbom.clone().map(|path| SbomSpec { path, format: self.sbom_format.into() });
        if let Source::Registry(reference) = &source {
            self.registry.pull(reference)?;
        }
        let manifest = match sbom {
            Some(spec) => {
                let (manifest, inventory) =
                    bulkhead_image::build_with_inventory(&source, &file, &self.options())?;
                inventory.write(&spec, time)?;
                tell_unread(&inventory);
                manifest
            }
            None => bulkhead_image::build(&source, &file, &self.options())?,
        };
        output::manifest(&manifest, json)
    }

    fn options(self) -> BuildOptions {
        let runtime = RuntimeOptions {
            entrypoint: self.entrypoint.map(|program| vec![program]),
            command: Some(self.command),
            env: self.env,
            hostname: self.hostname,
            memory: self.memory.map(|mebibytes| mebibytes.saturating_mul(1 << 20)),
            pids: self.pids,
            ..RuntimeOptions::default()
        };
        let appliance = self.kernel.zip(self.initramfs).filter(|_| self.appliance);
        let appliance = appliance.map(|(kernel, initramfs)| ApplianceOptions {
            kernel,
            initramfs,
            boot_args: self.boot_args,
            runtime,
        });
        BuildOptions {
            build_time: self.build_time,
            format: match self.format {
                Format::Erofs => RootFormat::Erofs,
                Format::Squashfs => RootFormat::Squashfs,
            },
            limits: Limits::default(),
            appliance,
            store: self.registry.store,
            progress: Some(Arc::new(Bars::default())),
            ..BuildOptions::default()
        }
    }
}
