//! What a user asks for: Firecracker's configuration, as a file and piece by piece over its API.
//!
//! Unknown fields are errors. A field that Firecracker has and this VMM has not yet is refused with a
//! sentence that says so, never taken and forgotten.

mod balloon;
mod boot_source;
mod cpu;
mod drive;
mod limiter;
mod machine;
mod mmds;
mod network;
mod not_yet;
mod observation;
mod pmem;
mod serial;
mod smbios;
mod vsock;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::balloon::{Balloon, no_balloon};
pub use self::boot_source::BootSource;
pub use self::cpu::{
    Bitmap, Capability, CpuConfig, CpuidRegister, LeafModifier, MsrModifier, RegisterModifier,
};
pub use self::drive::{CacheType, Drive, DriveChange, IoEngine};
pub use self::limiter::{RateLimiter, TokenBucket};
pub use self::machine::{CpuTemplate, HugePages, MachineConfig, MachineConfigChange};
pub use self::mmds::{MmdsConfig, MmdsVersion};
#[cfg(test)]
pub use self::network::MacAddress;
pub use self::network::{NetworkBackend, NetworkInterface, NetworkInterfaceChange};
pub use self::not_yet::NotYet;
#[cfg(test)]
pub use self::observation::Level;
pub use self::observation::{Logger, Metrics};
pub use self::pmem::{Pmem, PmemChange};
pub use self::serial::{Console, Serial};
pub use self::smbios::Smbios;
pub use self::vsock::{Entropy, Vsock};

