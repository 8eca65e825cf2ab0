//! `volumes`, `volume`

use clap::{Args, Subcommand};

use super::CliError;
use super::client::{Client, segment};
use super::output::{self, FormatArguments};
use crate::service::model::{CreateVolume, DiskFormat, List, Volume as VolumeResource, VolumeSource};

/// List volumes.
#[derive(Debug, Args)]
pub struct Volumes {
    #[command(flatten)]
    format: FormatArguments,
}

impl Volumes {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let volumes = client.get::<List<VolumeResource>>("/api/v1/volumes").await?.items;
        if self.format.is_json() {
            return output::json(&volumes);
        }
        let rows: Vec<Vec<String>> = volumes
            .iter()
            .map(|volume| {
                vec![
                    volume.metadata.name.clone(),
                    format!("{} MiB", volume.spec.size_mib),
                    volume.status.used_by.join(", "),
                ]
            })
            .collect();
        output::table(&["NAME", "SIZE", "USED BY"], &rows)
    }
}

/// Make, import and delete volumes.
#[derive(Debug, Args)]
pub struct Volume {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a volume.
    Create {
        /// Its size in MiB.
        #[arg(long, value_name = "MIB", default_value = "1024")]
        size: u32,
        /// Its name.
        name: String,
    },
    /// Make a volume of a disk with an ext4 file system.
    Import {
        /// Its name.
        name: String,
        /// The disk: a file, or https://... or http://...
        source: String,
        /// The disk's format. It is never guessed.
        #[arg(long, value_name = "raw|qcow2", value_parser = format)]
        format: DiskFormat,
        /// It is compressed as a whole, with gzip, xz or zstd.
        #[arg(long)]
        compressed: bool,
        /// The SHA-256 that it must have; an address needs one.
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
    },
    /// Delete volumes.
    Rm {
        /// Ids or names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

impl Volume {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        match self.action {
            Action::Create { size, name } => {
                let body = CreateVolume { name, size_mib: size, source: None };
                let volume: VolumeResource = client.post_body("/api/v1/volumes", &body).await?;
                output::line(&volume.metadata.name)
            }
            Action::Import { name, source, format, compressed, sha256 } => {
                let location = location(&source)?;
                let source = Some(VolumeSource { location, format, compressed, sha256 });
                // The size is the disk's; what is told here is not looked at.
                let body = CreateVolume { name, size_mib: 1024, source };
                let volume: VolumeResource = client.post_body("/api/v1/volumes", &body).await?;
                output::line(&volume.metadata.name)
            }
            Action::Rm { names } => {
                for name in &names {
                    client.delete(&format!("/api/v1/volumes/{}", segment(name))).await?;
                    output::line(name)?;
                }
                Ok(0)
            }
        }
    }
}

/// `raw`, `qcow2`
fn format(text: &str) -> Result<DiskFormat, String> {
    match text {
        "raw" => Ok(DiskFormat::Raw),
        "qcow2" => Ok(DiskFormat::Qcow2),
        _ => Err(format!("{text:?} is neither raw nor qcow2")),
    }
}

/// A path made absolute: the daemon's folder is another.
fn location(text: &str) -> Result<String, CliError> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(text).map_err(|error| CliError::Argument {
        what: "The disk",
        given: text.to_owned(),
        message: error.to_string(),
    })?;
    Ok(path.to_string_lossy().into_owned())
}
