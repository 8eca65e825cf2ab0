use std::collections::BTreeMap;

use bulkhead_protocol::oci::{
    BlockIo, CpuLimit, HugepageLimit, MemoryLimit, PidsLimit, Resources, ThrottleDevice,
};

use super::*;

fn written(resources: &Resources) -> Vec<String> {
    settings(resources, Swap::Refused)
        .unwrap()
        .into_iter()
        .map(|one| format!("{}={}", one.file, one.value))
        .collect()
}

#[test]
fn shares_become_weights() {
    assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
    assert_eq!([0, u64::MAX].map(weight), [1, 10_000]);
}

#[test]
fn limits_become_files() {
    let resources = Resources {
        memory: Some(MemoryLimit {
            limit: Some(64 << 20),
            reservation: Some(1 << 20),
            ..MemoryLimit::default()
        }),
        cpu: Some(CpuLimit {
            shares: Some(1024),
            quota: Some(50_000),
            period: None,
            cpus: Some("0-1".into()),
            ..CpuLimit::default()
        }),
        pids: Some(PidsLimit { limit: 100 }),
        ..Resources::default()
    };
    let expected = [
        "memory.max=67108864",
        "memory.low=1048576",
        "memory.swap.max=0",
        "cpu.weight=39",
        "cpu.max=50000 100000",
        "cpuset.cpus=0-1",
        "pids.max=100",
    ];
    assert_eq!(written(&resources), expected);
}

#[test]
fn no_limit_is_said_as_max() {
    let resources = Resources {
        memory: Some(MemoryLimit { limit: Some(-1), ..MemoryLimit::default() }),
        cpu: Some(CpuLimit { quota: Some(-1), period: Some(5000), ..CpuLimit::default() }),
        pids: Some(PidsLimit { limit: 0 }),
        ..Resources::default()
    };
    assert_eq!(written(&resources), ["memory.max=max", "cpu.max=max 5000", "pids.max=max"]);
    assert!(written(&Resources::default()).is_empty());
}

#[test]
fn swap_counts_with_memory() {
    let memory = |swap| Resources {
        memory: Some(MemoryLimit { limit: Some(100), swap: Some(swap), ..MemoryLimit::default() }),
        ..Resources::default()
    };
    assert_eq!(written(&memory(150))[1], "memory.swap.max=50");
    assert_eq!(written(&memory(-1))[1], "memory.swap.max=max");
    assert!(settings(&memory(50), Swap::Refused).is_err());
}

#[test]
fn nonsense_is_refused() {
    let cpu = |cpu| Resources { cpu: Some(cpu), ..Resources::default() };
    assert!(settings(&cpu(CpuLimit { period: Some(10), ..CpuLimit::default() }), Swap::Refused).is_err());
    assert!(settings(&cpu(CpuLimit { quota: Some(10), ..CpuLimit::default() }), Swap::Refused).is_err());
    assert!(settings(&cpu(CpuLimit { quota: Some(-2), ..CpuLimit::default() }), Swap::Refused).is_err());
    assert!(
        settings(&cpu(CpuLimit { cpus: Some("0\nx".into()), ..CpuLimit::default() }), Swap::Refused).is_err()
    );
}

#[test]
fn devices_and_huge_pages_are_limited() {
    let throttle = |rate| ThrottleDevice { major: 8, minor: 16, rate };
    let resources = Resources {
        block_io: Some(BlockIo {
            weight: Some(10),
            throttle_read_bps_device: vec![throttle(1 << 20)],
            throttle_write_iops_device: vec![throttle(7)],
            ..BlockIo::default()
        }),
        hugepage_limits: vec![HugepageLimit { page_size: "2MB".into(), limit: 4096 }],
        unified: BTreeMap::from([("memory.high".into(), "1000".into())]),
        ..Resources::default()
    };
    let expected = [
        "io.bfq.weight=10",
        "io.max=8:16 rbps=1048576",
        "io.max=8:16 wiops=7",
        "hugetlb.2MB.max=4096",
        "hugetlb.2MB.rsvd.max=4096",
        "memory.high=1000",
    ];
    assert_eq!(written(&resources), expected);
    assert_eq!([10, 100, 1000].map(io_weight), [1, 910, 10_000]);
}

#[test]
fn wrong_names_and_what_version_1_alone_has_are_refused() {
    let unified = |name: &str| Resources {
        unified: BTreeMap::from([(name.to_owned(), "1".to_owned())]),
        ..Resources::default()
    };
    for name in ["../x", "a/b", "nothing", "", ".x"] {
        assert!(settings(&unified(name), Swap::Open).is_err(), "{name}");
    }
    let cpu = CpuLimit { realtime_runtime: Some(1), ..CpuLimit::default() };
    assert!(settings(&Resources { cpu: Some(cpu), ..Resources::default() }, Swap::Open).is_err());
    let memory = MemoryLimit { swap: Some(100), ..MemoryLimit::default() };
    assert!(settings(&Resources { memory: Some(memory), ..Resources::default() }, Swap::Open).is_err());
    let page = HugepageLimit { page_size: "2/MB".into(), limit: 1 };
    let pages = Resources { hugepage_limits: vec![page], ..Resources::default() };
    assert!(settings(&pages, Swap::Open).is_err());
}
