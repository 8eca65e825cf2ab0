//! The window of registers: decodes accesses, starts and resets the device.

use std::sync::Arc;

use virtio_queue::{Queue, QueueT};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::interrupt::{Line, USED_BUFFERS};
use super::negotiation::{Negotiation, Step};
use super::queue_setup::{Part, QueueSetup};
use super::registers as register;
use crate::bus::{BusDevice, Effect};
use crate::memory::GuestMemory;
use crate::virtio::device::{Activation, Share, Used, VirtioDevice};
use crate::virtio::error::VirtioError;
use crate::virtio::features::EVENT_INDEX;
use crate::virtio::worker_loop::{WorkerId, WorkerLoopHandle};

/// Where in the window drivers write the index of a queue with new buffers.
pub const QUEUE_NOTIFY_OFFSET: u64 = register::QUEUE_NOTIFY;
/// Where drivers acknowledge an interrupt, and the value that need not come here: see [`Line::look`].
pub const IDLE_ACKNOWLEDGEMENT: (u64, u32) = (register::INTERRUPT_ACKNOWLEDGE, USED_BUFFERS);

/// A device behind its registers.
pub struct MmioTransport {
    device: Box<dyn VirtioDevice>,
    memory: GuestMemory,
    hosts: Vec<WorkerLoopHandle>,
    line: Arc<Line>,
    negotiation: Negotiation,
    queues: Vec<QueueSetup>,
    selected: u32,
    events: Vec<EventFd>,
    /// What runs, each with the host that it is on.
    workers: Vec<(WorkerLoopHandle, WorkerId)>,
    /// Who answers for queues that the host's kernel serves.
    kernel: Vec<Used>,
}

impl MmioTransport {
    /// Puts `device` behind registers. `irq` is written to when the driver is to be interrupted; its
    /// workers will run on `hosts`, one after the other.
    pub fn new(
        device: Box<dyn VirtioDevice>,
        memory: GuestMemory,
        hosts: Vec<WorkerLoopHandle>,
        irq: EventFd,
    ) -> Result<MmioTransport, VirtioError> {
        let mut events = Vec::new();
        for (queue, &size) in device.queue_sizes().iter().enumerate() {
            if Queue::new(size).is_err() {
                return Err(VirtioError::QueueSize { device: device.id().to_owned() });
            }
            let event = EventFd::new(EFD_NONBLOCK).map_err(|source| VirtioError::QueueEvent {
                device: device.id().to_owned(),
                queue,
                source,
            })?;
            events.push(event);
        }
        let queues = device.queue_sizes().iter().map(|&size| QueueSetup::new(size)).collect();
        Ok(MmioTransport {
            device,
            memory,
            hosts,
            line: Arc::new(Line::new(irq)),
            negotiation: Negotiation::default(),
            queues,
            selected: 0,
            events,
            workers: Vec::new(),
            kernel: Vec::new(),
        })
    }

    /// The events that wake the device, by queue index: each may be registered to be written by KVM when the
    /// driver writes that index at [`QUEUE_NOTIFY_OFFSET`].
    pub fn queue_events(&self) -> &[EventFd] {
        &self.events
    }

    fn read_register(&mut self, offset: u64) -> u32 {
        match offset {
            register::MAGIC_VALUE => register::MAGIC,
            register::VERSION => register::VERSION_2,
            register::DEVICE_ID => self.device.device_type(),
            register::VENDOR_ID => register::VENDOR,
            register::DEVICE_FEATURES => self.negotiation.offered_half(self.device.features()),
            register::QUEUE_SIZE_MAX => self.queue().map_or(0, |queue| queue.size_max().into()),
            register::QUEUE_READY => self.queue().map_or(0, |queue| queue.ready().into()),
            register::INTERRUPT_STATUS => self.look(),
            register::STATUS => self.negotiation.status() | self.line.broken(),
            // There are no shared memory regions.
            offset if register::SHARED_MEMORY.contains(&offset) => u32::MAX,
            register::CONFIG_GENERATION => self.device.config_generation(),
            _ => 0,
        }
    }

