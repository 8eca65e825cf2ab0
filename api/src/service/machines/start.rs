//! The start of a machine: everything that can be refused at once.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::live::Live;
use crate::host::network::Published;
use crate::host::{passt, ports};
use crate::service::error::ServiceError;
use crate::service::model::{Machine, NetworkKind, Phase, Timeline};
use crate::service::records::put_private;
use crate::service::{Service, clock, lock};

/// Where the address that was given out last is kept.
const LAST_ADDRESS: &str = "network/last-address";

/// The ports of a machine as the network knows them.
pub fn published(machine: &Machine) -> Vec<Published> {
    let ports = machine.spec.ports.iter();
    ports
        .map(|port| Published {
            host_ip: port.host_ip.filter(|ip| !ip.is_unspecified()),
            host_port: port.host_port,
            guest_port: port.guest_port,
        })
        .collect()
}

impl Service {
    /// Starts a machine. Answers when it is on its way; watch its phase for how that ends.
    pub async fn start_machine(self: &Arc<Self>, name: &str) -> Result<Machine, ServiceError> {
        let id = self.machine(name).await?.metadata.id;
        let _turn = self.turn(&id).await;
        let machine = self.machine(&id).await?;
        if machine.status.phase.is_live() {
            let message = format!("Machine {} runs already", machine.metadata.name);
            return Err(ServiceError::Conflict { message });
        }
        if machine.spec.network == NetworkKind::Passt {
            passt::program()?;
        }
        let live = Arc::new(Live::new(&self.layout, &id));
        self.reserve_ports(&id, published(&machine)).await?;
        lock(&self.live).insert(id.clone(), Arc::clone(&live));
        let machine = match self.place(&machine).await {
            Ok(machine) => machine,
            Err(error) => {
                self.release(&id);
                return Err(error);
            }
        };
        let service = Arc::clone(self);
        tokio::spawn(service.run_machine(machine.clone(), live));
        Ok(machine)
    }

    /// Gives up what a machine holds in the daemon while it is live.
    pub(super) fn release(&self, id: &str) {
        lock(&self.published).remove(id);
        lock(&self.live).remove(id);
    }

    /// Keeps ports for a machine, or says who has one of them.
    pub(super) async fn reserve_ports(&self, id: &str, wanted: Vec<Published>) -> Result<(), ServiceError> {
        let conflict = |message| Err(ServiceError::Conflict { message });
        for (number, port) in wanted.iter().enumerate() {
            if wanted[..number].iter().any(|other| other.collides(port)) {
                return conflict(format!("Port {} is published twice", port.host_port));
            }
        }
        let owner = {
            let mut published = lock(&self.published);
            let taken = published.iter().find_map(|(owner, ports)| {
                let port = wanted.iter().find(|port| ports.iter().any(|other| other.collides(port)))?;
                (owner != id).then(|| (owner.clone(), port.host_port))
            });
            match taken {
                Some(taken) => taken,
                None => {
                    if let Some(message) = wanted.iter().find_map(ports::refusal) {
                        drop(published);
                        return conflict(message);
                    }
                    published.insert(id.to_owned(), wanted);
                    return Ok(());
                }
            }
        };
        let (owner, port) = owner;
        let name = self.machine(&owner).await.map_or(owner, |machine| machine.metadata.name);
        conflict(format!("Port {port} of the host is published by machine {name} already"))
    }

    /// Gives a machine an address and records that it is on its way.
    async fn place(&self, machine: &Machine) -> Result<Machine, ServiceError> {
        let _placement = self.placement.lock().await;
        let id = &machine.metadata.id;
        let machines = self.list::<Machine>().await?.items;
        let others: Vec<&Machine> = machines.iter().filter(|other| other.metadata.id != *id).collect();
        refuse_shared_volumes(machine, &others)?;
        let address = match machine.spec.network {
            NetworkKind::Bridge => Some(self.address(machine, &others).await?),
            NetworkKind::Passt => None,
        };
        self.records
            .update(id, |machine: &mut Machine| {
                machine.status.phase = Phase::Creating;
                machine.status.address = address;
                machine.status.exit = None;
                machine.status.message = None;
                machine.status.console = Vec::new();
                machine.status.boot_id = None;
                machine.status.kernel = None;
                machine.status.starts += 1;
                machine.status.timeline =
                    Timeline { requested_at: Some(clock::now()), ..Timeline::default() };
                Ok(())
            })
            .await
    }

    /// The address that the machine had, or another that is free.
    async fn address(&self, machine: &Machine, others: &[&Machine]) -> Result<Ipv4Addr, ServiceError> {
        let taken: Vec<Ipv4Addr> = others.iter().filter_map(|other| other.status.address).collect();
        let subnet = self.network.subnet();
        let kept = machine.status.address.filter(|own| subnet.has_machine(*own) && !taken.contains(own));
        if let Some(address) = kept {
            return Ok(address);
        }
        let last = self.records.private::<Ipv4Addr>(LAST_ADDRESS).await?;
        let address = subnet.allocate(&taken, last)?;
        self.records.set_private(LAST_ADDRESS, &address).await?;
        Ok(address)
    }

    /// Records what the daemon alone must know of a machine.
    pub(super) async fn remember(
        &self,
        id: &str,
        runtime: &super::live::Runtime,
    ) -> Result<(), ServiceError> {
        let write = put_private(&super::runtime_key(id), runtime)?;
        self.records.apply(vec![write]).await
    }
}

/// A file system that is written from two kernels is soon none: a volume has one writer, or readers only.
fn refuse_shared_volumes(machine: &Machine, others: &[&Machine]) -> Result<(), ServiceError> {
    for volume in &machine.spec.volumes {
        let user = others.iter().filter(|other| other.status.phase.is_live()).find(|other| {
            let mut theirs = other.spec.volumes.iter().filter(|theirs| theirs.name == volume.name);
            theirs.any(|theirs| !theirs.read_only || !volume.read_only)
        });
        if let Some(user) = user {
            let message = format!("Volume {} is in use by machine {}", volume.name, user.metadata.name);
            return Err(ServiceError::Conflict { message });
        }
    }
    let mut names: Vec<&str> = machine.spec.volumes.iter().map(|volume| volume.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ServiceError::Conflict { message: format!("Volume {} is named twice", pair[0]) }),
        None => Ok(()),
    }
}
