//! `machine-config`: processors and memory.

use serde::{Deserialize, Serialize};

use super::{ConfigError, NotYet, not_yet};

/// The most vCPUs, as in Firecracker.
pub const MAX_VCPUS: u8 = 32;
/// The most memory, in MiB: what a 40-bit guest physical address space leaves.
const MAX_MEMORY: u64 = 1020 << 10;
/// The least memory, in MiB. A kernel says itself when it needs more.
const MIN_MEMORY: u64 = 2;

/// Firecracker's words for pages behind guest memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HugePages {
    /// The VMM's choice; here, transparent ones.
    #[default]
    None,
    /// Transparent huge pages.
    Transparent,
    /// Pages of hugetlbfs.
    #[serde(rename = "2M")]
    Reserved,
}

/// Processors and memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// 1 to 32.
    pub vcpu_count: u8,
    /// Memory in MiB.
    pub mem_size_mib: u64,
    /// Two threads a core.
    #[serde(default)]
    pub smt: bool,
    /// For snapshots, which do not exist yet; taken and of no effect.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// Pages behind guest memory.
    #[serde(default)]
    pub huge_pages: HugePages,
    /// A keyboard controller (i8042): `SendCtrlAltDel`, and a reset by `reboot=k`. An addition to
    /// Firecracker's API, where it is always there; told of only where it is not.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub i8042: bool,
    #[serde(default, skip_serializing)]
    cpu_template: Option<NotYet>,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            vcpu_count: 1,
            mem_size_mib: 128,
            smt: false,
            track_dirty_pages: false,
            huge_pages: HugePages::None,
            i8042: true,
            cpu_template: None,
        }
    }
}

impl MachineConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refused = |message: String| Err(ConfigError::invalid("machine-config", message));
        if self.cpu_template != Some(NotYet::word("None")) {
            not_yet::refuse("machine-config.cpu_template", self.cpu_template.as_ref())?;
        }
        if self.huge_pages == HugePages::Reserved {
            return Err(ConfigError::NotYet("machine-config.huge_pages 2M".into()));
        }
        if !(1..=MAX_VCPUS).contains(&self.vcpu_count) {
            return refused(format!("vcpu_count is {}, not 1 to {MAX_VCPUS}", self.vcpu_count));
        }
        if self.smt && self.vcpu_count > 1 && self.vcpu_count % 2 == 1 {
            return refused(format!("with smt, vcpu_count must be 1 or even, not {}", self.vcpu_count));
        }
        if !(MIN_MEMORY..=MAX_MEMORY).contains(&self.mem_size_mib) {
            return refused(format!(
                "mem_size_mib is {}, not {MIN_MEMORY} to {MAX_MEMORY}",
                self.mem_size_mib
            ));
        }
        Ok(())
    }
}
