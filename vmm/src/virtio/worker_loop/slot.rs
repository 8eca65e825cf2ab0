//! One worker or reader of the loop, and the descriptors that wake it.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::virtio::device::{Turn, Worker};
use crate::virtio::error::VirtioError;

/// Why a slot is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The driver notified this queue.
    Queue(u16),
    /// The descriptor with this token is ready.
    Descriptor(u16),
}

/// What became of a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// There is nothing left to do.
    Done,
    /// The worker stopped so that others get their turn.
    More,
    /// The worker is suspended.
    Held,
    /// The worker asked for a reset, or the reader had enough: it is gone.
    Over,
}

const DESCRIPTOR: u64 = 1 << 16;
/// How long a turn may go on before whoever suspends the worker does not wait for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nobody reads a queue's event.
const QUEUE_EVENTS: EventSet = EventSet::IN.union(EventSet::EDGE_TRIGGERED);

impl Wake {
    /// As an event's 64 bits of data: slot number, kind, index.
    pub fn pack(self, slot: u32) -> u64 {
        let wake = match self {
            Wake::Queue(index) => u64::from(index),
            Wake::Descriptor(token) => DESCRIPTOR | u64::from(token),
        };
        u64::from(slot) << 32 | wake
    }

    /// What [`Wake::pack`] packed.
    pub fn unpack(data: u64) -> (u32, Wake) {
        // The casts take fields of the word apart.
        let index = data as u16;
        let wake = if data & DESCRIPTOR == 0 { Wake::Queue(index) } else { Wake::Descriptor(index) };
        ((data >> 32) as u32, wake)
    }
}

/// A place in the loop.
pub struct Slot {
    id: u32,
    /// Only workers are ever suspended; readers go on.
    is_worker: bool,
    /// The worker gets no turn.
    suspended: AtomicBool,
    state: Mutex<State>,
}

struct State {
    body: Body,
    /// Descriptors that wake the slot for good.
    fixed: Vec<RawFd>,
    /// Descriptors that the worker listens to at the moment.
    listening: Vec<(RawFd, u16)>,
    /// None of its descriptors is registered, since it is suspended.
    silent: bool,
}

enum Body {
    Worker { worker: Box<dyn Worker>, on_broken: Box<dyn Fn() + Send> },
    Reader { ready: Box<dyn FnMut() -> bool + Send>, _descriptor: OwnedFd },
    Gone,
}

impl Slot {
    /// A slot with a device's worker; `on_broken` hears when that asks for a reset.
    pub fn with_worker(id: u32, worker: Box<dyn Worker>, on_broken: Box<dyn Fn() + Send>) -> Arc<Slot> {
        Slot::with_body(id, true, Body::Worker { worker, on_broken })
    }

    /// A slot with a callback, and the descriptor that is kept open for it.
    pub fn with_reader(id: u32, ready: Box<dyn FnMut() -> bool + Send>, own: OwnedFd) -> Arc<Slot> {
        Slot::with_body(id, false, Body::Reader { ready, _descriptor: own })
    }

    fn with_body(id: u32, is_worker: bool, body: Body) -> Arc<Slot> {
        let state = State { body, fixed: Vec::new(), listening: Vec::new(), silent: false };
        Arc::new(Slot { id, is_worker, suspended: AtomicBool::new(false), state: Mutex::new(state) })
    }

    /// Registers the queues' events, edge-triggered: nobody needs to read them, which saves a system call
    /// a notification. A queue that was notified before wakes the worker at once.
    pub fn listen_to_queues(
        &self,
        epoll: &Epoll,
        queues: impl Iterator<Item = RawFd>,
    ) -> Result<(), VirtioError> {
        let mut state = self.state();
        for (index, queue) in (0..).zip(queues) {
            let wake = Wake::Queue(index).pack(self.id);
            add(epoll, queue, QUEUE_EVENTS, wake)
                .map_err(|source| VirtioError::Listen { descriptor: queue, source })?;
            state.fixed.push(queue);
        }
        state.refresh(self.id, epoll);
        Ok(())
    }

    /// Registers the descriptor of a reader.
    pub fn listen_to_reader(&self, epoll: &Epoll, descriptor: RawFd) -> io::Result<()> {
        let mut state = self.state();
        add(epoll, descriptor, EventSet::IN, Wake::Descriptor(0).pack(self.id))?;
        state.fixed.push(descriptor);
        Ok(())
    }

