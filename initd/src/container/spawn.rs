//! Makes a container's first process: this program again, from a sealed file in memory, straight into the
//! container's namespaces and cgroup.
//!
//! Process 1 is not forked: the child shares its memory until it has become the new program, as `vfork` does,
//! and runs nothing in between but one system call.
#![allow(
    unsafe_code,
    reason = "clone3 and the exec behind it are one piece of assembly: no Rust may run between"
)]

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::FdFlags;

use super::stage;

/// Not in this version of the libc crate for this target: every handled signal is the default again.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// The child is made in the cgroup that the arguments name.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What goes wrong while a process is made.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The sealed copy of this program could not be made.
    #[error("Cannot copy initd into sealed memory")]
    Seal(#[source] io::Error),
    /// A pipe, a socket or a file in memory could not be made.
    #[error("Cannot make the {0} of the process")]
    Descriptor(&'static str, #[source] io::Error),
    /// The kernel made no process.
    #[error("Cannot make a process in new namespaces")]
    Clone(#[source] io::Error),
    /// The process could not become initd.
    #[error("Cannot run initd's sealed copy in the new process")]
    Exec(#[source] io::Error),
}

/// This program, as containers' first processes run it.
pub struct Program {
    file: OwnedFd,
    sealed: Mutex<Option<OwnedFd>>,
}

impl Program {
    /// `file` is this program's own file, open for reading.
    pub fn new(file: OwnedFd) -> Self {
        Self { file, sealed: Mutex::new(None) }
    }

    /// Runs `action` with the sealed copy, which is made when it is first needed.
    ///
    /// A container that gets hold of its `/proc/self/exe` while it starts can neither write to it nor reach
    /// the file that process 1 runs.
    fn with_sealed<T>(
        &self,
        action: impl FnOnce(BorrowedFd<'_>) -> Result<T, SpawnError>,
    ) -> Result<T, SpawnError> {
        use std::os::fd::AsFd as _;
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = match sealed.take() {
            Some(copy) => copy,
            None => seal(&self.file).map_err(SpawnError::Seal)?,
        };
        action(sealed.insert(copy).as_fd())
    }
}

fn seal(file: &OwnedFd) -> io::Result<OwnedFd> {
    let copy = rustix::fs::memfd_create("initd", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let size = rustix::fs::fstat(file)?.st_size.unsigned_abs();
    let mut offset = 0;
    while offset < size {
        let count = usize::try_from(size - offset).unwrap_or(usize::MAX);
        if rustix::fs::sendfile(&copy, file, Some(&mut offset), count)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(copy)
}

/// A file in memory with this content, to be read from its start.
pub fn memory_file(content: &[u8]) -> Result<OwnedFd, SpawnError> {
    use std::io::Seek as _;
    let failed = |error| SpawnError::Descriptor("configuration", error);
    let memory = rustix::fs::memfd_create("config", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let mut file = File::from(memory);
    file.write_all(content).and_then(|()| file.rewind()).map_err(failed)?;
    Ok(file.into())
}

/// A process that has just been made.
pub struct Child {
    /// Its id in the guest's root namespace.
    pub pid: i32,
    /// Itself.
    pub process: OwnedFd,
}

/// Makes a process in the namespaces that `flags` names and in `cgroup`, and hands it `descriptors`, which it
/// finds in that order.
pub fn spawn(
    program: &Program,
    flags: u64,
    cgroup: BorrowedFd<'_>,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Child, SpawnError> {
    let numbers: Vec<_> = descriptors.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let argument = |text: &str| CString::new(text).map_err(|e| SpawnError::Clone(io::Error::other(e)));
    let words = [argument(stage::NAME)?, argument(&numbers.join(","))?];
    let arguments: [*const c_char; 3] = [words[0].as_ptr(), words[1].as_ptr(), std::ptr::null()];
    let environment: [*const c_char; 1] = [std::ptr::null()];
    let inheritable = |flag: FdFlags| {
        descriptors
            .iter()
            .try_for_each(|fd| rustix::io::fcntl_setfd(fd, flag))
            .map_err(|error| SpawnError::Descriptor("descriptors", error.into()))
    };
    program.with_sealed(|sealed| {
        // This thread alone makes processes, and it makes them under the program's lock.
        inheritable(FdFlags::empty())?;
        let child = clone_and_exec(flags, cgroup, sealed, &arguments, &environment);
        inheritable(FdFlags::CLOEXEC)?;
        child
    })
}

fn clone_and_exec(
    flags: u64,
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    arguments: &[*const c_char; 3],
    environment: &[*const c_char; 1],
) -> Result<Child, SpawnError> {
    let mut pidfd: i32 = -1;
    let vfork = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let clone_arguments = libc::clone_args {
        flags: flags | u64::from(vfork.unsigned_abs()) | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP,
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
    let mut failure: i64 = 0;
    let result: i64;
    // SAFETY: the parent stands still until the child has called execveat or ended (CLONE_VFORK), so that
    // memory and stack, which they share, have one user at a time. The child touches neither but for
    // `failure`, which outlives it; it makes two system calls from registers and never leaves this block. All
    // pointers are to live data: the arguments of both calls are borrowed by this function. `syscall`
    // overwrites rcx and r11, and rax, which is an output.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "mov rsi, r13",
            "mov eax, {execveat}",
            "syscall",
            "mov [r9], rax",
            "mov edi, 125",
            "mov eax, {exit_group}",
            "syscall",
            "ud2",
            "2:",
            execveat = const libc::SYS_execveat,
            exit_group = const libc::SYS_exit_group,
            inlateout("rax") libc::SYS_clone3 => result,
            inlateout("rdi") std::ptr::from_ref(&clone_arguments) => _,
            inlateout("rsi") size_of::<libc::clone_args>() => _,
            in("rdx") arguments.as_ptr(),
            in("r10") environment.as_ptr(),
            in("r8") libc::AT_EMPTY_PATH,
            in("r9") &raw mut failure,
            in("r12") i64::from(program.as_raw_fd()),
            in("r13") c"".as_ptr(),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    if result < 0 {
        return Err(SpawnError::Clone(error(result)));
    }
    // SAFETY: the kernel has just made this descriptor for us (CLONE_PIDFD), and nobody else has it.
    let process = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if failure != 0 {
        // The reaper finds the child, which nobody asked about.
        return Err(SpawnError::Exec(error(failure)));
    }
    Ok(Child { pid: i32::try_from(result).unwrap_or(0), process })
}

/// The error that a system call's result stands for.
fn error(result: i64) -> io::Error {
    io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO))
}
