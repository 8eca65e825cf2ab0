//! `start`, `stop`, `kill`, `pause`, `unpause`, `rm`, `wait`: what is done to machines that there are.

use std::future::Future;

use clap::Args;

use super::CliError;
use super::client::{Client, segment};
use super::output;
use crate::service::model::{KillMachine, Machine, Phase, StopMachine};

/// Does something to each machine; says what failed and goes on with the next.
pub async fn each<F: Future<Output = Result<String, CliError>>>(
    names: &[String],
    action: impl Fn(String) -> F,
) -> Result<u8, CliError> {
    let mut failed = false;
    for name in names {
        match action(name.clone()).await {
            Ok(text) => {
                output::line(&text)?;
            }
            // Without a daemon the next machine fares no better.
            Err(error @ CliError::Unreachable { .. }) => return Err(error),
            Err(error) => {
                error.tell();
                failed = true;
            }
        }
    }
    Ok(u8::from(failed))
}

fn path(name: &str, action: &str) -> String {
    format!("/api/v1/machines/{}{action}", segment(name))
}

/// Waits until a machine has ended, however long it takes.
pub async fn wait_until(client: &Client, name: &str, until: &str) -> Result<Machine, CliError> {
    let done = |phase: Phase| match until {
        "started" => !matches!(phase, Phase::Created | Phase::Creating),
        _ => matches!(phase, Phase::Stopped | Phase::Failed),
    };
    loop {
        let machine: Machine =
            client.post(&path(name, &format!("/wait?until={until}&timeout_s=3600"))).await?;
        if done(machine.status.phase) {
            return Ok(machine);
        }
    }
}

/// A start's end in a sentence, if it is a bad one.
pub fn start_failure(machine: &Machine) -> Option<CliError> {
    (machine.status.phase == Phase::Failed).then(|| {
        let message = machine.status.message.as_deref().unwrap_or("The machine did not start");
        CliError::Run {
            message: message.to_owned(),
            console: machine.status.console.clone(),
            code: machine.status.exit.as_ref().map_or(125, |exit| exit.code.max(1)),
        }
    })
}

/// Start machines.
#[derive(Debug, Args)]
pub struct Start {
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Start {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        each(&self.names, async |name| {
            let machine: Machine = client.post(&path(&name, "/start")).await?;
            let machine = wait_until(client, &machine.metadata.id, "started").await?;
            start_failure(&machine).map_or(Ok(name), Err)
        })
        .await
    }
}

/// Stop machines.
#[derive(Debug, Args)]
pub struct Stop {
    /// How long to wait before they are killed, in seconds.
    #[arg(short, long, value_name = "SECONDS")]
    time: Option<u32>,
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Stop {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        each(&self.names, async |name| {
            let body = StopMachine { timeout_s: self.time };
            let _: Machine = client.post_body(&path(&name, "/stop"), &body).await?;
            Ok(name)
        })
        .await
    }
}

/// Send a signal to machines.
#[derive(Debug, Args)]
pub struct Kill {
    /// A name or a number.
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Kill {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let signal =
            crate::service::machines::signal_number(&self.signal).ok_or_else(|| CliError::Argument {
                what: "The signal",
                given: self.signal.clone(),
                message: "it is no signal's name or number".to_owned(),
            })?;
        each(&self.names, async |name| {
            let _: Machine = client.post_body(&path(&name, "/kill"), &KillMachine { signal }).await?;
            Ok(name)
        })
        .await
    }
}

/// Hold machines: their processors stop, their memory stays.
#[derive(Debug, Args)]
pub struct Pause {
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Pause {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        post_each(client, &self.names, "/pause").await
    }
}

/// Let machines that are paused go on.
#[derive(Debug, Args)]
pub struct Unpause {
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Unpause {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        post_each(client, &self.names, "/unpause").await
    }
}

async fn post_each(client: &Client, names: &[String], action: &str) -> Result<u8, CliError> {
    each(names, async |name| {
        let _: Machine = client.post(&path(&name, action)).await?;
        Ok(name)
    })
    .await
}

/// Delete machines.
#[derive(Debug, Args)]
pub struct Rm {
    /// Kill those that run.
    #[arg(short, long)]
    force: bool,
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Rm {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        each(&self.names, async |name| {
            client.delete(&path(&name, &format!("?force={}", self.force))).await?;
            Ok(name)
        })
        .await
    }
}

/// Wait until machines have ended and print their exit statuses.
#[derive(Debug, Args)]
pub struct Wait {
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Wait {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        each(&self.names, async |name| {
            let machine = wait_until(client, &name, "stopped").await?;
            Ok(machine.status.exit.map_or(125, |exit| exit.code).to_string())
        })
        .await
    }
}
