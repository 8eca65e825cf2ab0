//! `bulkhead-image convert` and `bulkhead-image import`: disks of other machines.

use std::path::PathBuf;

use bulkhead_image::command_line::Bars;
use bulkhead_image::disk_image::{self, DiskFormat, DiskSource, DiskSpec};
use bulkhead_image::limits::Limits;
use bulkhead_image::store::Store;
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
    /// Where what has come waits if this is interrupted [default: the store that images are pulled into]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl Convert {
    pub fn execute(self, json: bool) -> Outcome {
        let spec = DiskSpec {
            source: DiskSource::File(self.source),
            source_format: self.from.source_format.into(),
            compressed: self.from.compressed,
            sha256: self.sha256,
            format: self.format.into(),
            output: self.output,
            store: None,
        };
        make(&spec, json)
    }
}

impl Import {
    pub fn execute(self, json: bool) -> Outcome {
        let spec = DiskSpec {
            source: DiskSource::parse(&self.source),
            source_format: self.from.source_format.into(),
            compressed: self.from.compressed,
            sha256: Some(self.sha256),
            format: DiskFormat::Raw,
            output: self.output,
            // Who has no place for a store imports nevertheless.
            store: self.store.or_else(|| Store::default_path().ok()),
        };
        make(&spec, json)
    }
}

fn make(spec: &DiskSpec, json: bool) -> Outcome {
    let made = disk_image::convert(spec, &Limits::default(), &Bars::default())?;
    match json {
        true => output::print(&format!("{}\n", json!({"size": made.size, "data": made.data}))),
        false => output::print(&format!("A disk of {} bytes, {} of them data\n", made.size, made.data)),
    }
}
