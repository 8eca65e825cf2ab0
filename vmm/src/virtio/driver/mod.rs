//! The guest's side of a device, for tests: a driver that we did not write (the `virtio-drivers` crate), and
//! one that breaks every rule.

mod hal;
mod hostile;
mod window;

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub use self::hal::{ArenaHal, arena};
pub use self::hostile::{Buffer, Hostile, INDIRECT, NEXT, WRITE, hostile_memory};
pub use self::window::Window;
use super::device::VirtioDevice;
use super::mmio::MmioTransport;
use super::worker_loop::{WorkerLoop, WorkerLoopHandle};
use crate::memory::GuestMemory;

/// How long a device may take for anything in a test.
const PATIENCE: Duration = Duration::from_secs(10);

/// An event loop on its own thread, to plug devices into.
pub struct Machine {
    handle: WorkerLoopHandle,
    thread: Option<JoinHandle<()>>,
}

/// A device behind its window, and the interrupt line that it raises.
pub struct Plugged {
    pub transport: Arc<Mutex<MmioTransport>>,
    pub irq: EventFd,
}

impl Machine {
    pub fn new() -> Machine {
        let worker_loop = WorkerLoop::new().unwrap();
        let handle = worker_loop.handle();
        let thread = Some(std::thread::spawn(move || worker_loop.run().unwrap()));
        Machine { handle, thread }
    }

    pub fn handle(&self) -> WorkerLoopHandle {
        self.handle.clone()
    }

    pub fn plug(&self, device: impl VirtioDevice + 'static, memory: &GuestMemory) -> Plugged {
        let irq = EventFd::new(EFD_NONBLOCK).unwrap();
        let line = irq.try_clone().unwrap();
        let transport = MmioTransport::new(Box::new(device), memory.clone(), self.handle(), line).unwrap();
        Plugged { transport: Arc::new(Mutex::new(transport)), irq }
    }

    /// A device in the memory that the `virtio-drivers` crate uses.
    pub fn window(&self, device: impl VirtioDevice + 'static) -> Window {
        Window::new(self.plug(device, arena()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.handle.stop().unwrap();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// Waits until `ready` says so.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}
