//! Which device nodes a container may open: an eBPF program on its cgroup (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! A process with `CAP_MKNOD` could otherwise make a node of the guest's own disks and write to them.
#![allow(unsafe_code, reason = "bpf(2) takes pointers to its attributes; rustix does not wrap it")]

mod program;
mod rules;

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

pub use rules::{Rule, RuleError};

/// What goes wrong with the filter.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFilterError {
    /// The kernel refused the program.
    #[error("Cannot load the device filter")]
    Load(#[source] io::Error),
    /// The kernel does not tell which filters there are.
    #[error("Cannot find the device filters of the container's cgroup")]
    Query(#[source] io::Error),
    /// The kernel refused to attach it.
    #[error("Cannot attach the device filter to the container's cgroup")]
    Attach(#[source] io::Error),
}

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;
/// The most filters that a group has (`BPF_CGROUP_MAX_PROGS`).
const MAX_ATTACHED: usize = 64;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`.
const ALLOW_MULTI: u32 = 2;

/// The part of union bpf_attr that loading a program reads.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The part of union bpf_attr that attaching a program reads.
#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// The part of union bpf_attr that asking for attached programs reads and writes.
#[repr(C)]
#[derive(Default)]
struct QueryAttributes {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    unused: u32,
}

/// The part of union bpf_attr that opening a program by its id reads.
#[repr(C)]
#[derive(Default)]
struct IdAttributes {
    id: u32,
    next: u32,
    open_flags: u32,
}

/// Lets the processes of the cgroup open what the rules allow. The last rule that fits counts; what no rule
/// names is refused. Groups below may have filters of their own.
pub fn restrict(cgroup: impl AsFd, rules: &[Rule]) -> Result<(), DeviceFilterError> {
    if rules.last() == Some(&Rule::EVERYTHING) {
        return Ok(());
    }
    let program = load(&program::compile(rules)).map_err(DeviceFilterError::Load)?;
    let mut attributes = AttachAttributes {
        target: cgroup.as_fd().as_raw_fd().unsigned_abs(),
        program: program.as_raw_fd().unsigned_abs(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &mut attributes).map(drop).map_err(DeviceFilterError::Attach)
}

/// Puts other rules in the place of those that the group has.
pub fn replace(cgroup: impl AsFd, rules: &[Rule]) -> Result<(), DeviceFilterError> {
    let mut old = [0_u32; MAX_ATTACHED];
    let mut query = QueryAttributes {
        target: cgroup.as_fd().as_raw_fd().unsigned_abs(),
        kind: ATTACH_CGROUP_DEVICE,
        programs: old.as_mut_ptr().addr() as u64,
        count: MAX_ATTACHED as u32,
        ..QueryAttributes::default()
    };
    bpf(PROG_QUERY, &mut query).map_err(DeviceFilterError::Query)?;
    // The new one comes first, so that there is never none.
    restrict(&cgroup, rules)?;
    for id in old.into_iter().take(query.count as usize) {
        let mut by_id = IdAttributes { id, ..IdAttributes::default() };
        let program = bpf(PROG_GET_FD_BY_ID, &mut by_id).map_err(DeviceFilterError::Query)?;
        // SAFETY: the kernel has just made this descriptor (close-on-exec) for us, and nobody else has it.
        let program = unsafe { OwnedFd::from_raw_fd(program) };
        let mut attributes = AttachAttributes {
            target: cgroup.as_fd().as_raw_fd().unsigned_abs(),
            program: program.as_raw_fd().unsigned_abs(),
            kind: ATTACH_CGROUP_DEVICE,
            flags: 0,
        };
        bpf(PROG_DETACH, &mut attributes).map_err(DeviceFilterError::Attach)?;
    }
    Ok(())
}

fn load(program: &[program::Instruction]) -> io::Result<OwnedFd> {
    let mut attributes = LoadAttributes {
        kind: TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).unwrap_or(u32::MAX),
        instructions: program.as_ptr().addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
        expected_attach_type: ATTACH_CGROUP_DEVICE,
        ..LoadAttributes::default()
    };
    let fd = bpf(PROG_LOAD, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: `attributes` is a live, exclusive struct of the size that is told; the pointers in it outlive
    // the call in both callers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(-1)) }
}
