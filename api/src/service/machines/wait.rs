//! Waiting for a machine's phase.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

use crate::service::error::ServiceError;
use crate::service::model::{Machine, Phase};
use crate::service::{Records, Service};
use crate::store::ChangeKind;

/// What to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// Its start has succeeded or failed.
    Started,
    /// It has ended or could not start.
    #[default]
    Stopped,
}

impl Until {
    /// A machine in this phase need not be waited for. One that was never started is not on its way.
    pub fn is_met(self, phase: Phase) -> bool {
        match self {
            Self::Started => !matches!(phase, Phase::Created | Phase::Creating),
            Self::Stopped => matches!(phase, Phase::Stopped | Phase::Failed),
        }
    }
}

impl Service {
    /// Waits, at most that long, and answers the machine as it is then.
    pub async fn wait_machine(
        &self,
        name: &str,
        until: Until,
        patience: Duration,
    ) -> Result<Machine, ServiceError> {
        let machine = self.machine(name).await?;
        let id = machine.metadata.id.clone();
        match tokio::time::timeout(patience, self.wait_for(&id, until)).await {
            Ok(waited) => waited,
            Err(_) => self.machine(&id).await,
        }
    }

    async fn wait_for(&self, id: &str, until: Until) -> Result<Machine, ServiceError> {
        // The watch first: what happens between it and the look is in it.
        let mut watch = self.records.watch::<Machine>(None).await?;
        loop {
            let machine = self.machine(id).await?;
            if until.is_met(machine.status.phase) {
                return Ok(machine);
            }
            loop {
                match watch.live.recv().await {
                    Ok(change) => {
                        let Some(changed) = Records::changed::<Machine>(&change) else { continue };
                        if changed.object.metadata.id != id {
                            continue;
                        }
                        if changed.kind == ChangeKind::Deleted || until.is_met(changed.object.status.phase) {
                            return Ok(changed.object);
                        }
                    }
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Ok(machine),
                }
            }
        }
    }
}
