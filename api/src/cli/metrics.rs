//! `metrics`

use std::io::stdout;

use clap::Args;

use super::CliError;
use super::client::Client;
use super::output;

/// Print figures in Prometheus's text format.
#[derive(Debug, Args)]
pub struct Metrics {}

impl Metrics {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let mut pieces = client.stream("/metrics").await?;
        while let Some(piece) = pieces.next_piece().await? {
            output::bytes(&mut stdout(), &piece)?;
        }
        Ok(0)
    }
}
