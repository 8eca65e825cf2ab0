//! `ps`, `inspect`

use clap::Args;

use super::CliError;
use super::client::{Client, segment};
use super::output::{self, FormatArguments};
use crate::service::model::{Image, List, Machine, Phase};

/// List machines.
#[derive(Debug, Args)]
pub struct Ps {
    /// Those that do not run too.
    #[arg(short, long)]
    all: bool,
    /// Ids only.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    format: FormatArguments,
}

impl Ps {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let mut machines = client.get::<List<Machine>>("/api/v1/machines").await?.items;
        machines.retain(|machine| self.all || machine.status.phase.is_live());
        if self.format.is_json() {
            return output::json(&machines);
        }
        if self.quiet {
            for machine in &machines {
                output::line(&machine.metadata.id)?;
            }
            return Ok(0);
        }
        let rows: Vec<Vec<String>> = machines.iter().map(row).collect();
        output::table(&["ID", "NAME", "IMAGE", "STATUS", "ADDRESS", "PORTS", "CREATED"], &rows)
    }
}

fn row(machine: &Machine) -> Vec<String> {
    let ports: Vec<String> = machine
        .spec
        .ports
        .iter()
        .map(|port| match port.host_ip {
            Some(ip) => format!("{ip}:{}->{}", port.host_port, port.guest_port),
            None => format!("{}->{}", port.host_port, port.guest_port),
        })
        .collect();
    vec![
        machine.metadata.id.clone(),
        machine.metadata.name.clone(),
        output::short(&machine.spec.image),
        status(machine),
        machine.status.address.map(|address| address.to_string()).unwrap_or_default(),
        ports.join(", "),
        machine.metadata.created_at.get(..19).unwrap_or_default().replace('T', " "),
    ]
}

fn status(machine: &Machine) -> String {
    match (machine.status.phase, &machine.status.exit) {
        (Phase::Created, _) => "created".to_owned(),
        (Phase::Creating, _) => "starting".to_owned(),
        (Phase::Running, _) => "running".to_owned(),
        (Phase::Paused, _) => "paused".to_owned(),
        (Phase::Stopped, Some(exit)) => format!("exited ({})", exit.code),
        (Phase::Stopped, None) => "exited".to_owned(),
        (Phase::Failed, _) => "failed".to_owned(),
    }
}

/// Print a machine or an image as JSON.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Inspect {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        for name in &self.names {
            let machine = client.get::<Machine>(&format!("/api/v1/machines/{}", segment(name))).await;
            match machine {
                Ok(machine) => output::json(&machine)?,
                Err(CliError::Refused { status: 404, .. }) => {
                    let image = client.get::<Image>(&format!("/api/v1/images/{}", segment(name))).await;
                    let image = image.map_err(|error| match error {
                        CliError::Refused { status: 404, .. } => CliError::Refused {
                            status: 404,
                            word: "not_found".to_owned(),
                            message: format!("There is no machine and no image {name}"),
                        },
                        other => other,
                    })?;
                    output::json(&image)?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(0)
    }
}
