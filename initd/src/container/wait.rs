//! Waiting for a container's end.

use bulkhead_protocol::agent::ExitStatus;

use super::Container;

impl Container {
    /// Returns how the container ended, when it has.
    pub async fn wait(&self) -> Option<ExitStatus> {
        let mut status = self.status.subscribe();
        status.wait_for(|status| status.exit.is_some()).await.ok()?.exit
    }
}