    /// Lets the worker or reader have its turn.
    pub fn wake(&self, epoll: &Epoll, wake: Wake) -> Woken {
        let mut state = self.state();
        if self.suspended.load(Ordering::SeqCst) {
            state.silence(epoll);
            return Woken::Held;
        }
        let turn = match &mut state.body {
            Body::Worker { worker, .. } => match wake {
                Wake::Queue(index) => worker.queue_notified(index).ok(),
                Wake::Descriptor(token) => worker.descriptor_ready(token).ok(),
            },
            Body::Reader { ready, .. } => {
                return if ready() { Woken::Done } else { state.end(epoll) };
            }
            Body::Gone => None,
        };
        let Some(turn) = turn else { return state.end(epoll) };
        state.refresh(self.id, epoll);
        match turn {
            Turn::Done => Woken::Done,
            Turn::More => Woken::More,
        }
    }

    /// Lets a worker have no turn after the one that it may be in, and waits for the end of that: but not for
    /// one that does not end soon, such as a request to a disk that does not answer.
    pub fn suspend(&self, epoll: &Epoll) {
        if !self.is_worker {
            return;
        }
        self.suspended.store(true, Ordering::SeqCst);
        if let Some(mut state) = self.state_within(PATIENCE) {
            state.silence(epoll);
        }
    }

    /// Lets the worker have its turns again. Whatever is ready then wakes it: also a queue whose notification
    /// it has seen before, since nobody reads those, which is harmless.
    pub fn resume(&self, epoll: &Epoll) {
        if !self.suspended.swap(false, Ordering::SeqCst) {
            return;
        }
        // One that is in the same turn still has never been silenced.
        let Some(mut state) = self.state_within(PATIENCE) else { return };
        if !std::mem::take(&mut state.silent) {
            return;
        }
        if let Body::Worker { worker, .. } = &mut state.body
            && worker.resume().is_err()
        {
            state.end(epoll);
            return;
        }
        for (index, queue) in (0..).zip(&state.fixed) {
            // It was registered before, so that it can be.
            let _ = add(epoll, *queue, QUEUE_EVENTS, Wake::Queue(index).pack(self.id));
        }
        state.refresh(self.id, epoll);
    }

    /// The state, unless a turn goes on for longer.
    fn state_within(&self, patience: Duration) -> Option<MutexGuard<'_, State>> {
        let end = Instant::now() + patience;
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(state)) => return Some(state.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Stops listening and drops the worker or reader.
    pub fn clear(&self, epoll: &Epoll) {
        // The slot stays locked until the worker is dropped: who resets must not overtake who broke.
        let mut state = self.state();
        drop(state.clear(epoll));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Stops listening, and what works for the worker, until [`Slot::resume`].
    fn silence(&mut self, epoll: &Epoll) {
        if std::mem::replace(&mut self.silent, true) {
            return;
        }
        self.fixed.iter().for_each(|descriptor| remove(epoll, *descriptor));
        self.listening.drain(..).for_each(|(descriptor, _)| remove(epoll, descriptor));
        if let Body::Worker { worker, .. } = &mut self.body {
            worker.suspend();
        }
    }

    /// Makes what is listened to equal to what the worker wants.
    fn refresh(&mut self, id: u32, epoll: &Epoll) {
        let Body::Worker { worker, .. } = &self.body else { return };
        let wanted = worker.descriptors();
        if wanted == self.listening {
            return;
        }
        for (descriptor, _) in self.listening.iter().filter(|entry| !wanted.contains(entry)) {
            remove(epoll, *descriptor);
        }
        // A descriptor that cannot be waited on stays silent; asking again each time would not help.
        for (descriptor, token) in wanted.iter().filter(|entry| !self.listening.contains(entry)) {
            let _ = add(epoll, *descriptor, EventSet::IN, Wake::Descriptor(*token).pack(id));
        }
        self.listening = wanted;
    }

    /// Drops the worker or reader and tells who needs to know.
    fn end(&mut self, epoll: &Epoll) -> Woken {
        if let Body::Worker { worker, on_broken } = self.clear(epoll) {
            drop(worker);
            on_broken();
        }
        Woken::Over
    }

    /// Stops listening; what was in the slot is the caller's.
    fn clear(&mut self, epoll: &Epoll) -> Body {
        let listening = self.listening.drain(..).map(|(descriptor, _)| descriptor);
        for descriptor in listening.chain(self.fixed.drain(..)) {
            remove(epoll, descriptor);
        }
        std::mem::replace(&mut self.body, Body::Gone)
    }
}

fn add(epoll: &Epoll, descriptor: RawFd, events: EventSet, data: u64) -> io::Result<()> {
    epoll.ctl(ControlOperation::Add, descriptor, EpollEvent::new(events, data))
}

/// Fails only for a descriptor that is closed already, and then the kernel has forgotten it.
fn remove(epoll: &Epoll, descriptor: RawFd) {
    let _ = epoll.ctl(ControlOperation::Delete, descriptor, EpollEvent::default());
}
