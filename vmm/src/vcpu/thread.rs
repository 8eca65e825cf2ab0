//! The threads that vCPUs run on.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use super::run::{self, Buses, Ending};
use crate::kvm::{Kicker, Vcpu};

/// Enough for the run loop and the devices it calls.
const STACK: usize = 256 << 10;

/// A vCPU's thread does not start.
#[derive(Debug, thiserror::Error)]
pub enum VcpuError {
    /// The kick's signal has no handler.
    #[error("Cannot install the handler of the vCPUs' signal")]
    Signal(#[source] vmm_sys_util::errno::Error),
    /// No thread.
    #[error("Cannot start the thread of vCPU {0}")]
    Thread(u8, #[source] io::Error),
}

/// Makes the kick's signal interrupt system calls instead of ending the process.
pub fn prepare_signals() -> Result<(), VcpuError> {
    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    register_signal_handler(SIGRTMIN(), nothing).map_err(VcpuError::Signal)
}

/// A vCPU that runs.
pub struct VcpuThread {
    thread: JoinHandle<()>,
    kicker: Kicker,
}

impl VcpuThread {
    /// Starts to run `vcpu`. `report` is called once, when its guest ends the machine.
    pub fn start(
        mut vcpu: Vcpu,
        buses: Arc<Buses>,
        report: impl FnOnce(Ending) + Send + 'static,
    ) -> Result<Self, VcpuError> {
        let (index, kicker) = (vcpu.index(), vcpu.kicker());
        let place = buses.gate.enter();
        let thread = std::thread::Builder::new()
            .name(format!("vcpu-{index}"))
            .stack_size(STACK)
            .spawn(move || {
                if let Some(ending) = run::run(&mut vcpu, &buses, &place) {
                    report(ending);
                }
            })
            .map_err(|error| VcpuError::Thread(index, error))?;
        Ok(Self { thread, kicker })
    }

    /// Gets the vCPU out of its guest; its run loop then looks at the machine's gate.
    pub fn kick(&self) {
        self.kicker.request_exit();
        // Fails only for a thread that has ended, which needs no kick.
        let _ = self.thread.kill(SIGRTMIN());
    }

    /// Waits until the thread has ended.
    pub fn join(self) {
        // A panic on that thread has been reported by it.
        let _ = self.thread.join();
    }
}
