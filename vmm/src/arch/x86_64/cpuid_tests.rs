use super::*;

fn entry(function: u32, index: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function, index, ..Default::default() }
}

fn supported() -> CpuId {
    let full = |function| kvm_cpuid_entry2 { eax: !0, ebx: !0, ecx: !0, edx: !0, ..entry(function, 0) };
    let mut leaves: Vec<_> =
        [1, 0xa, 0xb, 0x8000_0001, 0x8000_0008, 0x8000_000a, 0x8000_001e].map(full).into();
    leaves.push(kvm_cpuid_entry2 { eax: 0x20, ..entry(0, 0) });
    leaves.push(kvm_cpuid_entry2 { eax: 1 | 3 << 5, ..entry(4, 3) });
    leaves.push(kvm_cpuid_entry2 { eax: 1 | 1 << 5, ..entry(0x8000_001d, 0) });
    CpuId::from_entries(&leaves).unwrap()
}

fn leaf(cpuid: &CpuId, function: u32, index: u32) -> Option<kvm_cpuid_entry2> {
    cpuid.as_slice().iter().find(|entry| (entry.function, entry.index) == (function, index)).copied()
}

fn table(vcpus: u8, smt: bool) -> CpuidTable {
    CpuidTable::new(&supported(), Topology { vcpus, smt }, true)
}

#[test]
fn nested_virtualization_is_hidden() {
    let cpuid = table(1, false).for_vcpu(0).unwrap();
    assert_eq!(leaf(&cpuid, 1, 0).unwrap().ecx & VMX, 0);
    assert_eq!(leaf(&cpuid, 0x8000_0001, 0).unwrap().ecx & SVM, 0);
    assert!(leaf(&cpuid, 0x8000_000a, 0).is_none());
}

#[test]
fn no_template_brings_nested_virtualization_back() {
    let register = |bits: &str| serde_json::json!({"register": "ecx", "bitmap": format!("0b{bits}")});
    let change = |leaf, modifiers| serde_json::json!({"leaf": leaf, "subleaf": "0x0", "flags": 0, "modifiers": modifiers});
    let asked = [
        // The bits of VMX and SSE3, and that of SVM.
        change("0x1", [register("1xxxx0")]),
        change("0x80000001", [register("1xx")]),
        change("0x8000000a", [register("1")]),
    ];
    let template = serde_json::from_value(serde_json::json!({"cpuid_modifiers": asked})).unwrap();
    let mut supported = supported();
    crate::arch::x86_64::template::change_cpuid(&mut supported, &template).unwrap();
    let cpuid = CpuidTable::new(&supported, Topology { vcpus: 1, smt: false }, true).for_vcpu(0).unwrap();
    assert_eq!(leaf(&cpuid, 1, 0).unwrap().ecx & (VMX | 1), 0, "SSE3 is gone as it was asked for");
    assert_eq!(leaf(&cpuid, 0x8000_0001, 0).unwrap().ecx & SVM, 0);
    assert!(leaf(&cpuid, 0x8000_000a, 0).is_none());
}

#[test]
fn every_vcpu_tells_its_own_apic_id() {
    let table = table(32, false);
    for index in 0..32 {
        let cpuid = table.for_vcpu(index).unwrap();
        let id = u32::from(index);
        assert_eq!(leaf(&cpuid, 1, 0).unwrap().ebx >> 24, id);
        assert_eq!(leaf(&cpuid, 0xb, 0).unwrap().edx, id);
        assert_eq!(leaf(&cpuid, 0xb, 1).unwrap().edx, id);
        assert_eq!(leaf(&cpuid, 0x8000_001e, 0).unwrap().eax, id);
    }
}

#[test]
fn topology_counts_threads_and_cores() {
    for (vcpus, smt, thread_bits, package_bits) in
        [(1, false, 0, 0), (2, true, 1, 1), (2, false, 0, 1), (3, false, 0, 2), (32, true, 1, 5)]
    {
        let cpuid = table(vcpus, smt).for_vcpu(0).unwrap();
        let threads = leaf(&cpuid, 0xb, 0).unwrap();
        let package = leaf(&cpuid, 0xb, 1).unwrap();
        assert_eq!((threads.eax, package.eax), (thread_bits, package_bits), "{vcpus} vCPUs, smt {smt}");
        assert_eq!(package.ebx, u32::from(vcpus));
        assert_eq!(leaf(&cpuid, 0x8000_0008, 0).unwrap().ecx & 0xff, u32::from(vcpus) - 1);
        assert_eq!(leaf(&cpuid, 1, 0).unwrap().edx & MULTITHREADED != 0, vcpus > 1);
    }
}

#[test]
fn one_vcpu_shares_no_cache_and_four_share_the_last() {
    assert_eq!(leaf(&table(1, false).for_vcpu(0).unwrap(), 4, 3).unwrap().eax >> 14 & 0xfff, 0);
    assert_eq!(leaf(&table(4, false).for_vcpu(0).unwrap(), 4, 3).unwrap().eax >> 14 & 0xfff, 3);
}

#[test]
fn performance_counters_are_absent() {
    let cpuid = table(1, false).for_vcpu(0).unwrap();
    assert_eq!(leaf(&cpuid, 0xa, 0).unwrap().eax, 0);
}

#[test]
fn the_deadline_timer_follows_kvm() {
    let without = CpuidTable::new(&supported(), Topology { vcpus: 1, smt: false }, false);
    assert_eq!(leaf(&without.for_vcpu(0).unwrap(), 1, 0).unwrap().ecx & TSC_DEADLINE, 0);
    assert_ne!(leaf(&table(1, false).for_vcpu(0).unwrap(), 1, 0).unwrap().ecx & TSC_DEADLINE, 0);
}

#[test]
fn threads_are_told_in_amds_way_where_they_are_asked_for() {
    let [ebx, edx, ecx] = AMD;
    let leaves = [
        kvm_cpuid_entry2 { eax: 0x10, ebx, edx, ecx, ..entry(0, 0) },
        kvm_cpuid_entry2 { eax: 0x8000_000a, ..entry(0x8000_0000, 0) },
        entry(0x8000_0001, 0),
    ];
    let supported = CpuId::from_entries(&leaves).unwrap();
    for smt in [true, false] {
        let cpuid = CpuidTable::new(&supported, Topology { vcpus: 4, smt }, true).for_vcpu(3).unwrap();
        let told = leaf(&cpuid, 0x8000_001e, 0).map(|leaf| (leaf.eax, leaf.ebx));
        // The second thread of the second core.
        assert_eq!(told, smt.then_some((3, 1 << 8 | 1)));
        let features = leaf(&cpuid, 0x8000_0001, 0).unwrap().ecx;
        assert_eq!(features & TOPOLOGY_EXTENSIONS != 0, smt);
        assert_eq!(leaf(&cpuid, 0x8000_0000, 0).unwrap().eax >= 0x8000_001e, smt);
    }
}
