//! `bulkhead-image convert` and `bulkhead-image import`: disks of other machines.

use std::path::PathBuf;

use bulkhead_image::disk_image::{self, DiskFormat, DiskSource, DiskSpec};
use bulkhead_image::limits::Limits;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Outcome, output};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// The disk's bytes
    Raw,
    /// QEMU's format
    Qcow2,
}

impl From<Format> for DiskFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Raw => Self::Raw,
            Format::Qcow2 => Self::Qcow2,
        }
    }
}

/// What is known of the disk that comes. It is never guessed: its guest wrote it.
#[derive(Debug, Args)]
struct SourceKind {
    /// The disk's format
    #[arg(long, value_enum, value_name = "FORMAT")]
    source_format: Format,
    /// It is compressed as a whole, with gzip, xz or zstd
    #[arg(long)]
    compressed: bool,
}

#[derive(Debug, Args)]
pub struct Convert {
    /// The disk
    source: PathBuf,
    /// The file to write
    output: PathBuf,
    #[command(flatten)]
    from: SourceKind,
    /// The format to write
    #[arg(long, value_enum)]
    format: Format,
    /// The SHA-256 that the disk must have
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

#[derive(Debug, Args)]
pub struct Import {
    /// The disk: a file, https://... or http://...
    source: String,
    /// The raw disk to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    from: SourceKind,
    /// The SHA-256 that the disk must have
    #[arg(long, value_name = "HEX")]
    sha256: String,
}

impl Convert {
    pub fn execute(self, json: bool) -> Outcome {
        make(DiskSource::File(self.source), &self.from, self.sha256, self.format, self.output, json)
    }
}

impl Import {
    pub fn execute(self, json: bool) -> Outcome {
        let source = DiskSource::parse(&self.source);
        make(source, &self.from, Some(self.sha256), Format::Raw, self.output, json)
    }
}

fn make(
    source: DiskSource,
    from: &SourceKind,
    sha256: Option<String>,
    format: Format,
    output: PathBuf,
    json: bool,
) -> Outcome {
    let (source_format, compressed) = (from.source_format.into(), from.compressed);
    let spec = DiskSpec { source, source_format, compressed, sha256, format: format.into(), output };
    let made = disk_image::convert(&spec, &Limits::default())?;
    match json {
        true => output::print(&format!("{}\n", json!({"size": made.size, "data": made.data}))),
        false => output::print(&format!("A disk of {} bytes, {} of them data\n", made.size, made.data)),
    }
}
