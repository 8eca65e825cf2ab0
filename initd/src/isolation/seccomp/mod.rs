//! System call filters: the specification's own, or the default profile, and what holds for all.
#![allow(unsafe_code, reason = "seccomp(2) takes a pointer to the filter; no safe wrapper takes ours")]

mod filter;
mod names;
mod profile;
#[cfg(any(test, feature = "fuzzing"))]
pub mod simulator;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use bulkhead_protocol::oci::{Seccomp, SyscallArgument, SyscallRule};

use super::capabilities::Sets;
use filter::{
    ALLOW, Comparison, Condition, ERRNO, Filter, KILL_PROCESS, KILL_THREAD, LOG, NOTIFY, Rule, TRACE, TRAP,
};

/// The actions that are known.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// The comparisons that are known.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// The processors whose system calls are judged here; those of others end the process.
pub const ARCHITECTURES: [&str; 1] = ["SCMP_ARCH_X86_64"];

/// The processors that a filter may name besides.
const FOREIGN: &str = "X86 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X \
                       PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB NATIVE";

/// The flags that are known.
pub const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// Not in this version of the libc crate for this target: `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;

/// What goes wrong with system call filters.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// An action that does not exist or that is not offered.
    #[error("linux.seccomp names the action {0}, which is not offered")]
    Action(String),
    /// A comparison that does not exist.
    #[error("linux.seccomp.syscalls.args.op cannot be {0}: there is no such comparison")]
    Operator(String),
    /// An argument that no system call has.
    #[error("linux.seccomp.syscalls.args.index cannot be {0}: there are 0 to 5")]
    Argument(u32),
    /// A processor that does not exist.
    #[error("linux.seccomp.architectures names {0}, and there is no such architecture")]
    Architecture(String),
    /// A flag that does not exist.
    #[error("linux.seccomp.flags names {0}, and there is no such flag")]
    Flag(String),
    /// An error number where nobody gets it.
    #[error("linux.seccomp has an error number for the action {0}, which gives none")]
    Errno(String),
    /// Notifications without somebody to notify.
    #[error("linux.seccomp.listenerPath is absent, and SCMP_ACT_NOTIFY needs it")]
    Listener,
    /// More rules than the kernel takes.
    #[error("The system call filter has {0} instructions; the kernel takes {max}", max = filter::MAX_INSTRUCTIONS)]
    TooLong(usize),
    /// The kernel refused it.
    #[error("Cannot install the system call filter")]
    Install(#[source] io::Error),
}

/// A filter, ready for the kernel.
pub struct Program {
    code: Vec<libc::sock_filter>,
    flags: libc::c_ulong,
}

impl Program {
    /// Compiles the container's own filter, or the default profile where it brings none.
    ///
    /// Sockets to the host (AF_VSOCK) are refused by both: network namespaces do not cover them.
    pub fn build(spec: Option<&Seccomp>, capabilities: &Sets) -> Result<Self, SeccompError> {
        let mut filter = match spec {
            Some(spec) => from_spec(spec)?,
            None => profile::default_profile(capabilities),
        };
        refuse_vsock(&mut filter);
        if filter.notifies() {
            return Err(SeccompError::Action("SCMP_ACT_NOTIFY".to_owned()));
        }
        Self::compile(&filter, 0)
    }

    /// Compiles a filter as it is.
    pub fn exact(spec: &Seccomp) -> Result<Self, SeccompError> {
        let filter = from_spec(spec)?;
        let mut flags = 0;
        for flag in &spec.flags {
            flags |= match flag.as_str() {
                // There is one thread.
                "SECCOMP_FILTER_FLAG_TSYNC" => 0,
                "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => WAIT_KILLABLE,
                other => return Err(SeccompError::Flag(other.to_owned())),
            };
        }
        if filter.notifies() {
            if spec.listener_path.as_deref().is_none_or(str::is_empty) {
                return Err(SeccompError::Listener);
            }
            flags |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        }
        Self::compile(&filter, flags)
    }

    /// The instructions.
    #[cfg(feature = "fuzzing")]
    pub fn code(&self) -> &[libc::sock_filter] {
        &self.code
    }

    /// Whether somebody is to be notified of calls.
    pub fn notifies(&self) -> bool {
        self.flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
    }

    fn compile(filter: &Filter, flags: libc::c_ulong) -> Result<Self, SeccompError> {
        let program = filter.compile();
        if program.len() > filter::MAX_INSTRUCTIONS {
            return Err(SeccompError::TooLong(program.len()));
        }
        Ok(Self { code: program, flags })
    }

