//! What `linux.resources` means for a group's files (`config-linux.md`, "Control groups"; the kernel's
//! `cgroup-v2.rst`).

use std::borrow::Cow;
use std::fmt::Display;

use bulkhead_protocol::oci::{BlockIo, CpuLimit, HugepageLimit, MemoryLimit, Resources, ThrottleDevice};

use super::CgroupError;

/// What a container gets that has a limit of memory and says nothing of swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// None.
    Refused,
    /// As much as there is.
    Open,
}

/// What is written into a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The file.
    pub file: Cow<'static, str>,
    /// What is written.
    pub value: String,
    /// Another file and its value, where there is no such file; without a name, it is not missed.
    pub otherwise: Option<(&'static str, String)>,
}

fn setting(file: impl Into<Cow<'static, str>>, value: impl Display) -> Setting {
    Setting { file: file.into(), value: value.to_string(), otherwise: None }
}

fn refuse<T>(name: &'static str, value: impl Display, expected: &'static str) -> Result<T, CgroupError> {
    Err(CgroupError::Limit { name, value: value.to_string(), expected })
}

/// What to write into which file of the group, in order.
pub fn settings(resources: &Resources, swap: Swap) -> Result<Vec<Setting>, CgroupError> {
    let mut settings = Vec::new();
    if let Some(memory) = &resources.memory {
        memory_settings(memory, swap, &mut settings)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_settings(cpu, &mut settings)?;
    }
    if let Some(pids) = resources.pids {
        let value = if pids.limit > 0 { pids.limit.to_string() } else { "max".into() };
        settings.push(setting("pids.max", value));
    }
    if let Some(io) = &resources.block_io {
        io_settings(io, &mut settings)?;
    }
    hugepage_settings(&resources.hugepage_limits, &mut settings)?;
    for (device, limit) in &resources.rdma {
        let word =
            |name, value: Option<u32>| value.map(|value| format!(" {name}={value}")).unwrap_or_default();
        let words = word("hca_handle", limit.hca_handles) + &word("hca_object", limit.hca_objects);
        settings.push(setting("rdma.max", format!("{device}{words}")));
    }
    for (name, value) in &resources.unified {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !name.bytes().all(plain) || !name.contains('.') || name.starts_with('.') || name.contains("..") {
            return refuse("unified", name, "it names a file such as memory.high");
        }
        settings.push(setting(name.clone(), value));
    }
    Ok(settings)
}

fn memory_settings(memory: &MemoryLimit, none: Swap, settings: &mut Vec<Setting>) -> Result<(), CgroupError> {
    if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
        settings.push(setting("memory.max", bytes("memory.limit", limit)?));
    }
    if let Some(low) = memory.reservation.filter(|low| *low > 0) {
        settings.push(setting("memory.low", bytes("memory.reservation", low)?));
    }
    // Version 1 counts memory and swap together.
    let limit = memory.limit.unwrap_or(0);
    let value = match memory.swap {
        Some(-1) => "max".to_owned(),
        None | Some(0) if limit > 0 && none == Swap::Refused => "0".to_owned(),
        None | Some(0) => return Ok(()),
        Some(swap) if limit > 0 && swap >= limit => (swap - limit).to_string(),
        Some(swap) => {
            let expected = "it counts memory and swap together and is not below a memory limit";
            return refuse("memory.swap", swap, expected);
        }
    };
    settings.push(setting("memory.swap.max", value));
    Ok(())
}

fn bytes(name: &'static str, value: i64) -> Result<String, CgroupError> {
    match value {
        -1 => Ok("max".to_owned()),
        0.. => Ok(value.to_string()),
        _ => refuse(name, value, "it is in bytes, or -1"),
    }
}

