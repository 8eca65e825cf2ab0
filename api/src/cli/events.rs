//! `events`

use clap::Args;

use super::CliError;
use super::client::{Client, Lines};
use super::output;
use crate::routes::WatchEvent;
use crate::service::model::{Event, List};

/// Print what happens to machines, images and volumes.
#[derive(Debug, Args)]
pub struct Events {
    /// What happened up to now only.
    #[arg(long)]
    no_follow: bool,
    /// Print JSON, one event a line.
    #[arg(long)]
    json: bool,
}

impl Events {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let list = client.get::<List<Event>>("/api/v1/events").await?;
        for event in &list.items {
            self.print(event)?;
        }
        if self.no_follow {
            return Ok(0);
        }
        let since = list.metadata.resource_version;
        let path = format!("/api/v1/events?watch=true&resource_version={since}");
        let mut lines = Lines::new(client.stream(&path).await?);
        while let Some(event) = lines.next_line::<WatchEvent<Event>>().await? {
            self.print(&event.object)?;
        }
        Ok(0)
    }

    fn print(&self, event: &Event) -> Result<u8, CliError> {
        if self.json {
            return output::line(&serde_json::to_string(event).map_err(CliError::json)?);
        }
        let spec = &event.spec;
        let message = spec.message.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
        let id = output::short(&spec.id);
        output::line(&format!(
            "{} {} {id} {} {}{message}",
            event.metadata.created_at, spec.kind, spec.name, spec.action
        ))
    }
}
