//! Machines: recorded, started, watched over, ended, taken over after a restart of the daemon.
//!
//! * `validate`: what a specification may say.
//! * `boot`: what a machine is started with.
//! * `start`, `bring_up`, `supervise`: its life.
//! * `connect`: its network.
//! * `ending`: how it ended.
//! * `give_up`: why it did not come up.
//! * `stop`: signals.
//! * `exec`: other processes in its container.
//! * `pause`, `rates`: what changes while it runs.
//! * `adopt`: order after a restart.
//! * `output`: what it printed.

mod adopt;
mod boot;
mod bring_up;
mod connect;
mod ending;
mod exec;
mod give_up;
mod layer;
pub mod live;
mod output;
mod pause;
mod plan;
mod rates;
mod start;
mod stop;
mod supervise;
pub mod validate;
mod wait;

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::error::ServiceError;
use super::model::{Image, Machine, MachineSpec, MachineStatus, Metadata};
use super::records::drop_private;
use super::{Service, clock, lock, new_id};
use crate::host::layout;
use live::Live;

pub use exec::{ExecStream, Wire};
pub use output::Output;
pub use stop::signal_number;
pub use wait::Until;

/// The name of the one container in a machine.
const CONTAINER: &str = "main";

/// The key under which the daemon keeps what it alone knows of a machine.
fn runtime_key(id: &str) -> String {
    format!("runtime/{id}")
}

impl Service {
    /// One machine.
    pub async fn machine(&self, name: &str) -> Result<Machine, ServiceError> {
        self.records.find(name).await
    }

    /// Records a machine; it is not started.
    pub async fn create_machine(&self, mut spec: MachineSpec) -> Result<Machine, ServiceError> {
        validate::machine(&spec)?;
        let _placement = self.placement.lock().await;
        let image: Image = self.records.find(&spec.image).await?;
        boot::container_spec(&spec, &image, "")?;
        let id = new_id();
        let name = spec.name.take().unwrap_or_else(|| invented_name(&id));
        let machine = Machine {
            metadata: Metadata { id, name, resource_version: 0, created_at: clock::now() },
            spec,
            status: MachineStatus::created(image.metadata.id),
        };
        let machine = self.records.create(machine, Vec::new()).await?;
        self.tell(&machine, "created", None).await;
        Ok(machine)
    }

    /// Deletes a machine; one that runs only when `force` says that it may be killed.
    pub async fn delete_machine(self: &Arc<Self>, name: &str, force: bool) -> Result<(), ServiceError> {
        let machine = self.machine(name).await?;
        let id = machine.metadata.id.clone();
        if machine.status.phase.is_live() {
            if !force {
                let message = format!("Machine {} runs; stop it first", machine.metadata.name);
                return Err(ServiceError::Conflict { message });
            }
            self.end_now(&machine).await;
        }
        let _turn = self.turn(&id).await;
        self.forget_machine(&id).await
    }

    /// Removes a machine that is not live, its record and its files. That it is gone is no error.
    async fn forget_machine(&self, id: &str) -> Result<(), ServiceError> {
        let Some(machine) = self.records.by_id::<Machine>(id).await? else { return Ok(()) };
        if machine.status.phase.is_live() {
            let message = format!("Machine {} runs again", machine.metadata.name);
            return Err(ServiceError::Conflict { message });
        }
        self.records.delete(&machine, vec![drop_private(&runtime_key(id))]).await?;
        layout::remove_folder(&self.layout.machine_state(id))?;
        layout::remove_folder(&self.layout.machine_run(id))?;
        lock(&self.turns).remove(id);
        self.tell(&machine, "deleted", None).await;
        Ok(())
    }

    /// The live part of a machine, if it has one.
    pub(in crate::service) fn live(&self, id: &str) -> Option<Arc<Live>> {
        lock(&self.live).get(id).cloned()
    }

    /// Waits for this machine's turn; starts and deletions do not mix.
    async fn turn(&self, id: &str) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(lock(&self.turns).entry(id.to_owned()).or_default());
        turn.lock_owned().await
    }
}

/// A name to call a machine by that was given none.
fn invented_name(id: &str) -> String {
    const MOODS: [&str; 16] = [
        "able", "bold", "brisk", "calm", "clear", "eager", "fair", "firm", "keen", "mild", "proud", "quick",
        "sharp", "steady", "sturdy", "swift",
    ];
    const THINGS: [&str; 16] = [
        "anchor", "beacon", "bow", "capstan", "cutter", "deck", "galley", "harbor", "helm", "hull", "keel",
        "mast", "rudder", "sail", "sloop", "tiller",
    ];
    let number = u64::from_str_radix(id, 16).unwrap_or(0);
    let pick = |words: &[&'static str; 16], shift: u32| words[(number >> shift & 15) as usize];
    format!("{}-{}-{}", pick(&MOODS, 44), pick(&THINGS, 40), id.get(2..6).unwrap_or(id))
}
