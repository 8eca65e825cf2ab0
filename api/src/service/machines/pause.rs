//! Holding a machine, and letting it go on.

use std::sync::Arc;

use super::super::to_its_end;
use super::live::Live;
use crate::service::Service;
use crate::service::error::{ServiceError, chain};
use crate::service::model::{Machine, Phase};

impl Service {
    /// Holds a machine's processors: it costs no CPU time, keeps its memory, and goes on where it was.
    pub async fn pause_machine(self: &Arc<Self>, name: &str) -> Result<Machine, ServiceError> {
        self.hold(name, true).await
    }

    /// Lets a machine that is paused go on.
    pub async fn unpause_machine(self: &Arc<Self>, name: &str) -> Result<Machine, ServiceError> {
        self.hold(name, false).await
    }

    async fn hold(self: &Arc<Self>, name: &str, hold: bool) -> Result<Machine, ServiceError> {
        let (service, name) = (Arc::clone(self), name.to_owned());
        to_its_end("machine", async move { service.hold_and_record(&name, hold).await }).await
    }

    async fn hold_and_record(&self, name: &str, hold: bool) -> Result<Machine, ServiceError> {
        let id = self.machine(name).await?.metadata.id;
        let _turn = self.turn(&id).await;
        let machine = self.machine(&id).await?;
        let (before, after, word) = if hold {
            (Phase::Running, Phase::Paused, "paused")
        } else {
            (Phase::Paused, Phase::Running, "unpaused")
        };
        let conflict = |machine: &Machine| {
            let state = match machine.status.phase {
                Phase::Paused => "is paused already",
                Phase::Running => "is not paused",
                _ => "does not run",
            };
            ServiceError::Conflict { message: format!("Machine {} {state}", machine.metadata.name) }
        };
        let live = self.live(&id).filter(|_| machine.status.phase == before);
        let live = live.ok_or_else(|| conflict(&machine))?;
        if hold {
            if let Err(error) = live.vmm.pause().await {
                // It may obey later: the record says that it runs.
                let _ = live.vmm.resume().await;
                return Err(error.into());
            }
        } else {
            live.vmm.resume().await?;
        }
        let change = |machine: &mut Machine| {
            // It may have ended meanwhile.
            if machine.status.phase != before {
                return Err(conflict(machine));
            }
            machine.status.phase = after;
            Ok(())
        };
        let machine = self.records.update(&id, change).await?;
        self.tell(&machine, word, None).await;
        Ok(machine)
    }

    /// Makes a machine that was taken over what its record says: the former daemon may have ended between the
    /// VMM and the record.
    pub(super) async fn settle(&self, id: &str, live: &Live) {
        let _turn = self.turn(id).await;
        let settled = match self.machine(id).await.map(|machine| machine.status.phase) {
            Ok(Phase::Running) => live.vmm.resume().await,
            Ok(Phase::Paused) => live.vmm.pause().await,
            _ => Ok(()),
        };
        if let Err(error) = settled {
            tracing::warn!("Machine {id} may be paused, or not, against its record: {}", chain(&error));
        }
    }
}

#[cfg(test)]
#[path = "pause_tests.rs"]
mod tests;
