//! The event loop behind devices: one that they share, and more for those that ask for threads of their own.
//!
//! Each device's worker sits in a [`Slot`] behind a mutex that the loop holds while the worker runs. Whoever
//! resets a device takes the worker out of its slot: that waits for a turn that is under way, never for the
//! loop itself, and works whether or not the loop runs. Workers never reach back into the transport's lock,
//! so a vCPU may hold that while it waits here.
//!
//! [`WorkerLoopHandle::suspend`] keeps every worker from its turns: a machine that is paused writes to no
//! guest memory and costs nothing, whatever comes on its descriptors. Readers (signals, the console's input)
//! go on.
//!
//! Locks: `slots` is never held while a slot is locked or a descriptor registered.

mod slot;
mod thread;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use self::slot::{Slot, Wake, Woken};
pub use self::thread::LoopThread;
use super::device::Worker;
use super::error::VirtioError;

/// How many events one system call brings.
const BATCH: usize = 32;
/// The slot number of [`Shared::nudge`].
const NUDGE: u32 = 0;

/// The loop; [`WorkerLoop::run`] it on a thread of its own.
pub struct WorkerLoop {
    handle: WorkerLoopHandle,
}

/// How others reach the loop. Cheap to clone.
#[derive(Clone)]
pub struct WorkerLoopHandle {
    shared: Arc<Shared>,
}

/// Names an attached worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerId(u32);

struct Shared {
    epoll: Epoll,
    /// Wakes the loop to look at what follows.
    nudge: EventFd,
    stopping: AtomicBool,
    suspended: AtomicBool,
    slots: Mutex<HashMap<u32, Arc<Slot>>>,
    next: AtomicU32,
}

impl WorkerLoop {
    /// A loop without workers.
    pub fn new() -> Result<WorkerLoop, VirtioError> {
        let epoll = Epoll::new().map_err(VirtioError::CreateLoop)?;
        let nudge = EventFd::new(EFD_NONBLOCK).map_err(VirtioError::CreateLoop)?;
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, Wake::Queue(0).pack(NUDGE));
        epoll.ctl(ControlOperation::Add, nudge.as_raw_fd(), event).map_err(VirtioError::CreateLoop)?;
        let shared = Shared {
            epoll,
            nudge,
            stopping: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            slots: Mutex::new(HashMap::new()),
            next: AtomicU32::new(NUDGE + 1),
        };
        Ok(WorkerLoop { handle: WorkerLoopHandle { shared: Arc::new(shared) } })
    }

    /// A way to reach this loop from elsewhere.
    pub fn handle(&self) -> WorkerLoopHandle {
        self.handle.clone()
    }

    /// Serves workers and readers until [`WorkerLoopHandle::stop`].
    pub fn run(self) -> Result<(), VirtioError> {
        let shared = &self.handle.shared;
        let mut events = [EpollEvent::default(); BATCH];
        // Queues whose worker stopped to let others go first.
        let mut unfinished: Vec<(u32, Wake)> = Vec::new();
        loop {
            let idle = unfinished.is_empty() || shared.suspended.load(Ordering::SeqCst);
            let timeout = if idle { -1 } else { 0 };
            let count = match shared.epoll.wait(timeout, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(VirtioError::Wait(error)),
            };
            let mut again = Vec::new();
            let woken = events.iter().take(count).map(|event| (Wake::unpack(event.data()), false));
            let unfinished_now = unfinished.drain(..).map(|entry| (entry, true));
            for ((id, wake), in_the_middle) in woken.chain(unfinished_now) {
                if id == NUDGE {
                    if shared.stopping.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    continue;
                }
                let slot = shared.slots().get(&id).cloned();
                let Some(slot) = slot else { continue };
                match slot.wake(&shared.epoll, wake) {
                    Woken::More if !again.contains(&(id, wake)) => again.push((id, wake)),
                    // What is new wakes the worker again when it is let go on; the middle of something does not.
                    Woken::Held if in_the_middle => again.push((id, wake)),
                    Woken::Done | Woken::More | Woken::Held => {}
                    Woken::Over => drop(shared.slots().remove(&id)),
                }
            }
            unfinished = again;
        }
    }
}

