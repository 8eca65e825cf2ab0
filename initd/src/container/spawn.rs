//! Makes a container's first process: this program again, from a file that it cannot write to, straight into the
//! container's namespaces and cgroup.
//!
//! Process 1 is not forked: the child shares its memory until it has become the new program, as `vfork` does,
//! and runs nothing in between but a few system calls.
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::FdFlags;
use rustix::mount::{MountAttrFlags, OpenTreeFlags};
use rustix::thread::ThreadNameSpaceType;

use super::clone::{self, Orders};
use crate::rootfs::setattr;

/// What goes wrong while a process is made.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Neither a read-only mount nor a sealed copy of this program could be made.
    #[error("Cannot copy initd into sealed memory")]
    Seal(#[source] io::Error),
    /// A pipe, a socket or a file in memory could not be made.
    #[error("Cannot make the {0} of the process")]
    Descriptor(&'static str, #[source] io::Error),
    /// The kernel made no process.
    #[error("Cannot make a process in new namespaces")]
    Clone(#[source] io::Error),
    /// The container's process namespace could not be entered.
    #[error("Cannot enter the container's process namespace")]
    Enter(#[source] io::Error),
    /// The process that waited for its user namespace is gone.
    #[error("Cannot let the process into its user namespace")]
    Gate(#[source] io::Error),
    /// The process could not become initd.
    #[error("Cannot run initd in the new process")]
    Exec(#[source] io::Error),
}

/// This program, as containers' first processes run it.
pub struct Program {
    file: OwnedFd,
    /// How it is kept from being written to.
    guard: fn(&OwnedFd) -> io::Result<OwnedFd>,
    guarded: Mutex<Option<OwnedFd>>,
}

impl Program {
    /// `file` is this program's own file, open for reading. Processes are made of a sealed copy of it.
    pub fn new(file: OwnedFd) -> Self {
        Self { file, guard: seal, guarded: Mutex::new(None) }
    }

    /// The same for who makes one process: a read-only mount of the file itself costs no copy. Where there can be
    /// none, there is a copy.
    pub fn once(file: OwnedFd) -> Self {
        let guard = |file: &OwnedFd| mount_read_only(file).or_else(|_| seal(file));
        Self { file, guard, guarded: Mutex::new(None) }
    }

    /// Runs `action` with the guarded program, which is made when it is first needed.
    ///
    /// A container that gets hold of its `/proc/self/exe` while it starts cannot write to it.
    fn with_guarded<T>(
        &self,
        action: impl FnOnce(BorrowedFd<'_>) -> Result<T, SpawnError>,
    ) -> Result<T, SpawnError> {
        let mut guarded = self.guarded.lock().unwrap_or_else(PoisonError::into_inner);
        let program = match guarded.take() {
            Some(program) => program,
            None => (self.guard)(&self.file).map_err(SpawnError::Seal)?,
        };
        action(guarded.insert(program).as_fd())
    }
}

/// A mount of this file alone that hangs in no tree: who reaches the file by what runs from it finds it read-only, and
/// the kernel changes such a mount for nobody but who holds it.
fn mount_read_only(file: &OwnedFd) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = rustix::mount::open_tree(file, "", flags)?;
    setattr::set(&mount, MountAttrFlags::MOUNT_ATTR_RDONLY, MountAttrFlags::empty(), false)?;
    Ok(mount)
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
    let failed = |error| SpawnError::Descriptor("configuration", error);
    let memory = rustix::fs::memfd_create("config", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    // Written so that it still stands at its beginning.
    let file = File::from(memory);
    file.write_all_at(content, 0).map_err(failed)?;
    Ok(file.into())
}

/// A short path of something that is open, for calls that take no handle. It holds in this process.
pub fn handle_path(file: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// A process that has just been made.
pub struct Child {
    /// Its id in the guest's root namespace.
    pub pid: i32,
    /// Itself.
    pub process: OwnedFd,
    /// Where it waits, if it has a user namespace of its own: nobody is in there before there are maps.
    pub gate: Option<Gate>,
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
    let inheritable = |flag: FdFlags| {
        descriptors
            .iter()
            .try_for_each(|fd| rustix::io::fcntl_setfd(fd, flag))
            .map_err(|error| SpawnError::Descriptor("descriptors", error.into()))
    };
    let gated = flags & u64::from(libc::CLONE_NEWUSER.unsigned_abs()) != 0;
    program.with_guarded(|guarded| {
        let (gate, other) = if gated {
            let (ours, other) = UnixStream::pair().map_err(|error| SpawnError::Descriptor("gate", error))?;
            (Some(ours), Some(other))
        } else {
            (None, None)
        };
        let orders = Orders::new(guarded, other.as_ref(), &numbers.join(","))?;
        // This thread alone makes processes, and it makes them under the program's lock.
        inheritable(FdFlags::empty())?;
        let made = clone::clone(flags, cgroup, &orders);
        // The new process alone has that end now, so that its closing is seen.
        drop(other);
        let made = made.map(|(pid, process)| {
            let gate = gate.map(|socket| Gate { socket, orders });
            Child { pid, process, gate }
        });
        inheritable(FdFlags::CLOEXEC)?;
        made
    })
}

/// Makes a process in the process namespace of `container`, a process; all its other namespaces are the caller's.
///
/// On a thread of its own, which ends: children that are made later shall not find themselves in there.
pub fn spawn_beside(
    program: &Program,
    container: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Child, SpawnError> {
    thread::scope(|scope| {
        let work = || {
            rustix::thread::move_into_thread_name_spaces(container, ThreadNameSpaceType::PROCESS_ID)
                .map_err(|error| SpawnError::Enter(error.into()))?;
            spawn(program, 0, cgroup, descriptors)
        };
        let thread = thread::Builder::new().spawn_scoped(scope, work).map_err(SpawnError::Enter)?;
        thread.join().unwrap_or_else(|_| Err(SpawnError::Enter(io::Error::other("its thread panicked"))))
    })
}

/// A process waits here, still without an image of its own, until its user namespace has maps.
///
/// It has to: an exec by somebody whom the namespace does not know would cost all capabilities.
pub struct Gate {
    socket: UnixStream,
    orders: Orders,
}

impl Gate {
    /// Lets the process become root of its namespace and this program; returns when it is.
    pub fn open(mut self) -> Result<(), SpawnError> {
        self.socket.write_all(&[1]).map_err(SpawnError::Gate)?;
        self.wait();
        self.orders.done()
    }

    /// Waits until the process has closed its end: by exec, or by its own.
    fn wait(&mut self) {
        let mut rest = [0];
        loop {
            match self.socket.read(&mut rest) {
                Ok(1) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

impl Drop for Gate {
    /// The process reads its orders from our memory: they may go when it has ended its steps.
    fn drop(&mut self) {
        // Where nobody has opened the gate, the process reads an end here, and ends.
        let _ = self.socket.shutdown(Shutdown::Write);
        self.wait();
    }
}
