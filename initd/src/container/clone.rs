//! `clone3`, and the few steps of the new process up to its exec.
//!
//! A process that changes its ids there makes the memory that it shares with process 1 one that cannot be dumped:
//! only the guest's root may look at either of them. Its exec gives it memory of its own.
#![allow(
    unsafe_code,
    reason = "clone3 and the exec behind it are one piece of assembly: no Rust may run between"
)]

use std::ffi::CString;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::spawn::SpawnError;
use super::stage;

/// Not in this version of the libc crate for this target: every handled signal is the default again.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// The child is made in the cgroup that the arguments name.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What a new process reads while it becomes this program. It stays where it is until then.
pub struct Orders {
    steps: Arc<Steps>,
    /// What `steps` points to.
    _words: [CString; 2],
    _arguments: Vec<usize>,
}

/// The numbers that the new process takes its system calls' arguments from.
#[repr(C)]
struct Steps {
    program: i64,
    path: usize,
    arguments: usize,
    environment: usize,
    /// The descriptor where it waits for its maps; -1 where it has the guest's users.
    gate: i64,
    word: AtomicI64,
    /// The result of the system call that failed.
    failure: AtomicI64,
}

impl Orders {
    /// `program` is run under the stage's name with `numbers`, as soon as the other end of `gate` says so.
    pub fn new(
        program: BorrowedFd<'_>,
        gate: Option<&UnixStream>,
        numbers: &str,
    ) -> Result<Self, SpawnError> {
        let argument = |text: &str| CString::new(text).map_err(|e| SpawnError::Clone(io::Error::other(e)));
        let words = [argument(stage::NAME)?, argument(numbers)?];
        // Behind the arguments' end there is the environment, which is empty.
        let arguments: Vec<usize> =
            words.iter().map(|word| word.as_ptr().expose_provenance()).chain([0, 0]).collect();
        let steps = Steps {
            program: program.as_raw_fd().into(),
            path: c"".as_ptr().expose_provenance(),
            arguments: arguments.as_ptr().expose_provenance(),
            environment: arguments[words.len() + 1..].as_ptr().expose_provenance(),
            gate: gate.map_or(-1, |gate| gate.as_raw_fd().into()),
            word: AtomicI64::new(0),
            failure: AtomicI64::new(0),
        };
        Ok(Self { steps: Arc::new(steps), _words: words, _arguments: arguments })
    }

    /// Whether the process waits for a word before it takes its steps.
    pub fn gated(&self) -> bool {
        self.steps.gate >= 0
    }

    /// Whether a process that has ended its steps has become the program.
    pub fn done(&self) -> Result<(), SpawnError> {
        match self.steps.failure.load(Ordering::Acquire) {
            0 => Ok(()),
            // The reaper finds the child, which nobody asked about.
            failure => Err(SpawnError::Exec(error(failure))),
        }
    }
}

/// Makes a process that follows `orders`. Without a gate it has done so when this returns.
pub fn clone(flags: u64, cgroup: BorrowedFd<'_>, orders: &Orders) -> Result<(i32, OwnedFd), SpawnError> {
    let mut pidfd: i32 = -1;
    let mut shared = libc::CLONE_VM | libc::CLONE_PIDFD;
    if !orders.gated() {
        shared |= libc::CLONE_VFORK;
    }
    let clone_arguments = libc::clone_args {
        flags: flags | u64::from(shared.unsigned_abs()) | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP,
        pidfd: (&raw mut pidfd).addr() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: u64::from(cgroup.as_raw_fd().unsigned_abs()),
    };
    let result = clone_and_exec(&clone_arguments, &orders.steps);
    if result < 0 {
        return Err(SpawnError::Clone(error(result)));
    }
    // SAFETY: the kernel has just made this descriptor for us (CLONE_PIDFD), and nobody else has it.
    let process = unsafe { OwnedFd::from_raw_fd(pidfd) };
    orders.done()?;
    Ok((i32::try_from(result).unwrap_or(0), process))
}

/// `clone3`, and what the new process does up to its exec. Returns in the caller alone.
fn clone_and_exec(arguments: &libc::clone_args, steps: &Steps) -> i64 {
    let result: i64;
    // SAFETY: the child shares our memory, but never leaves this block and never touches the stack, whose
    // pointer it shares with us: it makes system calls from registers, has no signal handlers
    // (CLONE_CLEAR_SIGHAND), and writes to two atomics of `Steps` alone. `Steps` and what it points to live
    // until the child has become another program or ended: without a gate this thread stands still so long
    // (CLONE_VFORK), with one `Gate` owns them and its drop waits. Both arrays end with zero. `syscall`
    // overwrites rcx and r11, and rax, which is an output; the child's other registers are its own.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, [r12 + {gate}]",
            "test rdi, rdi",
            "js 3f",
            "lea rsi, [r12 + {word}]",
            "mov edx, 1",
            "mov eax, {read}",
            "syscall",
            "cmp rax, 1",
            "jne 5f",
            "xor edi, edi",
            "xor esi, esi",
            "xor edx, edx",
            "mov eax, {setresgid}",
            "syscall",
            "test rax, rax",
            "jnz 4f",
            "mov eax, {setresuid}",
            "syscall",
            "test rax, rax",
            "jnz 4f",
            "3:",
            "mov rdi, [r12 + {program}]",
            "mov rsi, [r12 + {path}]",
            "mov rdx, [r12 + {arguments}]",
            "mov r10, [r12 + {environment}]",
            "mov r8d, {empty_path}",
            "mov eax, {execveat}",
            "syscall",
            "4:",
            "mov [r12 + {failure}], rax",
            "5:",
            "mov edi, 125",
            "mov eax, {exit_group}",
            "syscall",
            "ud2",
            "2:",
            gate = const offset_of!(Steps, gate),
            word = const offset_of!(Steps, word),
            program = const offset_of!(Steps, program),
            path = const offset_of!(Steps, path),
            arguments = const offset_of!(Steps, arguments),
            environment = const offset_of!(Steps, environment),
            failure = const offset_of!(Steps, failure),
            empty_path = const libc::AT_EMPTY_PATH,
            read = const libc::SYS_read,
            setresgid = const libc::SYS_setresgid,
            setresuid = const libc::SYS_setresuid,
            execveat = const libc::SYS_execveat,
            exit_group = const libc::SYS_exit_group,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") std::ptr::from_ref(arguments),
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") std::ptr::from_ref(steps),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// The error that a system call's result stands for.
fn error(result: i64) -> io::Error {
    io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO))
}
