//! vCPUs: a thread each, which runs the guest until the machine ends.

mod gate;
mod run;
mod thread;

pub use self::run::{Buses, Ending};
pub use self::thread::{VcpuError, VcpuThread, prepare_signals};
