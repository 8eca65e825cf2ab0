//! config-linux.md: Control groups, all of cgroup v2.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::case::Case;
use crate::process::Holder;
use crate::trial::Trial;

const PATH: &str = "config-linux.md Cgroups Path";
const MEMORY: &str = "config-linux.md Memory";
const CPU: &str = "config-linux.md CPU";
const IO: &str = "config-linux.md Block IO";
const UNIFIED: &str = "config-linux.md Unified";
const CREATE: &str = "runtime.md Create: a property that cannot be applied is an error";
const MIB: u64 = 1 << 20;

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must(
        "cgroup.absolute_path",
        "config-linux.md Cgroups Path: absolute is relative to the mount point",
        |t| {
            let path = format!("/conformance/{}/own", t.id);
            t.set("/linux/cgroupsPath", json!(path))?;
            t.create()?;
            ensure!(
                t.proc_file("cgroup")?.trim() == format!("0::{path}"),
                "it is in {}",
                t.proc_file("cgroup")?
            );
            t.kill("KILL")?;
            t.wait()?;
            t.delete()
        },
    ),
    Case::must(
        "cgroup.same_value_same_place",
        "config-linux.md Cgroups Path: MUST consistently be the same place",
        |t| {
            t.set("/linux/cgroupsPath", json!(format!("relative-{}", t.id)))?;
            let mut places = Vec::new();
            for _ in 0..2 {
                t.create()?;
                places.push(t.proc_file("cgroup")?);
                t.kill("KILL")?;
                t.wait()?;
                t.delete()?;
            }
            ensure!(
                places.first() == places.last() && places.iter().all(|place| place.contains("relative-")),
                "{places:?}"
            );
            Ok(())
        },
    ),
    Case::must("cgroup.default_path", PATH, |t| {
        t.remove("/linux/cgroupsPath")?;
        t.create()?;
        let place = t.proc_file("cgroup")?;
        ensure!(!place.contains("conformance") && place.contains(&t.id), "it is in {place}");
        Ok(())
    }),
    Case::must("cgroup.process_is_in_it", PATH, |t| {
        t.launch("sleep 1000 & echo ready; wait")?;
        let processes = fs::read_to_string(t.cgroup()?.join("cgroup.procs"))?;
        ensure!(processes.lines().count() >= 2, "the processes are {processes:?}");
        Ok(())
    }),
    Case::should(
        "cgroup.not_empty",
        "config-linux.md Control groups: what is not fit for purpose is an error",
        |t| {
            t.control()?;
            let other = Holder::unshare(&[], t.deadline)?;
            let path = format!("/conformance/{}-taken", t.id);
            let folder = format!("/sys/fs/cgroup{path}");
            fs::create_dir_all(&folder)?;
            fs::write(Path::new(&folder).join("cgroup.procs"), other.id().to_string())?;
            t.set("/linux/cgroupsPath", json!(path))?;
            let refused = t.refused(false);
            drop(other);
            let _ = t.type_command(&["delete", "--force", &t.id.clone()]);
            let _ = fs::remove_dir(&folder);
            refused
        },
    ),
    Case::should(
        "cgroup.frozen",
        "config-linux.md Control groups: what is not fit for purpose is an error",
        |t| {
            t.control()?;
            let path = format!("/conformance/{}-frozen", t.id);
            let folder = format!("/sys/fs/cgroup{path}");
            fs::create_dir_all(&folder)?;
            fs::write(Path::new(&folder).join("cgroup.freeze"), "1")?;
            t.set("/linux/cgroupsPath", json!(path))?;
            t.deadline = std::time::Instant::now() + std::time::Duration::from_secs(6);
            let refused = t.refused(false);
            let _ = fs::write(Path::new(&folder).join("cgroup.freeze"), "0");
            let _ = fs::write(Path::new(&folder).join("cgroup.kill"), "1");
            let _ = fs::remove_dir(&folder);
            refused
        },
    ),
    Case::must("pids.limit", "config-linux.md PIDs", |t| {
        t.set("/linux/resources/pids", json!({ "limit": 77 }))?;
        t.limits("pids.max", "77")
    }),
    Case::must("pids.unlimited", "config-linux.md PIDs", |t| {
        t.set("/linux/resources/pids", json!({ "limit": -1 }))?;
        t.set("/linux/resources/memory", json!({ "limit": 64 * MIB }))?;
        t.limits("pids.max", "max")?;
        is(t, "memory.max", &(64 * MIB).to_string())
    }),
    Case::must("pids.limit_is_enforced", "config-linux.md PIDs", |t| {
        t.set("/linux/resources/pids", json!({ "limit": 3 }))?;
        t.script("for i in 1 2 3 4 5 6; do sleep 5 & done; echo all")?;
        let ran = t.run()?;
        ensure!(ran.status != 0 && !ran.stdout.contains("all"), "seven processes are there");
        Ok(())
    }),
    Case::must("memory.limit", MEMORY, |t| {
        limit(t, "memory", json!({ "limit": 64 * MIB }), "memory.max", 64 * MIB)
    }),
    Case::must("memory.reservation", MEMORY, |t| {
        limit(t, "memory", json!({ "limit": 64 * MIB, "reservation": 32 * MIB }), "memory.low", 32 * MIB)
    }),
    Case::must("memory.swap", "config-linux.md Memory: swap is memory and swap together", |t| {
        limit(t, "memory", json!({ "limit": 64 * MIB, "swap": 96 * MIB }), "memory.swap.max", 32 * MIB)
    }),
    Case::must("memory.unlimited", "config-linux.md Memory: -1 for unlimited", |t| {
        t.set("/linux/resources/pids", json!({ "limit": 55 }))?;
        t.set("/linux/resources/memory", json!({ "limit": -1, "swap": -1 }))?;
        t.limits("memory.max", "max")?;
        is(t, "memory.swap.max", "max")?;
        is(t, "pids.max", "55")
    }),
    Case::must("memory.limit_is_enforced", MEMORY, |t| {
        t.set("/linux/resources/memory", json!({ "limit": 16 * MIB, "swap": 16 * MIB }))?;
        // As much as fits without a limit: what takes all there is would be ended anyway.
        t.script("dd if=/dev/zero bs=1M count=64 2>/dev/null | tail >/dev/null; echo survived")?;
        let ran = t.run()?;
        ensure!(!ran.stdout.contains("survived") || ran.status != 0, "it took all it wanted");
        Ok(())
    }),
    Case::must("memory.swap_below_limit", CREATE, |t| {
        t.refuses(
            "/linux/resources/memory",
            json!({ "limit": 64 * MIB, "swap": 32 * MIB }),
            json!({ "limit": 64 * MIB, "swap": 64 * MIB }),
        )
    }),
    Case::must("cpu.quota_and_period", CPU, |t| {
        limit_text(t, "cpu", json!({ "quota": 40000, "period": 80000 }), "cpu.max", "40000 80000")
    }),
    Case::must("cpu.quota_alone", CPU, |t| {
        limit_text(t, "cpu", json!({ "quota": 40000 }), "cpu.max", "40000 100000")
    }),
    Case::must("cpu.period_alone", CPU, |t| {
        limit_text(t, "cpu", json!({ "period": 80000 }), "cpu.max", "max 80000")
    }),
    Case::must("cpu.quota_unlimited", CPU, |t| {
        limit_text(t, "cpu", json!({ "quota": -1, "period": 80000 }), "cpu.max", "max 80000")
    }),
    Case::must("cpu.burst", "config-linux.md CPU: burst", |t| {
        limit_text(
            t,
            "cpu",
            json!({ "quota": 40000, "period": 80000, "burst": 20000 }),
            "cpu.max.burst",
            "20000",
        )
    }),
    Case::must("cpu.shares", "config-linux.md CPU: shares, as cpu.weight", |t| {
        t.set("/linux/resources/cpu", json!({ "shares": 4096 }))?;
        t.create()?;
        let weight: u32 = fs::read_to_string(t.cgroup()?.join("cpu.weight"))?.trim().parse()?;
        ensure!(weight > 100, "the weight is {weight}");
        Ok(())
    }),
    Case::must("cpu.idle", "config-linux.md CPU: idle", |t| {
        limit_text(t, "cpu", json!({ "idle": 1 }), "cpu.idle", "1")
    }),
    Case::must("cpu.cpus", CPU, |t| {
        t.set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" }))?;
        t.prints(
            "grep _allowed_list /proc/self/status | tr -d '\\t' | tr '\\n' ' '; nproc",
            "Cpus_allowed_list:0 Mems_allowed_list:0 1",
        )
    }),
    Case::must("cpu.no_such_cpu", CREATE, |t| {
        t.refuses("/linux/resources/cpu", json!({ "cpus": "4000" }), json!({ "cpus": "0" }))
    }),
    Case::must("cpu.no_list", CREATE, |t| {
        t.refuses("/linux/resources/cpu", json!({ "cpus": "harbour" }), json!({ "cpus": "0" }))
    }),
    Case::must("cpu.period_too_long", CREATE, |t| {
        t.refuses(
            "/linux/resources/cpu",
            json!({ "quota": 50000, "period": 9_000_000 }),
            json!({ "quota": 50000, "period": 900_000 }),
        )
    }),
    Case::must("io.read_and_write_bytes", "config-linux.md Block IO: throttle*BpsDevice", |t| {
        let device = |rate: u64| json!([{ "major": 254, "minor": 0, "rate": rate }]);
        t.set(
            "/linux/resources/blockIO",
            json!({ "throttleReadBpsDevice": device(MIB), "throttleWriteBpsDevice": device(2 * MIB) }),
        )?;
        t.limits("io.max", "254:0 rbps=1048576 wbps=2097152 riops=max wiops=max")
    }),
    Case::must("io.read_and_write_operations", "config-linux.md Block IO: throttle*IOPSDevice", |t| {
        let device = |rate: u64| json!([{ "major": 254, "minor": 0, "rate": rate }]);
        t.set(
            "/linux/resources/blockIO",
            json!({ "throttleReadIOPSDevice": device(100), "throttleWriteIOPSDevice": device(200) }),
        )?;
        t.limits("io.max", "254:0 rbps=max wbps=max riops=100 wiops=200")
    }),
    Case::must("io.weight", IO, |t| {
        t.set("/linux/resources/blockIO", json!({ "weight": 500 }))?;
        t.create()?;
        let folder = t.cgroup()?;
        let text = fs::read_to_string(folder.join("io.bfq.weight"))
            .or_else(|_| fs::read_to_string(folder.join("io.weight")))?;
        ensure!(!text.contains("default 100"), "the weight is {text:?}");
        Ok(())
    }),
    Case::must("io.no_such_device", CREATE, |t| {
        let device =
            |major: u32| json!({ "throttleReadBpsDevice": [{ "major": major, "minor": 0, "rate": 1000 }] });
        t.refuses("/linux/resources/blockIO", device(4000), device(254))
    }),
    Case::must("hugepages.limit", "config-linux.md Huge page limits", |t| {
        t.set("/linux/resources/hugepageLimits", json!([{ "pageSize": "2MB", "limit": 4 * MIB }]))?;
        t.create()?;
        let folder = t.cgroup()?;
        let limits = ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"]
            .map(|file| fs::read_to_string(folder.join(file)).unwrap_or_default());
        ensure!(limits.iter().any(|limit| limit.trim() == "4194304"), "the limits are {limits:?}");
        Ok(())
    }),
    Case::must("hugepages.no_such_size", CREATE, |t| {
        let limit = |size: &str| json!([{ "pageSize": size, "limit": 4 * MIB }]);
        t.refuses("/linux/resources/hugepageLimits", limit("3MB"), limit("2MB"))
    }),
    Case::must("unified.known", UNIFIED, |t| {
        t.set("/linux/resources/unified", json!({ "memory.high": "33554432", "pids.max": "66" }))?;
        t.limits("memory.high", "33554432")?;
        is(t, "pids.max", "66")
    }),
    Case::must(
        "unified.unknown_is_written",
        "config-linux.md Unified: what is unknown MUST still be written",
        |t| {
            t.set(
                "/linux/resources/unified",
                json!({ "memory.oom.group": "1", "cgroup.max.descendants": "5" }),
            )?;
            t.limits("memory.oom.group", "1")?;
            is(t, "cgroup.max.descendants", "5")
        },
    ),
    Case::must(
        "unified.no_such_controller",
        "config-linux.md Unified: a controller that is not present is an error",
        |t| {
            t.refuses("/linux/resources/unified", json!({ "harbour.max": "1" }), json!({ "pids.max": "100" }))
        },
    ),
    Case::must("unified.no_path", CREATE, |t| {
        t.refuses(
            "/linux/resources/unified",
            json!({ "../cgroup.max.depth": "9" }),
            json!({ "cgroup.max.depth": "9" }),
        )
    }),
    Case::must("unified.over_the_fields", "config-linux.md Unified", |t| {
        t.set("/linux/resources/memory", json!({ "limit": 64 * MIB }))?;
        t.set("/linux/resources/unified", json!({ "memory.max": "33554432" }))?;
        t.limits("memory.max", "33554432")
    }),
    Case::must("rdt.without_resctrl", "config-linux.md IntelRdt: without resctrl an error", |t| {
        t.control()?;
        t.set("/linux/intelRdt", json!({ "closID": "guaranteed", "l3CacheSchema": "L3:0=7f0" }))?;
        t.refused(false)
    }),
];

fn limit(t: &mut Trial<'_>, part: &str, value: Value, file: &str, wanted: u64) -> Result<()> {
    limit_text(t, part, value, file, &wanted.to_string())
}

fn limit_text(t: &mut Trial<'_>, part: &str, value: Value, file: &str, wanted: &str) -> Result<()> {
    t.set(&format!("/linux/resources/{part}"), value)?;
    t.limits(file, wanted)
}

fn is(t: &Trial<'_>, file: &str, wanted: &str) -> Result<()> {
    let text = fs::read_to_string(t.cgroup()?.join(file))?;
    ensure!(text.trim() == wanted, "{file} is {:?} and not {wanted:?}", text.trim());
    Ok(())
}
