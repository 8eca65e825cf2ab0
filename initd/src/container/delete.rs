//! Removing what is left of a container.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::agent::{ContainerState, SignalRequest};

use super::{Container, ContainerError, Containers};
use crate::isolation::cgroup::{Cgroup, CgroupError};

/// SIGTERM.
const TERMINATE: i32 = 15;
/// How long the kernel may take to let go of a cgroup whose processes are dead.
const PATIENCE: Duration = Duration::from_secs(2);

impl Containers {
    /// Removes a container that does not run. One that was never started is ended first.
    pub async fn delete(&self, id: &str) -> Result<(), ContainerError> {
        let container = self.find(id)?;
        let state = container.status.borrow().state;
        match state {
            ContainerState::Running => return Err(container.state_error("deleted")),
            ContainerState::Created => self.discard(&container).await?,
            ContainerState::Stopped => {}
        }
        remove(&container.cgroup)
            .await
            .map_err(|source| ContainerError::Cgroup { id: id.to_owned(), source })?;
        self.table().remove(id);
        Ok(())
    }

    /// Asks every container to end (SIGTERM) and waits at most `grace` for that; those that have not ended then
    /// are killed. Returns when all have ended.
    pub async fn end_in_order(&self, grace: Duration) {
        let running: Vec<_> = self.running();
        for container in &running {
            // One that has just ended is no failure.
            let _ = container.signal(&SignalRequest { signal: TERMINATE, all: false });
        }
        let all = async {
            for container in &running {
                container.wait().await;
            }
        };
        let _ = tokio::time::timeout(grace, all).await;
        self.stop_all().await;
    }

    fn running(&self) -> Vec<Arc<Container>> {
        let table = self.table();
        let containers = table.values().flatten();
        containers
            .filter(|container| container.status.borrow().state == ContainerState::Running)
            .cloned()
            .collect()
    }

    /// Ends every container, for the end of the machine, and returns when all have ended.
    pub async fn stop_all(&self) {
        let containers: Vec<Arc<Container>> = self.table().values().flatten().cloned().collect();
        for container in &containers {
            if container.status.borrow().state != ContainerState::Stopped {
                let _ = container.cgroup.kill();
            }
        }
        for container in &containers {
            container.wait().await;
        }
    }

    async fn discard(&self, container: &Container) -> Result<(), ContainerError> {
        // Whoever holds the control starts it; without it, it can no longer be started.
        if container.take_control().is_none() {
            return Err(container.state_error("deleted"));
        }
        let killed = container.cgroup.kill();
        killed.map_err(|source| ContainerError::Cgroup { id: container.id.clone(), source })?;
        container.wait().await;
        Ok(())
    }
}

/// Removes a cgroup whose processes have ended; the kernel counts them for a moment more.
pub async fn remove(cgroup: &Cgroup) -> Result<(), CgroupError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match cgroup.remove() {
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            Ok(()) => return Ok(()),
        }
    }
}
