//! `volumes`, `volume`

use clap::{Args, Subcommand};

use super::CliError;
use super::client::{Client, segment};
use super::output::{self, FormatArguments};
use crate::service::model::{CreateVolume, List, Volume as VolumeResource};

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

/// Make and delete volumes.
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
                let body = CreateVolume { name, size_mib: size };
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
