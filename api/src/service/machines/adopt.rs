//! Order after a restart of the daemon: machines that run are taken over, those that ended are recorded,
//! what has no record is removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ending::{Ending, ending, read_record};
use super::live::{Live, Runtime};
use super::plan::{Found, Recorded, plan};
use super::{connect, start};
use crate::host::network::Endpoint;
use crate::host::process::{self, Process};
use crate::host::{cgroup, layout};
use crate::service::error::{ServiceError, chain};
use crate::service::model::{Exit, ExitReason, Machine, Phase};
use crate::service::{Service, lock};

impl Service {
    /// Looks at everything and puts it in order.
    pub(in crate::service) async fn reconcile(self: &Arc<Self>) -> Result<(), ServiceError> {
        let machines = self.list::<Machine>().await?.items;
        let mut processes: BTreeMap<String, (Process, Runtime)> = BTreeMap::new();
        let mut recorded = Vec::new();
        for machine in &machines {
            let id = machine.metadata.id.clone();
            let runtime = self.remembered(&id).await?;
            let process = runtime.identity.as_ref().and_then(Process::again);
            recorded.push(Recorded { id: id.clone(), phase: machine.status.phase, alive: process.is_some() });
            if let Some(process) = process {
                processes.insert(id, (process, runtime));
            }
        }
        let found = Found {
            processes: process::started_below(&self.layout.machine_runs()),
            groups: cgroup::machines(),
            runs: layout::names_in(&self.layout.machine_runs()),
            states: layout::names_in(&self.layout.machine_states()),
        };
        let planned = plan(&recorded, &found);

        for pid in &planned.kill {
            process::kill_stray(*pid);
        }
        self.network.sweep(&planned.adopt).await?;
        for id in &planned.groups {
            cgroup::remove(id);
        }
        for id in &planned.runs {
            layout::remove_folder(&self.layout.machine_run(id))?;
        }
        for id in &planned.states {
            layout::remove_folder(&self.layout.machine_state(id))?;
        }
        for machine in machines {
            let id = machine.metadata.id.as_str();
            if !planned.adopt.contains(id) {
                // It ends with its VMM; who does not is not waited for.
                let runtime = self.remembered(id).await?;
                runtime.passt.as_ref().and_then(Process::again).iter().for_each(connect::kill);
            }
            if planned.adopt.contains(id) {
                if let Some((process, runtime)) = processes.remove(id) {
                    self.adopt(machine, process, runtime).await;
                }
            } else if planned.end.contains(id) {
                self.record_end(id).await?;
            } else if planned.fail.contains(id) {
                let message = Some("The daemon ended while the machine was starting".to_owned());
                let exit =
                    Exit { code: 125, reason: ExitReason::StartFailed, signal: None, oom_killed: false };
                self.finish(id, None, Phase::Failed, Ending { exit, message, console: Vec::new() }).await;
            }
        }
        self.sweep_images().await?;
        self.sweep_blobs().await?;
        self.sweep_volumes().await
    }

    /// Takes over a machine that runs.
    async fn adopt(self: &Arc<Self>, machine: Machine, process: Process, runtime: Runtime) {
        let id = machine.metadata.id.clone();
        let live = Arc::new(Live::new(&self.layout, &id));
        live.set_process(Arc::new(process));
        if let Some(passt) = runtime.passt.as_ref().and_then(Process::again) {
            live.set_passt(Arc::new(passt));
        }
        let ports = start::published(&machine);
        lock(&self.published).insert(id.clone(), ports.clone());
        lock(&self.live).insert(id.clone(), Arc::clone(&live));
        if let Some(address) = machine.status.address {
            let adopted = self.network.adopt(&id, Endpoint::new(&id, address, ports)).await;
            if let Err(error) = adopted {
                tracing::warn!("Machine {id} runs without a network: {}", chain(&error));
            }
        }
        self.tell(&machine, "adopted", None).await;
        let (service, settled, settled_id) = (Arc::clone(self), Arc::clone(&live), id.clone());
        tokio::spawn(async move { service.settle(&settled_id, &settled).await });
        let service = Arc::clone(self);
        tokio::spawn(async move { service.supervise(&id, live, runtime.log_base).await });
    }

    /// Records the end of a machine that ended while no daemon was there.
    async fn record_end(self: &Arc<Self>, id: &str) -> Result<(), ServiceError> {
        let runtime = self.remembered(id).await?;
        let same_boot = runtime.identity.is_some_and(|identity| identity.host_boot == process::host_boot());
        let ended = ending(read_record(&self.layout.exit_record(id)), None, same_boot);
        self.finish(id, None, Phase::Stopped, ended).await;
        Ok(())
    }
}
