//! `update`: changes the limits of a container.

use std::io::Read as _;
use std::path::Path;

use bulkhead_protocol::oci::{BlockIo, CpuLimit, MemoryLimit, PidsLimit, Resources, Status};

use super::arguments::{Flag, Words};
use super::error::OciError;
use super::{Runtime, bundle, start};
use crate::isolation::cgroup::Swap;
use crate::isolation::device_filter::{self, Rule};

/// What `update` takes.
pub const FLAGS: &[Flag] = &[
    Flag::value("resources").short('r'),
    Flag::value("blkio-weight"),
    Flag::value("cpu-period"),
    Flag::value("cpu-quota"),
    Flag::value("cpu-burst"),
    Flag::value("cpu-share"),
    Flag::value("cpu-idle"),
    Flag::value("cpu-rt-period"),
    Flag::value("cpu-rt-runtime"),
    Flag::value("cpuset-cpus"),
    Flag::value("cpuset-mems"),
    Flag::value("memory"),
    Flag::value("memory-reservation"),
    Flag::value("memory-swap"),
    Flag::value("pids-limit"),
];

/// The largest document of `--resources`, in bytes.
const MAX_RESOURCES: usize = 1 << 20;

/// Changes limits; those that are not named stay.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let (entry, record) = start::find(runtime, words.id()?)?;
    let status = record.status(&entry);
    if !matches!(status, Status::Created | Status::Running | Status::Paused) {
        return Err(start::state_error(&record, status, "updated"));
    }
    let asked = match words.value("resources") {
        Some("-") => {
            let mut text = Vec::new();
            let input = std::io::stdin().lock().take(MAX_RESOURCES as u64).read_to_end(&mut text);
            input.map_err(OciError::file("read", "standard input"))?;
            bundle::parse("standard input", &text)?
        }
        Some(path) => bundle::parse(path, &bundle::read(Path::new(path), MAX_RESOURCES)?)?,
        None => by_words(words)?,
    };
    let rules = (!asked.devices.is_empty()).then(|| Rule::of_bundle(&asked.devices)).transpose()?;
    let mut spec = entry.spec()?;
    let mut merged = spec.linux.resources.take().unwrap_or_default();
    let unified = asked.unified.clone();
    merge(&mut merged, asked);
    let cgroup = record.cgroup();
    // Files that were named once are written again only where they are named again.
    cgroup.limit(&Resources { unified, ..merged.clone() }, Swap::Open)?;
    if let Some(rules) = rules {
        device_filter::replace(cgroup.open()?, &rules)?;
    }
    spec.linux.resources = Some(merged);
    let text = serde_json::to_vec(&spec).map_err(|error| OciError::Output(error.into()))?;
    entry.replace_spec(&text).map(|()| 0)
}

fn by_words(words: &Words) -> Result<Resources, OciError> {
    let cpu = CpuLimit {
        shares: words.number("cpu-share")?,
        quota: words.number("cpu-quota")?,
        period: words.number("cpu-period")?,
        cpus: words.value("cpuset-cpus").map(ToOwned::to_owned),
        mems: words.value("cpuset-mems").map(ToOwned::to_owned),
        burst: words.number("cpu-burst")?,
        idle: words.number("cpu-idle")?,
        realtime_runtime: words.number("cpu-rt-runtime")?,
        realtime_period: words.number("cpu-rt-period")?,
    };
    let memory = MemoryLimit {
        limit: bytes(words, "memory")?,
        reservation: bytes(words, "memory-reservation")?,
        swap: bytes(words, "memory-swap")?,
        check_before_update: None,
    };
    let weight = words.number("blkio-weight")?;
    Ok(Resources {
        cpu: Some(cpu),
        memory: Some(memory),
        pids: words.number("pids-limit")?.map(|limit| PidsLimit { limit }),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        ..Resources::default()
    })
}

/// A number of bytes, or of KiB, MiB or GiB with a letter behind it.
fn bytes(words: &Words, flag: &'static str) -> Result<Option<i64>, OciError> {
    let Some(text) = words.value(flag) else { return Ok(None) };
    let wrong = || OciError::Number(flag, text.to_owned());
    let bare = text.trim_end_matches(['b', 'B', 'i']);
    let shift = match bare.bytes().last() {
        Some(b'k' | b'K') => 10,
        Some(b'm' | b'M') => 20,
        Some(b'g' | b'G') => 30,
        _ => 0,
    };
    let number = if shift == 0 { bare } else { &bare[..bare.len() - 1] };
    let number: i64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).map(Some).ok_or_else(wrong)
}

/// Puts what is asked for in the place of what was there.
fn merge(old: &mut Resources, new: Resources) {
    fn put<T>(old: &mut Option<T>, new: Option<T>) {
        if new.is_some() {
            *old = new;
        }
    }
    if let Some(new) = new.cpu {
        let old = old.cpu.get_or_insert_default();
        put(&mut old.shares, new.shares.filter(|shares| *shares != 0));
        put(&mut old.quota, new.quota.filter(|quota| *quota != 0));
        put(&mut old.period, new.period.filter(|period| *period != 0));
        put(&mut old.cpus, new.cpus.filter(|cpus| !cpus.is_empty()));
        put(&mut old.mems, new.mems.filter(|mems| !mems.is_empty()));
        put(&mut old.burst, new.burst);
        put(&mut old.idle, new.idle);
        put(&mut old.realtime_runtime, new.realtime_runtime);
        put(&mut old.realtime_period, new.realtime_period);
    }
    if let Some(new) = new.memory {
        let old = old.memory.get_or_insert_default();
        let limit = new.limit.filter(|limit| *limit != 0);
        if limit == Some(-1) && new.swap.is_none() {
            // Without a limit of memory there is none of both together.
            old.swap = Some(-1);
        }
        put(&mut old.limit, limit);
        put(&mut old.reservation, new.reservation.filter(|low| *low != 0));
        put(&mut old.swap, new.swap.filter(|swap| *swap != 0));
        old.check_before_update = new.check_before_update;
    }
    put(&mut old.pids, new.pids.filter(|pids| pids.limit != 0));
    put(&mut old.block_io, new.block_io);
    if !new.hugepage_limits.is_empty() {
        old.hugepage_limits = new.hugepage_limits;
    }
    if !new.devices.is_empty() {
        old.devices = new.devices;
    }
    old.rdma.extend(new.rdma);
    old.unified.extend(new.unified);
}

#[cfg(test)]
mod tests {
    use super::super::arguments;
    use super::*;

    fn asked(text: &str) -> Resources {
        let words = arguments::parse(FLAGS, text.split(' ').map(ToOwned::to_owned).collect(), false).unwrap();
        by_words(&words).unwrap()
    }

    #[test]
    fn what_is_not_named_stays() {
        let mut old = asked("--memory 64m --cpu-quota 5000 --pids-limit 10 web");
        merge(&mut old, asked("--cpu-period 20000 --memory-swap 1g web"));
        let (cpu, memory) = (old.cpu.unwrap(), old.memory.unwrap());
        assert_eq!((cpu.quota, cpu.period), (Some(5000), Some(20_000)));
        assert_eq!((memory.limit, memory.swap), (Some(64 << 20), Some(1 << 30)));
        assert_eq!(old.pids.unwrap().limit, 10);
    }

    #[test]
    fn sizes_have_units() {
        let memory = |text: &str| asked(&format!("--memory {text} web")).memory.unwrap().limit;
        assert_eq!(
            [memory("1024"), memory("1k"), memory("2GiB"), memory("-1")],
            [1024, 1024, 2 << 30, -1].map(Some)
        );
    }
}
