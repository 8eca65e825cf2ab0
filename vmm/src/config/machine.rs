//! `machine-config`: processors and memory.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// The most vCPUs, as in Firecracker.
pub const MAX_VCPUS: u8 = 32;
/// The most memory, in MiB: what a 40-bit guest physical address space leaves.
const MAX_MEMORY: u64 = 1020 << 10;
/// The least memory, in MiB. A kernel says itself when it needs more.
const MIN_MEMORY: u64 = 2;

/// Firecracker's words for pages behind guest memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HugePages {
    /// The VMM's choice; here, transparent ones.
    #[default]
    None,
    /// Transparent huge pages.
    Transparent,
    /// Pages of hugetlbfs, 2 MiB each, that the host has set apart and has enough of.
    #[serde(rename = "2M")]
    Reserved,
}

/// Processors and memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = MachineConfiguration))]
pub struct MachineConfig {
    /// 1 to 32.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 32))]
    pub vcpu_count: u8,
    /// Memory in MiB.
    pub mem_size_mib: u64,
    /// Two threads a core.
    #[serde(default)]
    pub smt: bool,
    /// To note which pages the guest writes to, for snapshots of what has changed. There are no snapshots yet,
    /// so that it is taken and of no effect.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// Pages behind guest memory.
    #[serde(default)]
    pub huge_pages: HugePages,
    /// A keyboard controller (i8042): `SendCtrlAltDel`, and a reset by `reboot=k`. An addition to
    /// Firecracker's API, where it is always there; told of only where it is not.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub i8042: bool,
    /// One of Firecracker's static CPU templates, which it has deprecated. The later one of this and `cpu-config`
    /// counts.
    #[serde(default, skip_serializing_if = "names_none")]
    pub cpu_template: Option<CpuTemplate>,
}

/// Firecracker's static CPU templates. "None" takes the template back that was set, static or custom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::upper_case_acronyms, reason = "Firecracker's words")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[allow(missing_docs, reason = "Firecracker's names; see `arch::x86_64::named_template`")]
pub enum CpuTemplate {
    C3,
    T2,
    T2S,
    T2CL,
    T2A,
    V1N1,
    None,
}

fn names_none(template: &Option<CpuTemplate>) -> bool {
    matches!(template, None | Some(CpuTemplate::None))
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

/// A `PATCH` of [`MachineConfig`]: what is not named, or `null`, stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PartialMachineConfiguration))]
pub struct MachineConfigChange {
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 32))]
    vcpu_count: Option<u8>,
    mem_size_mib: Option<u64>,
    smt: Option<bool>,
    track_dirty_pages: Option<bool>,
    huge_pages: Option<HugePages>,
    i8042: Option<bool>,
    cpu_template: Option<CpuTemplate>,
}

impl MachineConfigChange {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl MachineConfig {
    /// As `change` wants it; not checked yet.
    pub fn changed(&self, change: &MachineConfigChange) -> Self {
        Self {
            vcpu_count: change.vcpu_count.unwrap_or(self.vcpu_count),
            mem_size_mib: change.mem_size_mib.unwrap_or(self.mem_size_mib),
            smt: change.smt.unwrap_or(self.smt),
            track_dirty_pages: change.track_dirty_pages.unwrap_or(self.track_dirty_pages),
            huge_pages: change.huge_pages.unwrap_or(self.huge_pages),
            i8042: change.i8042.unwrap_or(self.i8042),
            cpu_template: change.cpu_template,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refused = |message: String| Err(ConfigError::invalid("machine-config", message));
        if self.cpu_template == Some(CpuTemplate::V1N1) {
            return refused("cpu_template V1N1 is for ARM processors".into());
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
        if self.huge_pages != HugePages::None && !self.mem_size_mib.is_multiple_of(2) {
            let size = self.mem_size_mib;
            return refused(format!("with huge pages, mem_size_mib must be a multiple of 2, not {size}"));
        }
        Ok(())
    }
}
