//! Where vCPUs wait while their machine is paused, and hear that it ends.
//!
//! A vCPU looks at the gate only when it has left its guest for a signal or a kick: the way of an ordinary
//! exit costs nothing. Whoever closes the gate kicks every vCPU afterwards; a kick makes the present or next
//! `KVM_RUN` return at once, with the access that it may have been in the middle of completed. So a vCPU that
//! waits here has no state outside KVM.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long vCPUs may take to leave their guests: as long as Firecracker waits for them.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the vCPUs of a machine shall do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    Run,
    Wait,
    End,
}

#[derive(Debug, Default)]
struct Inside {
    wanted: Wanted,
    /// vCPUs whose threads run.
    alive: usize,
    /// Those of them that wait here.
    waiting: usize,
}

/// The gate of one machine's vCPUs.
#[derive(Debug, Default)]
pub struct Gate {
    inside: Mutex<Inside>,
    /// What is wanted has changed.
    changed: Condvar,
    /// A vCPU came to wait, or ended.
    arrived: Condvar,
}

/// A vCPU's place at the gate; it counts until this is dropped.
pub(super) struct Place(Arc<Gate>);

impl Gate {
    /// Counts a vCPU in.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        self.inside().alive += 1;
        Place(Arc::clone(self))
    }

    /// Closes the gate. Kick every vCPU, then [`Gate::await_all`].
    pub fn close(&self) {
        self.want(Wanted::Wait);
    }

    /// Waits until every vCPU waits or has ended; tells whether all came in time.
    pub fn await_all(&self) -> bool {
        let missing = |inside: &mut Inside| inside.waiting < inside.alive;
        let waited = self.arrived.wait_timeout_while(self.inside(), PATIENCE, missing);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Lets every vCPU go on.
    pub fn open(&self) {
        self.want(Wanted::Run);
    }

    /// Makes every vCPU end. Kick them all.
    pub fn end(&self) {
        self.want(Wanted::End);
    }

    fn want(&self, wanted: Wanted) {
        let mut inside = self.inside();
        // An end is final.
        if inside.wanted != Wanted::End {
            inside.wanted = wanted;
        }
        drop(inside);
        self.changed.notify_all();
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits as long as the gate is closed, after a call of `before` if it is; tells whether to go on.
    pub fn pass(&self, before: impl FnOnce()) -> bool {
        if self.0.inside().wanted == Wanted::Wait {
            before();
        }
        let mut inside = self.0.inside();
        if inside.wanted == Wanted::Wait {
            inside.waiting += 1;
            self.0.arrived.notify_all();
            let closed = |inside: &mut Inside| inside.wanted == Wanted::Wait;
            inside = self.0.changed.wait_while(inside, closed).unwrap_or_else(PoisonError::into_inner);
            inside.waiting -= 1;
        }
        inside.wanted == Wanted::Run
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.inside().alive -= 1;
        self.0.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn an_open_gate_holds_nobody() {
        let gate = Arc::<Gate>::default();
        let guest = gate.enter();
        assert!(guest.pass(|| panic!("it is open")));
        gate.end();
        assert!(!guest.pass(|| panic!("it is open")));
        gate.open();
        assert!(!guest.pass(|| ()), "an end is final");
    }

    #[test]
    fn everybody_waits_or_has_ended_and_goes_on_together() {
        let gate = Arc::<Gate>::default();
        let (passes, told) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let place = gate.enter();
                let (passes, told) = (&passes, &told);
                scope.spawn(move || {
                    while place.pass(|| _ = told.fetch_add(1, Ordering::SeqCst)) {
                        passes.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                    }
                });
            }
            // One that ends by itself.
            let place = gate.enter();
            scope.spawn(|| drop(place));
            for _ in 0..100 {
                gate.close();
                gate.close();
                assert!(gate.await_all());
                let before = passes.load(Ordering::SeqCst);
                std::thread::yield_now();
                assert_eq!(passes.load(Ordering::SeqCst), before);
                gate.open();
            }
            assert!(told.load(Ordering::SeqCst) >= 4);
            gate.close();
            gate.await_all();
            gate.end();
        });
        assert!(gate.await_all(), "nobody is left");
    }
}