/// The largest configuration file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not open or read.
    #[error("Cannot read configuration file {0}")]
    Read(PathBuf, #[source] io::Error),
    /// The file is too large.
    #[error("Configuration file {0} has more than {MAX_FILE} bytes")]
    TooLarge(PathBuf),
    /// The file is not what it should be.
    #[error("Cannot use configuration file {0}")]
    Parse(PathBuf, #[source] serde_json::Error),
    /// A section is refused.
    #[error("Invalid {section}: {message}")]
    Invalid {
        /// Which section, and which of several.
        section: String,
        /// What is wrong with it.
        message: String,
    },
    /// Firecracker has it, this VMM has not.
    #[error("{0} is not supported yet by this VMM")]
    NotYet(String),
}

impl ConfigError {
    /// `section` is refused because of `message`.
    pub fn invalid(section: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { section: section.into(), message: message.into() }
    }
}

/// A whole machine as it was asked for; Firecracker's `FullVmConfiguration`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = FullVmConfiguration))]
pub struct MachineSpec {
    /// What boots.
    #[serde(default)]
    pub boot_source: Option<BootSource>,
    /// Block devices; the root device comes first in the machine.
    #[serde(default)]
    pub drives: Vec<Drive>,
    /// Processors and memory.
    #[serde(default)]
    pub machine_config: MachineConfig,
    /// What processors show to the guest.
    #[serde(default, deserialize_with = "cpu::template_or_path")]
    pub cpu_config: Option<CpuConfig>,
    /// Network devices.
    #[serde(default)]
    pub network_interfaces: Vec<NetworkInterface>,
    /// Files as memory.
    #[serde(default)]
    pub pmem: Vec<Pmem>,
    /// The way to the metadata service.
    #[serde(default)]
    pub mmds_config: Option<MmdsConfig>,
    /// The socket device.
    #[serde(default)]
    pub vsock: Option<Vsock>,
    /// The entropy device.
    #[serde(default)]
    pub entropy: Option<Entropy>,
    /// The balloon.
    #[serde(default)]
    pub balloon: Option<Balloon>,
    /// Which machine the guest finds itself in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smbios: Option<Smbios>,
    /// Where messages go.
    #[serde(default)]
    pub logger: Option<Logger>,
    /// Where figures go.
    #[serde(default)]
    pub metrics: Option<Metrics>,
    /// Where the guest's console goes. An addition: Firecracker takes it over its API alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// A virtio console. An addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<Console>,
    /// `--boot-timer`: the guest can say that it has booted.
    #[serde(skip)]
    pub boot_timer: bool,
    /// Memory that comes later. Refused for now.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    memory_hotplug: Option<NotYet>,
}

impl MachineSpec {
    /// Reads and checks a configuration file.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let unread = |error| ConfigError::Read(path.to_owned(), error);
        let mut text = Vec::new();
        let file = File::open(path).map_err(unread)?;
        file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(unread)?;
        if text.len() as u64 > MAX_FILE {
            return Err(ConfigError::TooLarge(path.to_owned()));
        }
        let spec: Self = serde_json::from_slice(&text)
            .or_else(|error| Self::without_null_sections(&text).ok_or(error))
            .map_err(|error| ConfigError::Parse(path.to_owned(), error))?;
        spec.check()?;
        Ok(spec)
    }

    /// Reads a configuration with sections that nobody knows, if these ask for nothing: Firecracker takes no
    /// notice of such, and the crate `fctools` writes them.
    fn without_null_sections(text: &[u8]) -> Option<Self> {
        let mut sections: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
        sections.retain(|_, section| !section.is_null());
        serde_json::from_value(sections.into()).ok()
    }

    /// Checks every section, and the sections against each other.
    fn check(&self) -> Result<(), ConfigError> {
        let not_yet = [("memory-hotplug", &self.memory_hotplug)];
        not_yet.into_iter().try_for_each(|(name, value)| not_yet::refuse(name, value.as_ref()))?;
        if self.boot_source.is_none() {
            return Err(ConfigError::invalid("configuration", "boot-source is missing"));
        }
        // Each section goes in as over the API, so that both ways check the same.
        let mut checked = Self::default();
        self.boot_source.iter().cloned().try_for_each(|section| checked.set_boot_source(section))?;
        checked.set_machine_config(self.machine_config.clone())?;
        self.cpu_config.iter().cloned().try_for_each(|section| checked.set_cpu_config(section))?;
        for drive in &self.drives {
            unique("drive", &drive.drive_id, checked.drives.iter().map(|other| &other.drive_id))?;
            drive.check_queues(checked.machine_config.vcpu_count)?;
            checked.set_drive(drive.clone())?;
        }
        for pmem in &self.pmem {
            unique("pmem", &pmem.id, checked.pmem.iter().map(|other| &other.id))?;
            checked.set_pmem(pmem.clone())?;
        }
        for interface in &self.network_interfaces {
            let ids = checked.network_interfaces.iter().map(|other| &other.iface_id);
            unique("network interface", &interface.iface_id, ids)?;
            checked.set_network_interface(interface.clone())?;
        }
        self.mmds_config.iter().cloned().try_for_each(|section| checked.set_mmds_config(section))?;
        self.vsock.iter().cloned().try_for_each(|section| checked.set_vsock(section))?;
        self.entropy.iter().cloned().try_for_each(|section| checked.set_entropy(section))?;
        self.balloon.iter().cloned().try_for_each(|section| checked.set_balloon(section))?;
        self.console.iter().cloned().try_for_each(|section| checked.set_console(section))?;
        self.smbios.iter().cloned().try_for_each(|section| checked.set_smbios(section))
    }

    /// Takes another identity.
    pub fn set_smbios(&mut self, smbios: Smbios) -> Result<(), ConfigError> {
        smbios.check()?;
        self.smbios = Some(smbios);
        Ok(())
    }

    /// Takes another boot source.
    pub fn set_boot_source(&mut self, source: BootSource) -> Result<(), ConfigError> {
        source.check()?;
        self.boot_source = Some(source);
        Ok(())
    }

    /// Takes other processors and memory. A CPU template stays where `config` names none.
    pub fn set_machine_config(&mut self, mut config: MachineConfig) -> Result<(), ConfigError> {
        config.check()?;
        self.balloon.iter().try_for_each(|balloon| balloon.check(config.mem_size_mib))?;
        match config.cpu_template {
            Some(_) => self.cpu_config = None,
            None => config.cpu_template = self.machine_config.cpu_template,
        }
        self.machine_config = config;
        Ok(())
    }

    /// Takes another CPU template.
    pub fn set_cpu_config(&mut self, config: CpuConfig) -> Result<(), ConfigError> {
        config.check()?;
        self.machine_config.cpu_template = None;
        self.cpu_config = Some(config);
        Ok(())
    }

    /// Takes a drive, in the place of the one with its id.
    pub fn set_drive(&mut self, drive: Drive) -> Result<(), ConfigError> {
        drive.check()?;
        let mut others = self.drives.iter().filter(|other| other.drive_id != drive.drive_id);
        let taken = others.any(|other| other.is_root_device) || self.pmem.iter().any(|pmem| pmem.root_device);
        if drive.is_root_device && taken {
            let section = format!("drive {}", drive.drive_id);
            return Err(ConfigError::invalid(section, "there is another root device"));
        }
        replace(&mut self.drives, drive, |drive| &drive.drive_id);
        Ok(())
    }

    /// Takes a file as memory, in the place of the one with its id.
    pub fn set_pmem(&mut self, pmem: Pmem) -> Result<(), ConfigError> {
        pmem.check()?;
        let mut others = self.pmem.iter().filter(|other| other.id != pmem.id);
        let taken =
            others.any(|other| other.root_device) || self.drives.iter().any(|drive| drive.is_root_device);
        if pmem.root_device && taken {
            return Err(ConfigError::invalid(format!("pmem {}", pmem.id), "there is another root device"));
        }
        replace(&mut self.pmem, pmem, |pmem| &pmem.id);
        Ok(())
    }

    /// The drive by the name of `id`.
    pub fn drive_mut(&mut self, id: &str) -> Result<&mut Drive, ConfigError> {
        let drive = self.drives.iter_mut().find(|drive| drive.drive_id == id);
        drive.ok_or_else(|| ConfigError::invalid(format!("drive {id}"), "there is no such drive"))
    }

    /// The file as memory by the name of `id`.
    pub fn pmem_mut(&mut self, id: &str) -> Result<&mut Pmem, ConfigError> {
        let pmem = self.pmem.iter_mut().find(|pmem| pmem.id == id);
        pmem.ok_or_else(|| ConfigError::invalid(format!("pmem {id}"), "there is no such device"))
    }

    /// Takes a network interface, in the place of the one with its id.
    pub fn set_network_interface(&mut self, interface: NetworkInterface) -> Result<(), ConfigError> {
        interface.check()?;
        let others = || self.network_interfaces.iter().filter(|other| other.iface_id != interface.iface_id);
        let section = || format!("network interface {}", interface.iface_id);
        if interface.guest_mac.is_some() && others().any(|other| other.guest_mac == interface.guest_mac) {
            return Err(ConfigError::invalid(section(), "its MAC address is another interface's"));
        }
        if others().any(|other| other.host_dev_name == interface.host_dev_name) {
            let kind = match interface.backend {
                NetworkBackend::Tap => "tap",
                NetworkBackend::Passt => "socket",
            };
            let reason = format!("its {kind} {} is another interface's", interface.host_dev_name);
            return Err(ConfigError::invalid(section(), reason));
        }
        replace(&mut self.network_interfaces, interface, |interface| &interface.iface_id);
        Ok(())
    }

    /// Takes another socket device.
    pub fn set_vsock(&mut self, vsock: Vsock) -> Result<(), ConfigError> {
        vsock.check()?;
        self.vsock = Some(vsock);
        Ok(())
    }

    /// Takes another place for the guest's console.
    pub fn set_serial(&mut self, serial: Serial) -> Result<(), ConfigError> {
        self.serial = Some(serial);
        Ok(())
    }

    /// Takes another virtio console.
    pub fn set_console(&mut self, console: Console) -> Result<(), ConfigError> {
        self.console = Some(console);
        Ok(())
    }

    /// Takes another entropy device.
    pub fn set_entropy(&mut self, entropy: Entropy) -> Result<(), ConfigError> {
        self.entropy = Some(entropy);
        Ok(())
    }
}

fn replace<T>(list: &mut Vec<T>, item: T, id: impl Fn(&T) -> &String) {
    match list.iter_mut().find(|other| id(other) == id(&item)) {
        Some(other) => *other = item,
        None => list.push(item),
    }
}

fn unique<'a>(
    kind: &str,
    id: &'a String,
    mut others: impl Iterator<Item = &'a String>,
) -> Result<(), ConfigError> {
    if others.any(|other| other == id) {
        return Err(ConfigError::invalid(format!("{kind} {id}"), "there is another one with this id"));
    }
    Ok(())
}

/// An id names a device in messages, in the guest and in paths of the API.
fn check_id(kind: &str, id: &str) -> Result<(), ConfigError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if id.is_empty() || id.len() > 64 || !id.bytes().all(fine) {
        let message = "an id has 1 to 64 letters, digits, '_' or '-'";
        return Err(ConfigError::invalid(format!("{kind} {id:?}"), message));
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
