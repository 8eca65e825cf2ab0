//! What a machine is started with: the VMM's configuration, the kernel's words, the container.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use bulkhead_image::{RuntimeOptions, runtime_spec};
use bulkhead_protocol::agent::{CreateContainer, Device, RootDisk, VolumeDisk};
use bulkhead_protocol::boot::{HOSTNAME, MODE, NET};
use bulkhead_protocol::{image::ROOT_LABEL, oci};

use super::layer::{self, LAYER};
use super::{CONTAINER, rates, validate};
use crate::host::layout::Layout;
use crate::host::network::Route;
use crate::host::vmm_config::{Boot, Drive, VmmSpec, Wire};
use crate::service::error::ServiceError;
use crate::service::model::{Image, Machine, MachineSpec, Userns};

/// Words for a stock kernel in a machine without the hardware that it would look for, and for the small one, which
/// has the driver of dummy interfaces built in and would make one.
const KERNEL_WORDS: &str = "console=ttyS0 reboot=k panic=-1 quiet loglevel=1 8250.nr_uarts=1 i8042.noaux \
                            i8042.nomux i8042.nopnp i8042.dumbkbd cryptomgr.notests dummy.numdummies=0";

/// The id of the drive with the container's root.
const ROOT: &str = "root";
/// The id of the network interface.
pub const INTERFACE: &str = "eth0";

/// The word for images that bring their own kernel.
const APPLIANCE: &str = "appliance";

fn is_appliance(image: &Image) -> bool {
    image.status.kind == APPLIANCE
}

/// A machine's place on its network.
#[derive(Debug)]
pub struct Attachment {
    /// What its interface is behind.
    pub wire: Wire,
    /// Its MAC address.
    pub mac: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The way on.
    pub route: Route,
}

/// What the VMM is to make. `volumes` are the disks of the machine's volumes, in their order.
pub fn vmm_spec(
    machine: &Machine,
    image: &Image,
    layout: &Layout,
    network: &Attachment,
    volumes: Vec<PathBuf>,
) -> VmmSpec {
    let id = &machine.metadata.id;
    let disk = layout.image(image.root());
    let mut drives = Vec::new();
    let (boot, words) = if is_appliance(image) {
        let words = image.status.boot_args.clone().unwrap_or_else(|| KERNEL_WORDS.to_owned());
        (Boot::Appliance { disk: disk.clone() }, words)
    } else {
        (Boot::Kernel { kernel: layout.kernel(), initramfs: layout.initramfs() }, KERNEL_WORDS.to_owned())
    };
    drives.push(Drive { id: ROOT.into(), path: disk, overlay: None, read_only: true });
    drives.push(layer::drive(machine, layout));
    for (number, path) in volumes.into_iter().enumerate() {
        let read_only = machine.spec.volumes.get(number).is_some_and(|volume| volume.read_only);
        drives.push(Drive { id: volume_id(number), path, overlay: None, read_only });
    }
    let Attachment { wire, mac, address, route } = network;
    let resolver = route.resolver.map(|address| address.to_string()).unwrap_or_default();
    let boot_args = format!(
        "{words} {MODE}=agent {NET}={mac},{address}/{},{},{resolver} {HOSTNAME}={}",
        route.prefix,
        route.gateway,
        hostname(machine),
    );
    VmmSpec {
        boot,
        boot_args,
        drives,
        vcpus: machine.spec.vcpus,
        memory_mib: machine.spec.memory_mib,
        disk_limiter: rates::disk(&machine.spec.rates),
        receive_limiter: rates::receive(&machine.spec.rates),
        transmit_limiter: rates::transmit(&machine.spec.rates),
        interface: INTERFACE,
        wire: wire.clone(),
        vhost: machine.spec.vhost,
        network_queues: machine.spec.network_queues,
        disk_queues: machine.spec.disk_queues,
        mac: mac.clone(),
        vsock: layout.vsock(id),
    }
}

/// The ids of a machine's drives.
pub fn drive_ids(machine: &Machine) -> Vec<String> {
    let volumes = (0..machine.spec.volumes.len()).map(volume_id);
    [ROOT.to_owned(), LAYER.to_owned()].into_iter().chain(volumes).collect()
}

/// How many threads its VMM has for processors and queues; those of the kernel's vhost are the process's own, too,
/// since Linux 6.4.
pub fn threads(machine: &Machine) -> u32 {
    let spec = &machine.spec;
    let drives = u32::try_from(drive_ids(machine).len()).unwrap_or(u32::MAX);
    let queues = drives.saturating_mul(spec.disk_queues.into()) + u32::from(spec.network_queues);
    u32::from(spec.vcpus) + queues
}

fn volume_id(number: usize) -> String {
    format!("vol-{number}")
}

/// The machine's host name, or its name made fit for one.
fn hostname(machine: &Machine) -> String {
    if let Some(name) = &machine.spec.hostname {
        return name.clone();
    }
    let name = machine.metadata.name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    name.trim_matches('-').to_owned()
}

/// What the container runs: the image's configuration, and what the specification puts in its place.
pub fn container_spec(spec: &MachineSpec, image: &Image, hostname: &str) -> Result<oci::Spec, ServiceError> {
    let shape = &spec.container;
    let options = RuntimeOptions {
        entrypoint: spec.entrypoint.clone(),
        command: spec.command.clone(),
        env: spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        working_dir: spec.workdir.clone(),
        user: spec.user.clone(),
        hostname: Some(hostname.to_owned()).filter(|name| !name.is_empty()),
        memory: spec.limits.memory_mib.map(|memory| u64::from(memory) << 20),
        milli_cpus: spec.limits.cpus.map(|cpus| (cpus * 1000.0).round() as u64),
        pids: spec.limits.pids,
        private_users: spec.userns == Userns::Private,
        cap_add: shape.cap_add.clone(),
        cap_drop: shape.cap_drop.clone(),
        no_new_privileges: shape.no_new_privileges,
        seccomp: shape.seccomp.clone(),
        init: shape.init,
        read_only: shape.read_only,
        sysctls: shape.sysctls.clone(),
        rlimits: validate::rlimits(&shape.ulimits)?,
        tmpfs: shape.tmpfs.iter().map(|mount| (mount.destination.clone(), mount.options.clone())).collect(),
        // A daemon's log is the only terminal that there is.
        terminal: false,
    };
    runtime_spec(&image.status.config, &options)
        .map_err(|error| ServiceError::Invalid { field: "command", message: error.to_string() })
}

/// The container that the agent is to make.
pub fn container(machine: &Machine, image: &Image) -> Result<CreateContainer, ServiceError> {
    let device =
        if is_appliance(image) { format!("partlabel:{ROOT_LABEL}") } else { "serial:root".to_owned() };
    let volumes = machine.spec.volumes.iter().enumerate().map(|(number, volume)| VolumeDisk {
        device: Device(format!("serial:{}", volume_id(number))),
        destination: volume.destination.clone(),
        read_only: volume.read_only,
    });
    Ok(CreateContainer {
        id: CONTAINER.to_owned(),
        spec: container_spec(&machine.spec, image, &hostname(machine))?,
        // An appliance brings an initd of its own, which may be one that knows of no layer.
        root: RootDisk {
            device: Device(device),
            layer: (!is_appliance(image)).then(|| Device(format!("serial:{LAYER}"))),
        },
        volumes: volumes.collect(),
        end_machine: true,
    })
}
