//! A VMM's configuration: Firecracker's format with our additions.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::passt;

/// What boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// The host's kernel and initramfs.
    Kernel {
        /// An uncompressed ELF or a bzImage.
        kernel: PathBuf,
        /// With initd.
        initramfs: PathBuf,
    },
    /// A disk that brings its own; it is the first drive too.
    Appliance {
        /// The disk.
        disk: PathBuf,
    },
}

/// A drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// Its id, and its serial in the guest.
    pub id: String,
    /// The raw disk.
    pub path: PathBuf,
    /// The qcow2 file that takes what is written; the disk is only read then.
    pub overlay: Option<PathBuf>,
    /// Refuse writes.
    pub read_only: bool,
}

/// What a network interface is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// The tap of this name.
    Tap(String),
    /// passt, by the socket at this path.
    Passt(PathBuf),
}

/// What a VMM is to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmmSpec {
    /// What boots.
    pub boot: Boot,
    /// Words for the kernel.
    pub boot_args: String,
    /// Drives in their order.
    pub drives: Vec<Drive>,
    /// Processors.
    pub vcpus: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Firecracker's `RateLimiter` for each drive.
    pub disk_limiter: Option<Value>,
    /// Firecracker's `RateLimiter` for what the interface receives.
    pub receive_limiter: Option<Value>,
    /// Firecracker's `RateLimiter` for what the interface sends.
    pub transmit_limiter: Option<Value>,
    /// The network interface's id.
    pub interface: &'static str,
    /// What it is behind.
    pub wire: Wire,
    /// Whether the host's kernel serves its queues.
    pub vhost: bool,
    /// How many pairs of queues it has.
    pub network_queues: u8,
    /// How many queues each drive has.
    pub disk_queues: u8,
    /// The guest's MAC address.
    pub mac: String,
    /// The hybrid vsock's socket.
    pub vsock: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Config<'a> {
    boot_source: BootSource<'a>,
    drives: Vec<DriveConfig<'a>>,
    machine_config: MachineConfig,
    network_interfaces: [Interface<'a>; 1],
    vsock: Vsock<'a>,
    entropy: Entropy,
}

#[derive(Serialize)]
struct BootSource<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_image_path: Option<&'a PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initrd_path: Option<&'a PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appliance: Option<&'a PathBuf>,
    boot_args: &'a str,
}

#[derive(Serialize)]
struct DriveConfig<'a> {
    drive_id: &'a str,
    path_on_host: &'a PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlay: Option<&'a PathBuf>,
    is_root_device: bool,
    is_read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    queues: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limiter: Option<&'a Value>,
}

#[derive(Serialize)]
struct MachineConfig {
    vcpu_count: u8,
    mem_size_mib: u32,
}

#[derive(Serialize)]
struct Interface<'a> {
    iface_id: &'static str,
    guest_mac: &'a str,
    host_dev_name: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vhost: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queues: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rx_rate_limiter: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_rate_limiter: Option<&'a Value>,
}

#[derive(Serialize)]
struct Vsock<'a> {
    guest_cid: u32,
    uds_path: &'a PathBuf,
}

#[derive(Serialize)]
struct Entropy {}

