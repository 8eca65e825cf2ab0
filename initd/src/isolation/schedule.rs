//! When a program runs: `process.scheduler`, `process.ioPriority`, and its execution domain.
#![allow(
    unsafe_code,
    reason = "sched_setattr, ioprio_set and personality have no safe form in the crates here"
)]

use std::io;

use bulkhead_protocol::oci::{IoPriority, Personality, Process, Scheduler};

/// What goes wrong with these.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// A property has a value that it cannot have.
    #[error("{property} cannot be {value}: {reason}")]
    Value {
        /// The property, as the specification names it.
        property: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// The kernel refused it.
    #[error("Cannot set {0}")]
    Set(&'static str, #[source] io::Error),
}

/// struct sched_attr, in its first version.
#[repr(C)]
#[derive(Debug, Default, PartialEq, Eq)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 1),
    ("SCHED_FLAG_RECLAIM", 2),
    ("SCHED_FLAG_DL_OVERRUN", 4),
    ("SCHED_FLAG_KEEP_POLICY", 8),
    ("SCHED_FLAG_KEEP_PARAMS", 16),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 32),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 64),
];

/// `IOPRIO_CLASS_*`, which stand above the 13 bits of the priority.
const CLASSES: [(&str, i32); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// `personality(2)`: PER_LINUX and PER_LINUX32.
const DOMAINS: [(&str, libc::c_ulong); 2] = [("LINUX", 0), ("LINUX32", 8)];

/// Says what is wrong, before anything is made.
pub fn check(process: &Process, personality: Option<&Personality>) -> Result<(), ScheduleError> {
    process.scheduler.as_ref().map(attributes).transpose()?;
    process.io_priority.as_ref().map(priority).transpose()?;
    personality.map(domain).transpose()?;
    Ok(())
}

/// Sets all of it for the calling thread, while it still has the capabilities.
pub fn apply(process: &Process, personality: Option<&Personality>) -> Result<(), ScheduleError> {
    if let Some(scheduler) = &process.scheduler {
        let attributes = attributes(scheduler)?;
        // SAFETY: the kernel reads as many bytes as the struct says it has, and it lives through the call.
        let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attributes), 0) };
        told("process.scheduler", result)?;
    }
    if let Some(asked) = &process.io_priority {
        const WHO_PROCESS: i32 = 1;
        // SAFETY: ioprio_set takes numbers alone.
        let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority(asked)?) };
        told("process.ioPriority", result)?;
    }
    if let Some(personality) = personality {
        // SAFETY: personality takes a number alone, and changes what later calls see.
        let result = unsafe { libc::personality(domain(personality)?) };
        told("linux.personality", result.into())?;
    }
    Ok(())
}

fn told(property: &'static str, result: libc::c_long) -> Result<(), ScheduleError> {
    if result < 0 { Err(ScheduleError::Set(property, io::Error::last_os_error())) } else { Ok(()) }
}

fn find<T: Copy>(
    property: &'static str,
    names: &[(&str, T)],
    name: &str,
    reason: &'static str,
) -> Result<T, ScheduleError> {
    let found = names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.ok_or_else(|| ScheduleError::Value { property, value: name.to_owned(), reason })
}

fn attributes(scheduler: &Scheduler) -> Result<Attributes, ScheduleError> {
    let policy = find("process.scheduler.policy", &POLICIES, &scheduler.policy, "there is no such policy")?;
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= find("process.scheduler.flags", &FLAGS, flag, "there is no such flag")?;
    }
    let wrong = |property, value: i32, reason| {
        Err(ScheduleError::Value { property, value: value.to_string(), reason })
    };
    let nice = scheduler.nice.unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return wrong("process.scheduler.nice", nice, "it is -20 to 19");
    }
    let priority = scheduler.priority.unwrap_or(0);
    let real_time = matches!(policy, 1 | 2);
    if real_time != (1..=99).contains(&priority) && (real_time || priority != 0) {
        let reason = "it is 1 to 99 for SCHED_FIFO and SCHED_RR, and 0 for others";
        return wrong("process.scheduler.priority", priority, reason);
    }
    Ok(Attributes {
        size: 48,
        policy,
        flags,
        nice,
        priority: priority.unsigned_abs(),
        runtime: scheduler.runtime.unwrap_or(0),
        deadline: scheduler.deadline.unwrap_or(0),
        period: scheduler.period.unwrap_or(0),
    })
}

fn priority(asked: &IoPriority) -> Result<i32, ScheduleError> {
    let class = find("process.ioPriority.class", &CLASSES, &asked.class, "there is no such class")?;
    if !(0..=7).contains(&asked.priority) {
        let value = asked.priority.to_string();
        let property = "process.ioPriority.priority";
        return Err(ScheduleError::Value { property, value, reason: "it is 0 to 7" });
    }
    Ok(class << 13 | asked.priority)
}

fn domain(personality: &Personality) -> Result<libc::c_ulong, ScheduleError> {
    if let Some(flag) = personality.flags.first() {
        let (value, property) = (flag.clone(), "linux.personality.flags");
        return Err(ScheduleError::Value { property, value, reason: "no flag is known" });
    }
    find("linux.personality.domain", &DOMAINS, &personality.domain, "it is LINUX or LINUX32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(policy: &str, priority: i32) -> Scheduler {
        Scheduler { policy: policy.into(), priority: Some(priority), ..Scheduler::default() }
    }

    #[test]
    fn policies_and_priorities_fit() {
        assert_eq!(size_of::<Attributes>(), 48);
        assert_eq!(attributes(&scheduler("SCHED_FIFO", 7)).unwrap().priority, 7);
        assert_eq!(attributes(&scheduler("SCHED_BATCH", 0)).unwrap().policy, 3);
        assert!(attributes(&scheduler("SCHED_RR", 0)).is_err());
        assert!(attributes(&scheduler("SCHED_OTHER", 5)).is_err());
        assert!(attributes(&scheduler("FIFO", 1)).is_err());
        let flag = Scheduler { flags: vec!["X".into()], ..scheduler("SCHED_OTHER", 0) };
        assert!(attributes(&flag).is_err());
    }

    #[test]
    fn classes_and_domains_are_known() {
        let asked = |class: &str, priority| IoPriority { class: class.into(), priority };
        assert_eq!(priority(&asked("IOPRIO_CLASS_BE", 4)).unwrap(), 2 << 13 | 4);
        assert!(priority(&asked("IOPRIO_CLASS_NONE", 0)).is_err());
        assert!(priority(&asked("IOPRIO_CLASS_RT", 8)).is_err());
        let personality = |domain: &str| Personality { domain: domain.into(), flags: vec![] };
        assert_eq!(domain(&personality("LINUX32")).unwrap(), 8);
        assert!(domain(&personality("BSD")).is_err());
    }
}
