use bulkhead_protocol::oci::{CpuLimit, MemoryLimit, PidsLimit, Resources};

use super::{container_memory, counter, settings, weight};

fn written(resources: &Resources) -> Vec<String> {
    settings(resources).unwrap().into_iter().map(|(file, value)| format!("{file}={value}")).collect()
}

#[test]
fn shares_become_weights() {
    assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
    assert_eq!([0, u64::MAX].map(weight), [1, 10_000]);
}

#[test]
fn limits_become_files() {
    let resources = Resources {
        memory: Some(MemoryLimit { limit: Some(64 << 20), reservation: Some(1 << 20), swap: None }),
        cpu: Some(CpuLimit {
            shares: Some(1024),
            quota: Some(50_000),
            period: None,
            cpus: Some("0-1".into()),
        }),
        pids: Some(PidsLimit { limit: 100 }),
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
    };
    assert_eq!(written(&resources), ["memory.max=max", "cpu.max=max 5000", "pids.max=max"]);
    assert!(written(&Resources::default()).is_empty());
}

#[test]
fn swap_counts_with_memory() {
    let memory = |swap| Resources {
        memory: Some(MemoryLimit { limit: Some(100), reservation: None, swap: Some(swap) }),
        ..Resources::default()
    };
    assert_eq!(written(&memory(150))[1], "memory.swap.max=50");
    assert_eq!(written(&memory(-1))[1], "memory.swap.max=max");
    assert!(settings(&memory(50)).is_err());
}

#[test]
fn nonsense_is_refused() {
    let cpu = |cpu| Resources { cpu: Some(cpu), ..Resources::default() };
    assert!(settings(&cpu(CpuLimit { period: Some(10), ..CpuLimit::default() })).is_err());
    assert!(settings(&cpu(CpuLimit { quota: Some(10), ..CpuLimit::default() })).is_err());
    assert!(settings(&cpu(CpuLimit { quota: Some(-2), ..CpuLimit::default() })).is_err());
    assert!(settings(&cpu(CpuLimit { cpus: Some("0\nx".into()), ..CpuLimit::default() })).is_err());
}

#[test]
fn containers_leave_memory_to_the_guest() {
    assert_eq!(container_memory(1 << 30), (1 << 30) - (64 << 20));
    assert_eq!(container_memory(100 << 20), 88 << 20);
    assert!(container_memory(8 << 20) > 0);
}

#[test]
fn counters_are_found_by_their_whole_name() {
    let text = "low 0\noom 3\noom_kill 2\noom_group_kill 7\n";
    assert_eq!(counter(text, "oom_kill"), 2);
    assert_eq!(counter(text, "kill"), 0);
}