    /// Puts the filter on the calling thread for good. Needs `no_new_privs` or `CAP_SYS_ADMIN`. Gives the descriptor
    /// where notifications are heard, if there are any.
    pub fn install(&mut self) -> Result<Option<OwnedFd>, SeccompError> {
        let length = u16::try_from(self.code.len()).map_err(|_| SeccompError::TooLong(self.code.len()))?;
        let program = libc::sock_fprog { len: length, filter: self.code.as_mut_ptr() };
        // SAFETY: `program` points to `length` instructions that live until the call returns; the kernel
        // copies them and writes nothing.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                self.flags,
                std::ptr::from_ref(&program),
            )
        };
        match i32::try_from(result) {
            Ok(listener) if listener > 0 && self.notifies() => {
                // SAFETY: with this flag the result is a new descriptor (close-on-exec), which nobody else has.
                Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) }))
            }
            Ok(0) => Ok(None),
            _ => Err(SeccompError::Install(io::Error::last_os_error())),
        }
    }
}

/// The number of a system call.
#[cfg(feature = "fuzzing")]
pub fn number_of(name: &str) -> Option<u32> {
    names::all().find(|(known, _)| *known == name).map(|(_, number)| number)
}

/// The first rule of `socket`: no AF_VSOCK. The kernel reads 32 bits of the argument, so the rule does too.
fn refuse_vsock(filter: &mut Filter) {
    let family = libc::AF_VSOCK.unsigned_abs().into();
    let condition = Condition { argument: 0, comparison: Comparison::Masked(u32::MAX.into()), value: family };
    let refuse = Rule { conditions: vec![condition], action: ERRNO | libc::EPERM.unsigned_abs() };
    for (_, number) in names::all().filter(|(name, _)| *name == "socket") {
        let default = filter.default_action;
        let always = || vec![Rule { conditions: Vec::new(), action: default }];
        filter.rules.entry(number).or_insert_with(always).insert(0, refuse.clone());
    }
}

fn from_spec(spec: &Seccomp) -> Result<Filter, SeccompError> {
    let known = |name: &str| FOREIGN.split_ascii_whitespace().any(|known| known == name);
    let strange = spec.architectures.iter().find(|name| {
        !ARCHITECTURES.contains(&name.as_str()) && !name.strip_prefix("SCMP_ARCH_").is_some_and(known)
    });
    if let Some(name) = strange {
        return Err(SeccompError::Architecture(name.clone()));
    }
    let default_action = action(&spec.default_action, spec.default_errno_ret)?;
    let numbers: HashMap<_, _> = names::all().collect();
    let mut rules: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for entry in &spec.syscalls {
        let alternatives = alternatives(entry)?;
        for number in entry.names.iter().filter_map(|name| numbers.get(name.as_str())) {
            rules.entry(*number).or_default().extend_from_slice(&alternatives);
        }
    }
    // The more particular rule is asked first, whatever the order it was written in.
    for list in rules.values_mut() {
        list.sort_by_key(|rule| rule.conditions.is_empty());
    }
    Ok(Filter { default_action, rules })
}

/// The rules of an entry. All its conditions must hold, unless several are of one argument: then, as runc and crun
/// have it, each is a rule by itself.
fn alternatives(entry: &SyscallRule) -> Result<Vec<Rule>, SeccompError> {
    let conditions = entry.args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let action = action(&entry.action, entry.errno_ret)?;
    let arguments: BTreeSet<_> = conditions.iter().map(|condition| condition.argument).collect();
    if arguments.len() == conditions.len() {
        return Ok(vec![Rule { conditions, action }]);
    }
    let alone = |condition| Rule { conditions: vec![condition], action };
    Ok(conditions.into_iter().map(alone).collect())
}

fn condition(argument: &SyscallArgument) -> Result<Condition, SeccompError> {
    let index = u8::try_from(argument.index).ok().filter(|index| *index < 6);
    let index = index.ok_or(SeccompError::Argument(argument.index))?;
    let (comparison, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (Comparison::NotEqual, argument.value),
        "SCMP_CMP_LT" => (Comparison::Less, argument.value),
        "SCMP_CMP_LE" => (Comparison::LessOrEqual, argument.value),
        "SCMP_CMP_EQ" => (Comparison::Equal, argument.value),
        "SCMP_CMP_GE" => (Comparison::GreaterOrEqual, argument.value),
        "SCMP_CMP_GT" => (Comparison::Greater, argument.value),
        "SCMP_CMP_MASKED_EQ" => (Comparison::Masked(argument.value), argument.value_two),
        other => return Err(SeccompError::Operator(other.to_owned())),
    };
    Ok(Condition { argument: index, comparison, value })
}

fn action(name: &str, errno: Option<u32>) -> Result<u32, SeccompError> {
    if errno.is_some_and(|errno| errno != 0) && !matches!(name, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE") {
        return Err(SeccompError::Errno(name.to_owned()));
    }
    // MAX_ERRNO of the kernel; larger values would not reach the process as errors.
    let errno = errno.unwrap_or(libc::EPERM.unsigned_abs()).min(4095);
    Ok(match name {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => ERRNO | errno,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_TRACE" => TRACE | errno,
        "SCMP_ACT_NOTIFY" => NOTIFY,
        other => return Err(SeccompError::Action(other.to_owned())),
    })
}

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod tests;
