//! What the CPUID instruction shows to a vCPU: what KVM supports, cut and completed.
//!
//! Leaf numbers and fields: Intel SDM volume 2A "CPUID", AMD APM volume 3 appendix E.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// Leaf 1 ECX: virtual machine extensions of Intel.
const VMX: u32 = 1 << 5;
/// Leaf 1 ECX: a local APIC timer armed by a TSC value.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1 ECX: a hypervisor is present.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1 EDX and leaf 0x8000_0001 ECX: more than one logical processor in a package.
const MULTITHREADED: u32 = 1 << 28;
/// Leaf 0x8000_0001 ECX: virtual machine extensions of AMD.
const SVM: u32 = 1 << 2;
/// Leaf 0x8000_0001 ECX: leaves 0x8000_001d and 0x8000_001e are there (`TopologyExtensions`).
const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;
/// Leaf 0, EBX, EDX and ECX: "AuthenticAMD".
const AMD: [u32; 3] = [0x6874_7541, 0x6974_6e65, 0x444d_4163];
/// Leaf 0x8000_0001 ECX: `CmpLegacy`, cores rather than threads.
const CORES_NOT_THREADS: u32 = 1 << 1;

/// The vCPUs of a machine as its guest sees them: one package, one or two threads a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// 1 to 32.
    pub vcpus: u8,
    /// Two threads a core.
    pub smt: bool,
}

impl Topology {
    fn threads_per_core(self) -> u32 {
        if self.smt && self.vcpus > 1 { 2 } else { 1 }
    }

    /// How many low bits of an APIC id tell `count` siblings apart.
    fn bits(count: u32) -> u32 {
        count.next_power_of_two().trailing_zeros()
    }
}

/// A table for one machine: built once, then made each vCPU's own by [`CpuidTable::for_vcpu`].
pub struct CpuidTable {
    entries: Vec<kvm_cpuid_entry2>,
    topology: Topology,
    /// Topology is told in AMD's own leaf, too.
    in_amds_way: bool,
}

impl CpuidTable {
    /// From what KVM supports. `deadline_timer` says whether its local APIC has that timer; KVM leaves
    /// the bit to us.
    pub fn new(supported: &CpuId, topology: Topology, deadline_timer: bool) -> Self {
        let mut entries: Vec<_> = supported
            .as_slice()
            .iter()
            .filter(|entry| !matches!(entry.function, 0xb | 0x1f | 0x8000_001e | 0x8000_000a))
            .copied()
            .collect();
        for entry in &mut entries {
            mask(entry, topology, deadline_timer);
        }
        if let Some(lowest) = entries.iter_mut().find(|entry| entry.function == 0) {
            lowest.eax = lowest.eax.clamp(0xb, 0x1e);
        }
        let in_amds_way = tell_in_amds_way(&mut entries, topology);
        Self { entries, topology, in_amds_way }
    }

    /// The table of vCPU `index`.
    pub fn for_vcpu(&self, index: u8) -> Result<CpuId, crate::kvm::KvmError> {
        let id = u32::from(index);
        let mut entries = self.entries.clone();
        for entry in &mut entries {
            if entry.function == 1 {
                entry.ebx = entry.ebx & 0x0000_ff00 | id << 24 | u32::from(self.topology.vcpus) << 16;
            }
        }
        entries.extend(self.extended_topology(id));
        let threads = self.topology.threads_per_core();
        if self.in_amds_way {
            let core = id / threads;
            entries.push(kvm_cpuid_entry2 {
                function: 0x8000_001e,
                eax: id,
                ebx: (threads - 1) << 8 | core,
                ..Default::default()
            });
        }
        CpuId::from_entries(&entries).map_err(|_| crate::kvm::KvmError::Table("CPUID leaves"))
    }

    /// Leaf 0xb: threads, cores, and the end of the list.
    fn extended_topology(&self, id: u32) -> [kvm_cpuid_entry2; 3] {
        let threads = self.topology.threads_per_core();
        let vcpus = u32::from(self.topology.vcpus);
        let level = |index, shift, count, kind: u32| kvm_cpuid_entry2 {
            function: 0xb,
            index,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax: shift,
            ebx: count,
            ecx: kind << 8 | index,
            edx: id,
            ..Default::default()
        };
        [
            level(0, Topology::bits(threads), threads, 1),
            level(1, Topology::bits(vcpus), vcpus, 2),
            level(2, 0, 0, 0),
        ]
    }
}

/// Whether leaf 0x8000_001e tells the topology. AMD's processors tell of threads there alone: one that is asked for
/// them gets the leaf even where the host has none.
fn tell_in_amds_way(entries: &mut [kvm_cpuid_entry2], topology: Topology) -> bool {
    if entries.iter().any(|entry| entry.function == 0x8000_001d) {
        return true;
    }
    let amd = entries.iter().any(|entry| entry.function == 0 && [entry.ebx, entry.edx, entry.ecx] == AMD);
    let wanted = amd && topology.threads_per_core() > 1;
    if wanted {
        for entry in entries {
            match entry.function {
                0x8000_0000 => entry.eax = entry.eax.max(0x8000_001e),
                0x8000_0001 => entry.ecx |= TOPOLOGY_EXTENSIONS,
                _ => {}
            }
        }
    }
    wanted
}

/// Cuts and completes one leaf, alike for every vCPU.
fn mask(entry: &mut kvm_cpuid_entry2, topology: Topology, deadline_timer: bool) {
    let vcpus = u32::from(topology.vcpus);
    let threads = topology.threads_per_core();
    match entry.function {
        1 => {
            entry.ecx = entry.ecx & !VMX & !TSC_DEADLINE | HYPERVISOR;
            if deadline_timer {
                entry.ecx |= TSC_DEADLINE;
            }
            entry.edx = set(entry.edx, MULTITHREADED, vcpus > 1);
        }
        // Caches: how many logical processors share each one, and how many cores the package has.
        4 if entry.eax & 0x1f != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level < 3 { threads } else { vcpus };
            entry.eax = entry.eax & 0x3fff
                | (sharing.next_power_of_two() - 1) << 14
                | ((vcpus / threads).next_power_of_two() - 1) << 26;
        }
        // Performance counters: none, and so no probing of their registers.
        0xa | 0x8000_0022 => {
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
        }
        0x8000_0001 => {
            entry.ecx &= !SVM;
            entry.ecx = set(entry.ecx, CORES_NOT_THREADS, vcpus > 1 && threads == 1);
        }
        0x8000_0008 => {
            entry.ecx = Topology::bits(vcpus) << 12 | (vcpus - 1);
        }
        0x8000_001d if entry.eax & 0x1f != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level < 3 { threads } else { vcpus };
            entry.eax = entry.eax & 0x3fff | (sharing - 1) << 14;
        }
        _ => {}
    }
}

fn set(word: u32, bit: u32, on: bool) -> u32 {
    if on { word | bit } else { word & !bit }
}

#[cfg(test)]
#[path = "cpuid_tests.rs"]
mod tests;
