//! Which device nodes a container may open: an eBPF program on its cgroup (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! A process with `CAP_MKNOD` could otherwise make a node of the guest's own disks and write to them.
#![allow(unsafe_code, reason = "bpf(2) takes pointers to its attributes; rustix does not wrap it")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One kind of node that may be opened, read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedDevice {
    /// A block device, or else a character device.
    pub block: bool,
    /// Its major number.
    pub major: u32,
    /// Its minor number, or all of them.
    pub minor: Option<u32>,
}

const fn character(major: u32, minor: u32) -> AllowedDevice {
    AllowedDevice { block: false, major, minor: Some(minor) }
}

/// null, zero, full, random, urandom, tty, console, ptmx and all pseudo-terminals.
pub const STANDARD: [AllowedDevice; 9] = [
    character(1, 3),
    character(1, 5),
    character(1, 7),
    character(1, 8),
    character(1, 9),
    character(5, 0),
    character(5, 1),
    character(5, 2),
    AllowedDevice { block: false, major: 136, minor: None },
];

/// What goes wrong with the filter.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFilterError {
    /// The kernel refused the program.
    #[error("Cannot load the device filter")]
    Load(#[source] io::Error),
    /// The kernel refused to attach it.
    #[error("Cannot attach the device filter to the container's cgroup")]
    Attach(#[source] io::Error),
}

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;

/// struct bpf_insn: opcode, registers (destination in the low half), offset, immediate.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

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

/// Lets the processes of the cgroup open the standard devices and `more`, and no others.
pub fn restrict(cgroup: impl AsFd, more: &[AllowedDevice]) -> Result<(), DeviceFilterError> {
    let allowed: Vec<_> = STANDARD.iter().chain(more).copied().collect();
    let program = load(&compile(&allowed)).map_err(DeviceFilterError::Load)?;
    let mut attributes = AttachAttributes {
        target: cgroup.as_fd().as_raw_fd().unsigned_abs(),
        program: program.as_raw_fd().unsigned_abs(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: 0,
    };
    bpf(PROG_ATTACH, &mut attributes).map(drop).map_err(DeviceFilterError::Attach)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
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

/// The program: struct bpf_cgroup_dev_ctx (r1) is access << 16 | type, major, minor, 4 bytes each.
fn compile(allowed: &[AllowedDevice]) -> Vec<Instruction> {
    const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
    const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
    const COPY: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
    let op = |code, registers, offset, immediate| Instruction { code, registers, offset, immediate };
    let mut program = vec![
        op(LOAD_WORD, 0x12, 0, 0),
        op(COPY, 0x23, 0, 0),
        op(AND, 3, 0, 0xffff),
        op(SHIFT_RIGHT, 2, 0, 16),
        op(LOAD_WORD, 0x14, 4, 0),
        op(LOAD_WORD, 0x15, 8, 0),
    ];
    // Making a node (1) without opening it harms nobody.
    program.extend([op(JUMP_NOT_EQUAL, 2, 2, 1)]);
    program.extend(answer(1));
    for device in allowed {
        program.extend(allow(*device));
    }
    program.extend(answer(0));
    program
}

const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K

fn allow(device: AllowedDevice) -> Vec<Instruction> {
    let kind = if device.block { 1 } else { 2 };
    let wanted = [(3, Some(kind)), (4, Some(device.major)), (5, device.minor)];
    let checks: Vec<_> =
        wanted.into_iter().filter_map(|(register, value)| value.map(|value| (register, value))).collect();
    let mut code = Vec::new();
    let last = checks.len() + 1;
    for (index, (register, value)) in checks.into_iter().enumerate() {
        let offset = i16::try_from(last - index).unwrap_or(0);
        code.push(Instruction {
            code: JUMP_NOT_EQUAL,
            registers: register,
            offset,
            immediate: value.cast_signed(),
        });
    }
    code.extend(answer(1));
    code
}

fn answer(value: i32) -> [Instruction; 2] {
    const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
    const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT
    [
        Instruction { code: MOVE, registers: 0, offset: 0, immediate: value },
        Instruction { code: EXIT, registers: 0, offset: 0, immediate: 0 },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program for one request.
    fn permitted(allowed: &[AllowedDevice], access: u32, block: bool, major: u32, minor: u32) -> bool {
        let context = [access << 16 | if block { 1 } else { 2 }, major, minor];
        let program = compile(allowed);
        let (mut registers, mut at) = ([0_u32; 6], 0);
        loop {
            let op = program[at];
            at += 1;
            let (to, from) = (usize::from(op.registers & 15), usize::from(op.registers >> 4));
            match op.code {
                0x61 => registers[to] = context[usize::try_from(op.offset).unwrap() / 4],
                0x54 => registers[to] &= op.immediate.cast_unsigned(),
                0x74 => registers[to] >>= op.immediate,
                0xbc => registers[to] = registers[from],
                0xb7 => registers[to] = op.immediate.cast_unsigned(),
                0x55 if registers[to] != op.immediate.cast_unsigned() => {
                    at += usize::try_from(op.offset).unwrap();
                }
                0x55 => {}
                0x95 => return registers[0] == 1,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    #[test]
    fn only_named_devices_are_opened() {
        let more = [AllowedDevice { block: true, major: 254, minor: Some(3) }];
        let allowed: Vec<_> = STANDARD.iter().chain(&more).copied().collect();
        assert!(permitted(&allowed, 2, false, 1, 3), "null");
        assert!(permitted(&allowed, 6, false, 136, 77), "a pseudo-terminal");
        assert!(permitted(&allowed, 6, true, 254, 3), "what the specification names");
        assert!(!permitted(&allowed, 2, true, 254, 0), "the guest's disk");
        assert!(!permitted(&allowed, 2, true, 1, 3), "a block device of null's number");
        assert!(!permitted(&allowed, 2, false, 1, 1), "memory");
        assert!(permitted(&allowed, 1, true, 254, 0), "making a node alone");
        assert!(!permitted(&allowed, 3, true, 254, 0), "making and reading");
    }
}