fn cpu_settings(cpu: &CpuLimit, settings: &mut Vec<Setting>) -> Result<(), CgroupError> {
    let real_time = cpu.realtime_runtime.is_some_and(|value| value != 0)
        || cpu.realtime_period.is_some_and(|value| value != 0);
    if real_time {
        return refuse("cpu.realtimeRuntime", "set", "cgroup version 2 has nothing of the kind");
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        settings.push(setting("cpu.weight", weight(shares)));
    }
    let period = cpu.period.filter(|period| *period != 0);
    if period.is_some_and(|period| !(1000..=1_000_000).contains(&period)) {
        return refuse("cpu.period", period.unwrap_or(0), "it is 1000 to 1000000 microseconds");
    }
    match (cpu.quota, period) {
        (None | Some(0), None) => {}
        (None | Some(0 | -1), period) => {
            settings.push(setting("cpu.max", format!("max {}", period.unwrap_or(100_000))));
        }
        (Some(quota @ ..0), _) => return refuse("cpu.quota", quota, "it is in microseconds, or -1"),
        (Some(quota @ ..1000), _) => return refuse("cpu.quota", quota, "it is at least 1000 microseconds"),
        (Some(quota), period) => {
            settings.push(setting("cpu.max", format!("{quota} {}", period.unwrap_or(100_000))));
        }
    }
    settings.extend(cpu.burst.map(|burst| setting("cpu.max.burst", burst)));
    settings.extend(cpu.idle.map(|idle| setting("cpu.idle", idle)));
    for (name, file, list) in [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)]
    {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
        if !list.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'-')) {
            return refuse(name, list, "it is a list such as 0-1,3");
        }
        settings.push(setting(file, list));
    }
    Ok(())
}

/// `cpu.weight` (1 to 10000) for version 1's shares (2 to 262144), on the line that the OCI runtime
/// specification's implementations share.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// `io.weight` (1 to 10000) for version 1's weight (10 to 1000), likewise.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn io_settings(io: &BlockIo, settings: &mut Vec<Setting>) -> Result<(), CgroupError> {
    let devices =
        io.weight_device.iter().map(|device| (format!("{}:{} ", device.major, device.minor), device.weight));
    for (device, weight) in [(String::new(), io.weight)].into_iter().chain(devices) {
        let Some(weight) = weight.filter(|weight| *weight != 0) else { continue };
        if !(10..=1000).contains(&weight) {
            return refuse("blockIO.weight", weight, "it is 10 to 1000");
        }
        // The scheduler that has weights of its own is not in every kernel, and not always loaded.
        let otherwise = Some((
            "io.weight",
            format!("{}{}", if device.is_empty() { "default " } else { &device }, io_weight(weight)),
        ));
        settings.push(Setting { otherwise, ..setting("io.bfq.weight", format!("{device}{weight}")) });
    }
    let limits: [(&str, &[ThrottleDevice]); 4] = [
        ("rbps", &io.throttle_read_bps_device),
        ("wbps", &io.throttle_write_bps_device),
        ("riops", &io.throttle_read_iops_device),
        ("wiops", &io.throttle_write_iops_device),
    ];
    for (key, devices) in limits {
        for device in devices {
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            settings.push(setting("io.max", format!("{}:{} {key}={rate}", device.major, device.minor)));
        }
    }
    Ok(())
}

fn hugepage_settings(limits: &[HugepageLimit], settings: &mut Vec<Setting>) -> Result<(), CgroupError> {
    for limit in limits {
        let number = limit.page_size.trim_end_matches(|letter: char| letter.is_ascii_uppercase());
        let unit = &limit.page_size[number.len()..];
        if !matches!(unit, "KB" | "MB" | "GB")
            || number.is_empty()
            || !number.bytes().all(|b| b.is_ascii_digit())
        {
            return refuse("hugepageLimits.pageSize", &limit.page_size, "it is a size such as 2MB");
        }
        settings.push(setting(format!("hugetlb.{}.max", limit.page_size), limit.limit));
        let reserved = setting(format!("hugetlb.{}.rsvd.max", limit.page_size), limit.limit);
        settings.push(Setting { otherwise: Some(("", String::new())), ..reserved });
    }
    Ok(())
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
