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
use super::worker_loop::{LoopThread, WorkerLoop, WorkerLoopHandle};
use crate::memory::GuestMemory;

/// How long a device may take for anything in a test.
const PATIENCE: Duration = Duration::from_secs(10);

/// An event loop on its own thread, to plug devices into.
pub struct Machine {
    handle: WorkerLoopHandle,
    thread: Option<JoinHandle<()>>,
    /// Those of devices that have their own.
    threads: Mutex<Vec<LoopThread>>,
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
        Machine { handle, thread, threads: Mutex::default() }
    }

    pub fn handle(&self) -> WorkerLoopHandle {
        self.handle.clone()
    }

    pub fn plug(&self, device: impl VirtioDevice + 'static, memory: &GuestMemory) -> Plugged {
        let irq = EventFd::new(EFD_NONBLOCK).unwrap();
        let line = irq.try_clone().unwrap();
        let own: Vec<_> = (0..device.threads()).map(|_| LoopThread::start("own").unwrap()).collect();
        let mut hosts: Vec<_> = own.iter().map(LoopThread::handle).cloned().collect();
        if hosts.is_empty() {
            hosts.push(self.handle());
        }
        self.threads.lock().unwrap().extend(own);
        let transport = MmioTransport::new(Box::new(device), memory.clone(), hosts, line).unwrap();
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