impl WorkerLoopHandle {
    /// Gives `worker` to the loop. It is woken for each of `queues` (event descriptors, by queue index) from
    /// now on. `on_broken` is called, on the loop's thread, when the worker asks for a reset; the worker is
    /// gone by then. It must not reach back into the loop.
    pub fn attach(
        &self,
        worker: Box<dyn Worker>,
        queues: &[EventFd],
        on_broken: Box<dyn Fn() + Send>,
    ) -> Result<WorkerId, VirtioError> {
        let id = self.shared.new_id();
        let slot = Slot::with_worker(id, worker, on_broken);
        self.shared.slots().insert(id, Arc::clone(&slot));
        let queues = queues.iter().map(AsRawFd::as_raw_fd);
        slot.listen_to_queues(&self.shared.epoll, queues).inspect_err(|_| self.detach(WorkerId(id)))?;
        Ok(WorkerId(id))
    }

    /// Takes a worker away and drops it, after the turn that it may be in.
    pub fn detach(&self, id: WorkerId) {
        let slot = self.shared.slots().remove(&id.0);
        if let Some(slot) = slot {
            slot.clear(&self.shared.epoll);
        }
    }

    /// Calls `ready` whenever `descriptor` is readable or at its end, until that returns false. To listen
    /// again, add it again, from anywhere but `ready` itself. Files that are always ready (regular files,
    /// `/dev/null`) are refused by the kernel.
    pub fn add_reader(
        &self,
        descriptor: RawFd,
        ready: Box<dyn FnMut() -> bool + Send>,
    ) -> Result<(), VirtioError> {
        // A number of its own: the last reader of the same descriptor may be on its way out only now.
        let failed = |source| VirtioError::Listen { descriptor, source };
        let own = duplicate(descriptor).map_err(failed)?;
        let id = self.shared.new_id();
        let number = own.as_raw_fd();
        let slot = Slot::with_reader(id, ready, own);
        self.shared.slots().insert(id, Arc::clone(&slot));
        slot.listen_to_reader(&self.shared.epoll, number).map_err(|source| {
            self.detach(WorkerId(id));
            failed(source)
        })
    }

    /// Keeps every worker from its turns until [`WorkerLoopHandle::resume`]. When this returns, no worker is in
    /// one, but for one that waits for a host that does not answer: its present turn is its last. Workers that are attached meanwhile are not held; with no vCPU running there are none.
    pub fn suspend(&self) {
        self.shared.suspended.store(true, Ordering::SeqCst);
        self.each(|slot| slot.suspend(&self.shared.epoll));
    }

    /// Lets workers have their turns again. What happened meanwhile wakes them.
    pub fn resume(&self) -> Result<(), VirtioError> {
        self.each(|slot| slot.resume(&self.shared.epoll));
        self.shared.suspended.store(false, Ordering::SeqCst);
        // For those that were in the middle of something.
        self.shared.nudge.write(1).map_err(VirtioError::Nudge)
    }

    fn each(&self, act: impl Fn(&Slot)) {
        let slots: Vec<_> = self.shared.slots().values().cloned().collect();
        slots.iter().for_each(|slot| act(slot));
    }

    /// Makes [`WorkerLoop::run`] return.
    pub fn stop(&self) -> Result<(), VirtioError> {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.nudge.write(1).map_err(VirtioError::Nudge)
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, HashMap<u32, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_id(&self) -> u32 {
        // A guest that resets a device a thousand times a second wraps this after seven weeks; skip the
        // nudge's number then.
        loop {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            if id != NUDGE && !self.slots().contains_key(&id) {
                return id;
            }
        }
    }
}

/// Another descriptor for the same file.
#[allow(unsafe_code, reason = "the number is the caller's, who may not own it as a type that can be cloned")]
fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a number that is not open is refused.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
#[path = "loop_tests.rs"]
mod tests;
