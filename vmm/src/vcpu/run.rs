//! The run loop: enter the guest, answer the exit, carry out what a device asked for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::gate::{Gate, Place};
use crate::bus::{Bus, Effect};
use crate::kvm::{Exit, GatheredWrites, Vcpu};
use crate::metrics::VcpuMetrics;

/// Why a machine ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The guest powered itself off.
    PowerOff,
    /// The guest reset itself.
    Reset,
    /// A processor of the guest met a triple fault.
    TripleFault,
    /// KVM or the host failed the guest; the sentence says how.
    Broken(String),
    /// The process was told to end by this signal.
    Signal(i32),
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff => out.write_str("the guest powered itself off"),
            Self::Reset => out.write_str("the guest reset itself"),
            Self::TripleFault => out.write_str("a processor of the guest met a triple fault"),
            Self::Broken(why) => out.write_str(why),
            Self::Signal(number) => write!(out, "signal {number} came"),
        }
    }
}

/// What every vCPU of a machine reaches, and what it tells the machine.
#[derive(Default)]
pub struct Buses {
    /// Devices behind ports.
    pub ports: Bus,
    /// Devices behind addresses.
    pub memory: Bus,
    /// Writes to ports that have not reached their devices yet.
    gathered: Option<GatheredWrites>,
    /// Where vCPUs wait, and hear of the machine's end.
    pub gate: Arc<Gate>,
    status: AtomicU16,
    metrics: Arc<VcpuMetrics>,
}

/// Bit 8 tells that a guest has written a status.
const STATUS_WRITTEN: u16 = 1 << 8;

impl Buses {
    /// Without devices yet; exits are counted in `metrics`.
    pub fn new(metrics: Arc<VcpuMetrics>) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Where KVM gathers writes to ports. The devices behind those ask nothing of the machine.
    pub fn gather(&mut self, writes: GatheredWrites) {
        self.gathered = Some(writes);
    }

    /// Hands devices what was gathered for them; tells whether there was anything.
    pub fn catch_up(&self) -> bool {
        self.gathered.as_ref().is_some_and(|writes| {
            writes.take(|port, data| {
                self.metrics.gathered_writes.increment();
                _ = self.ports.write(port.into(), data);
            })
        })
    }

    /// What the guest wrote to the exit device last.
    pub fn guest_status(&self) -> Option<u8> {
        let status = self.status.load(Ordering::SeqCst);
        (status & STATUS_WRITTEN != 0).then_some((status & 0xff) as u8)
    }

    fn carry_out(&self, effect: Effect) -> Option<Ending> {
        match effect {
            Effect::None => None,
            Effect::PowerOff => Some(Ending::PowerOff),
            Effect::Reset => Some(Ending::Reset),
            Effect::GuestStatus(status) => {
                self.status.store(STATUS_WRITTEN | u16::from(status), Ordering::SeqCst);
                None
            }
        }
    }
}

/// Runs `vcpu` until the machine ends. `None`: another vCPU or the host ended it.
pub(super) fn run(vcpu: &mut Vcpu, buses: &Buses, gate: &Place) -> Option<Ending> {
    let index = vcpu.index();
    loop {
        let ending = match vcpu.run() {
            Ok(Exit::Interrupted) => {
                buses.catch_up();
                // Before the look at the gate: a kick that comes after it finds a vCPU that runs.
                vcpu.allow_entry();
                if !gate.pass(|| vcpu.announce_pause()) {
                    return None;
                }
                None
            }
            Ok(exit) => {
                buses.catch_up();
                answer(index, exit, buses)
            }
            Err(error) => Some(Ending::Broken(crate::chain(&error))),
        };
        if ending.is_some() {
            return ending;
        }
    }
}

fn answer(index: u8, exit: Exit<'_>, buses: &Buses) -> Option<Ending> {
    match exit {
        Exit::PortRead(port, data) => {
            buses.metrics.exit_io_in.increment();
            buses.metrics.exit_io_in_agg.time(|| {
                units(data.len()).for_each(|unit| {
                    if let Some(data) = data.get_mut(unit) {
                        buses.ports.read(port.into(), data);
                    }
                });
            });
            None
        }
        Exit::PortWrite(port, data) => {
            buses.metrics.exit_io_out.increment();
            buses.metrics.exit_io_out_agg.time(|| {
                units(data.len())
                    .filter_map(|unit| data.get(unit))
                    .find_map(|data| buses.carry_out(buses.ports.write(port.into(), data)))
            })
        }
        Exit::MmioRead(address, data) => {
            buses.metrics.exit_mmio_read.increment();
            buses.metrics.exit_mmio_read_agg.time(|| buses.memory.read(address, data));
            None
        }
        Exit::MmioWrite(address, data) => {
            buses.metrics.exit_mmio_write.increment();
            buses.metrics.exit_mmio_write_agg.time(|| buses.carry_out(buses.memory.write(address, data)))
        }
        Exit::Interrupted => None,
        Exit::TripleFault => Some(Ending::TripleFault),
        Exit::Reset => Some(Ending::Reset),
        Exit::PowerOff => Some(Ending::PowerOff),
        Exit::Broken(what) => {
            buses.metrics.failures.increment();
            Some(Ending::Broken(format!("vCPU {index} cannot go on: {what}")))
        }
    }
}

/// One access, or the bytes of a repeated string instruction: KVM hands over all of those at once.
fn units(length: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let step = if matches!(length, 1 | 2 | 4) { length } else { 1 };
    (0..length).step_by(step).map(move |start| start..start + step)
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
