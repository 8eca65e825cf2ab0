//! Holding a machine, and letting it go on.

use crate::service::Service;
use crate::service::error::ServiceError;
use crate::service::model::{Machine, Phase};

impl Service {
    /// Holds a machine's processors: it costs no CPU time, keeps its memory, and goes on where it was.
    pub async fn pause_machine(&self, name: &str) -> Result<Machine, ServiceError> {
        self.hold(name, true).await
    }

    /// Lets a machine that is paused go on.
    pub async fn unpause_machine(&self, name: &str) -> Result<Machine, ServiceError> {
        self.hold(name, false).await
    }

    async fn hold(&self, name: &str, hold: bool) -> Result<Machine, ServiceError> {
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
        if hold { live.vmm.pause().await } else { live.vmm.resume().await }?;
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
}
