//! A machine's way onto its network: the bridge, or a passt of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;

use super::boot::Attachment;
use super::live::{Live, Runtime};
use super::start;
use crate::host::network::{Endpoint, Route, mac_of};
use crate::host::process::Process;
use crate::host::vmm_config::Wire;
use crate::host::{HostError, passt};
use crate::service::Service;
use crate::service::error::{ServiceError, chain};
use crate::service::model::{Machine, NetworkKind};

/// How long a VMM may take until it connects, a passt until it has ended with its VMM, a VMM that is gone until
/// that is known.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits for a VMM in passt's place.
pub fn listen(path: &Path) -> Result<UnixListener, HostError> {
    UnixListener::bind(path).map_err(HostError::file("listen at", path))
}

impl Service {
    /// Gives the machine its place on its network.
    pub(super) async fn connect(&self, machine: &Machine) -> Result<Attachment, ServiceError> {
        let id = machine.metadata.id.as_str();
        let subnet = self.network.subnet();
        if machine.spec.network == NetworkKind::Passt {
            let address = subnet.first_machine();
            let wire = Wire::Passt(self.layout.passt(id));
            let route = self.network.route_by_passt();
            return Ok(Attachment { wire, mac: mac_of(address), address, route });
        }
        let address =
            machine.status.address.ok_or_else(|| HostError::RangeFull { subnet: subnet.to_string() })?;
        let endpoint =
            Endpoint::new(id, address, start::published(machine)).with_queues(machine.spec.network_queues);
        let route = self.network.attach(id, endpoint.clone()).await?;
        Ok(Attachment { wire: Wire::Tap(endpoint.tap), mac: endpoint.mac, address, route })
    }

    /// Starts passt for the VMM, which connects to `listener` on its way up; it joins the VMM's cgroup.
    pub(super) async fn start_passt(
        &self,
        machine: &Machine,
        live: &Live,
        listener: &UnixListener,
        route: &Route,
        cgroup: Option<&Path>,
    ) -> Result<(), ServiceError> {
        let (id, Some(process)) = (machine.metadata.id.as_str(), live.process()) else { return Ok(()) };
        let path = self.layout.passt(id);
        let connected = tokio::select! {
            connected = tokio::time::timeout(PATIENCE, listener.accept()) => connected,
            // Whoever waits for it says how it ended.
            () = process.ended() => return Ok(()),
        };
        let late = || std::io::ErrorKind::TimedOut.into();
        let stream = connected.unwrap_or_else(|_| Err(late())).and_then(|(stream, _)| stream.into_std());
        let stream = stream.and_then(|stream| stream.set_nonblocking(false).map(|()| stream));
        let stream = stream.map_err(HostError::file("hear of the VMM at", &path))?;
        let launch = passt::Launch {
            subnet: self.network.subnet(),
            ports: start::published(machine),
            route,
            mac: mac_of(route.gateway),
            log: self.layout.passt_log(id),
            cgroup: cgroup.map(Path::to_owned),
        };
        let passt = passt::start(&launch, &stream)?;
        let runtime = self.remembered(id).await?;
        let identity = Some(passt.identity().clone());
        live.set_passt(Arc::new(passt));
        self.remember(id, &Runtime { passt: identity, ..runtime }).await
    }

    /// Waits until the machine's passt has ended although the VMM runs; for ever if it has none.
    pub(super) async fn lost_network(&self, id: &str, live: &Live) -> HostError {
        let (Some(passt), Some(process)) = (live.passt(), live.process()) else {
            return std::future::pending().await;
        };
        passt.ended().await;
        if tokio::time::timeout(PATIENCE, process.ended()).await.is_ok() {
            // It ended with its VMM, as it should.
            return std::future::pending().await;
        }
        passt::last_words(&self.layout.passt_log(id))
    }

    /// Tells of a machine whose passt has ended, which runs on without a network.
    pub(super) async fn watch_network(self: Arc<Self>, id: String, live: Arc<Live>) {
        let error = self.lost_network(&id, &live).await;
        tracing::warn!("Machine {id} runs without a network: {}", chain(&error));
        if let Ok(machine) = self.machine(&id).await {
            self.tell(&machine, "network-lost", Some(chain(&error))).await;
        }
    }
}

/// After the VMM's end: passt ends with its connection, or is killed.
pub async fn end_passt(live: &Live) {
    let Some(passt) = live.passt() else { return };
    if tokio::time::timeout(PATIENCE, passt.ended()).await.is_err() {
        kill(passt);
        passt.ended().await;
    }
}

/// Kills a passt whose VMM is gone. That it has ended is no error.
pub fn kill(passt: &Process) {
    if let Err(error) = passt.kill() {
        tracing::warn!("{}", chain(&error));
    }
}