    /// Why the driver was interrupted. A kernel that interrupts by itself sets no bit: the rings tell.
    fn look(&mut self) -> u32 {
        // All are asked, since each answers for what came after it was asked before.
        let used = self.kernel.iter_mut().fold(false, |found, used| used() | found);
        self.line.look() | if used { USED_BUFFERS } else { 0 }
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            register::DEVICE_FEATURES_SELECT => self.negotiation.select_offered(value),
            register::DRIVER_FEATURES => self.negotiation.accept_half(value),
            register::DRIVER_FEATURES_SELECT => self.negotiation.select_accepted(value),
            register::QUEUE_SELECT => self.selected = value,
            register::QUEUE_NOTIFY => self.notify(value),
            register::INTERRUPT_ACKNOWLEDGE => self.line.acknowledge(value),
            register::STATUS => self.write_status(value),
            _ => self.write_queue_register(offset, value),
        }
    }

    /// The registers of the selected queue, which are frozen outside of their phase.
    fn write_queue_register(&mut self, offset: u64, value: u32) {
        if !self.negotiation.takes_queues() {
            return;
        }
        let selected = usize::try_from(self.selected).unwrap_or(usize::MAX);
        let Some(queue) = self.queues.get_mut(selected) else { return };
        match offset {
            register::QUEUE_SIZE => queue.set_size(value),
            register::QUEUE_READY => queue.set_ready(value == 1, &self.memory),
            register::QUEUE_DESCRIPTORS_LOW => queue.set_address(Part::Descriptors, false, value),
            register::QUEUE_DESCRIPTORS_HIGH => queue.set_address(Part::Descriptors, true, value),
            register::QUEUE_DRIVER_LOW => queue.set_address(Part::Driver, false, value),
            register::QUEUE_DRIVER_HIGH => queue.set_address(Part::Driver, true, value),
            register::QUEUE_DEVICE_LOW => queue.set_address(Part::Device, false, value),
            register::QUEUE_DEVICE_HIGH => queue.set_address(Part::Device, true, value),
            _ => {}
        }
    }

    fn queue(&self) -> Option<&QueueSetup> {
        self.queues.get(usize::try_from(self.selected).ok()?)
    }

    /// For machines that do not let KVM write the events.
    fn notify(&self, index: u32) {
        if let Some(event) = usize::try_from(index).ok().and_then(|index| self.events.get(index)) {
            // Fails only when 2^64 - 1 notifications wait already.
            let _ = event.write(1);
        }
    }

    fn write_status(&mut self, value: u32) {
        match self.negotiation.write_status(value, self.device.features()) {
            Step::None => {}
            Step::Reset => self.reset(),
            Step::Activate => {
                if self.activate().is_none() {
                    self.stop();
                    self.line.break_down();
                }
            }
        }
    }

    /// Starts the device; None if it cannot.
    fn activate(&mut self) -> Option<()> {
        let features = self.negotiation.accepted();
        let event_index = features & EVENT_INDEX != 0;
        let queues: Option<Vec<Queue>> = self.queues.iter().map(|queue| queue.queue(event_index)).collect();
        let activation = Activation {
            memory: self.memory.clone(),
            queues: queues?,
            interrupt: self.line.clone(),
            features,
            doorbells: &self.events,
            line: self.line.event(),
        };
        let shares = self.device.activate(activation).ok()?;
        for (Share { worker, queues, used }, host) in shares.into_iter().zip(self.hosts.iter().cycle()) {
            let line = Arc::clone(&self.line);
            let on_broken = Box::new(move || line.break_down());
            let events = self.events.get(queues.start..queues.end.min(self.events.len()))?;
            let id = host.attach(worker, events, on_broken).ok()?;
            self.workers.push((host.clone(), id));
            self.kernel.extend(used);
        }
        Some(())
    }

    /// Back to how it was before the driver came. When this returns the workers are gone.
    fn reset(&mut self) {
        self.stop();
        self.negotiation = Negotiation::default();
        for queue in &mut self.queues {
            *queue = QueueSetup::new(queue.size_max());
        }
        self.selected = 0;
        self.line.reset();
    }

    fn stop(&mut self) {
        for (host, worker) in self.workers.drain(..) {
            host.detach(worker);
        }
        self.kernel.clear();
    }
}

impl BusDevice for MmioTransport {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let Some(offset) = offset.checked_sub(register::CONFIG) {
            self.device.read_config(offset, data);
        } else if let (Ok(data), 0) = (<&mut [u8; 4]>::try_from(data), offset % 4) {
            *data = self.read_register(offset).to_le_bytes();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if let Some(offset) = offset.checked_sub(register::CONFIG) {
            if self.negotiation.takes_config() {
                self.device.write_config(offset, data);
            }
        } else if let (Ok(data), 0) = (<[u8; 4]>::try_from(data), offset % 4) {
            self.write_register(offset, u32::from_le_bytes(data));
        }
        Effect::None
    }
}

impl Drop for MmioTransport {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