impl VmmSpec {
    /// The configuration's text.
    pub fn render(&self) -> Result<String, serde_json::Error> {
        let boot_source = match &self.boot {
            Boot::Kernel { kernel, initramfs } => BootSource {
                kernel_image_path: Some(kernel),
                initrd_path: Some(initramfs),
                appliance: None,
                boot_args: &self.boot_args,
            },
            Boot::Appliance { disk } => BootSource {
                kernel_image_path: None,
                initrd_path: None,
                appliance: Some(disk),
                boot_args: &self.boot_args,
            },
        };
        let several = |queues: u8| Some(queues).filter(|queues| *queues > 1);
        let drives = self
            .drives
            .iter()
            .map(|drive| DriveConfig {
                drive_id: &drive.id,
                path_on_host: &drive.path,
                overlay: drive.overlay.as_ref(),
                // The command line names no root device: initd mounts the root itself.
                is_root_device: false,
                is_read_only: drive.read_only,
                queues: several(self.disk_queues),
                rate_limiter: self.disk_limiter.as_ref(),
            })
            .collect();
        // Without a tap's offloads, what makes passt fast is long packets.
        let (host_dev_name, backend, mtu) = match &self.wire {
            Wire::Tap(name) => (Path::new(name), None, None),
            Wire::Passt(socket) => (socket.as_path(), Some("passt"), Some(passt::MTU)),
        };
        serde_json::to_string_pretty(&Config {
            boot_source,
            drives,
            machine_config: MachineConfig { vcpu_count: self.vcpus, mem_size_mib: self.memory_mib },
            network_interfaces: [Interface {
                iface_id: self.interface,
                guest_mac: &self.mac,
                host_dev_name,
                backend,
                mtu,
                vhost: self.vhost.then_some(true),
                queues: several(self.network_queues),
                rx_rate_limiter: self.receive_limiter.as_ref(),
                tx_rate_limiter: self.transmit_limiter.as_ref(),
            }],
            vsock: Vsock { guest_cid: 3, uds_path: &self.vsock },
            entropy: Entropy {},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_firecracker_s_format() {
        let spec = VmmSpec {
            boot: Boot::Kernel { kernel: "/k".into(), initramfs: "/i".into() },
            boot_args: "quiet".into(),
            drives: vec![
                Drive { id: "root".into(), path: "/r".into(), overlay: None, read_only: true },
                Drive { id: "l".into(), path: "/b".into(), overlay: Some("/o".into()), read_only: false },
            ],
            vcpus: 2,
            memory_mib: 128,
            disk_limiter: Some(serde_json::json!({"ops": {"size": 1, "refill_time": 1000}})),
            receive_limiter: None,
            transmit_limiter: None,
            interface: "eth0",
            wire: Wire::Tap("bh0".into()),
            vhost: false,
            network_queues: 1,
            disk_queues: 1,
            mac: "02:00:00:00:00:01".into(),
            vsock: "/v".into(),
        };
        let value: Value = serde_json::from_str(&spec.render().unwrap()).unwrap();
        assert_eq!(value["boot-source"]["kernel_image_path"], "/k");
        assert!(value["boot-source"].get("appliance").is_none());
        assert_eq!(value["drives"][0]["drive_id"], "root");
        assert!(value["drives"][0].get("overlay").is_none());
        assert_eq!(value["drives"][1]["overlay"], "/o");
        assert_eq!(value["drives"][0]["rate_limiter"]["ops"]["size"], 1);
        assert!(value["network-interfaces"][0].get("rx_rate_limiter").is_none());
        assert_eq!(value["machine-config"]["vcpu_count"], 2);
        assert_eq!(value["network-interfaces"][0]["host_dev_name"], "bh0");
        assert_eq!(value["vsock"]["guest_cid"], 3);
        assert!(value["network-interfaces"][0].get("backend").is_none());
        for added in ["vhost", "queues"] {
            assert!(value["network-interfaces"][0].get(added).is_none());
        }
        assert!(value["drives"][0].get("queues").is_none());
        let spec = VmmSpec { vhost: true, network_queues: 2, disk_queues: 3, ..spec };
        let value: Value = serde_json::from_str(&spec.render().unwrap()).unwrap();
        assert_eq!(value["network-interfaces"][0]["vhost"], true);
        assert_eq!(value["network-interfaces"][0]["queues"], 2);
        assert_eq!((&value["drives"][0]["queues"], &value["drives"][1]["queues"]), (&3.into(), &3.into()));
        let wire = Wire::Passt("/p.sock".into());
        let spec = VmmSpec { boot: Boot::Appliance { disk: "/a".into() }, wire, ..spec };
        let value: Value = serde_json::from_str(&spec.render().unwrap()).unwrap();
        assert_eq!(value["boot-source"]["appliance"], "/a");
        assert!(value["boot-source"].get("kernel_image_path").is_none());
        assert_eq!(value["network-interfaces"][0]["backend"], "passt");
        assert_eq!(value["network-interfaces"][0]["host_dev_name"], "/p.sock");
        assert_eq!(value["network-interfaces"][0]["mtu"], 65520);
    }
}
