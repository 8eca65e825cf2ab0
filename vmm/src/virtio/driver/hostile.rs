//! A driver that writes whatever a test wants into registers and rings.

use vm_memory::{Bytes, GuestAddress};

use super::{Machine, Plugged, wait_for};
use crate::bus::BusDevice;
use crate::memory::GuestMemory;
use crate::virtio::device::VirtioDevice;

/// Descriptor flags.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

const NEEDS_RESET: u32 = 0x40;
/// Each queue gets this much of the first megabyte, from 0x10000 on: descriptors, available ring, used ring.
const QUEUE_STRIDE: u64 = 0x8000;
const QUEUES: u64 = 0x1_0000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x4000;

/// Two megabytes with a hole between them; the second one starts at 2 MiB.
pub fn hostile_memory() -> GuestMemory {
    GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20), (GuestAddress(2 << 20), 1 << 20)]).unwrap()
}

/// A descriptor to be written.
#[derive(Debug, Clone, Copy)]
pub struct Buffer(pub u64, pub u32, pub u16, pub u16);

/// The driver.
pub struct Hostile {
    plugged: Plugged,
    pub memory: GuestMemory,
    size: u16,
    available: Vec<u16>,
}

impl Hostile {
    pub fn new(machine: &Machine, device: impl VirtioDevice + 'static) -> Hostile {
        Hostile::with_memory(machine, device, hostile_memory())
    }

    /// The same for a device that knows its memory beforehand.
    pub fn with_memory(
        machine: &Machine,
        device: impl VirtioDevice + 'static,
        memory: GuestMemory,
    ) -> Hostile {
        let queues = device.queue_sizes().len();
        let plugged = machine.plug(device, &memory);
        Hostile { plugged, memory, size: 0, available: vec![0; queues] }
    }

    pub fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.plugged.transport.lock().unwrap().read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    pub fn write(&self, offset: u64, value: u32) {
        self.plugged.transport.lock().unwrap().write(offset, &value.to_le_bytes());
    }

    /// An access of any width, at any offset.
    pub fn access(&self, offset: u64, width: usize, value: u64) -> u64 {
        let mut transport = self.plugged.transport.lock().unwrap();
        transport.write(offset, &value.to_le_bytes()[..width]);
        let mut data = [0; 8];
        transport.read(offset, &mut data[..width]);
        u64::from_le_bytes(data)
    }

    /// Resets the device and brings it up with `features` and every queue of `size` descriptors.
    pub fn start(&mut self, features: u64, size: u16) {
        self.write(0x070, 0);
        self.size = size;
        self.write(0x070, 1);
        self.write(0x070, 3);
        self.write(0x024, 0);
        self.write(0x020, features as u32);
        self.write(0x024, 1);
        self.write(0x020, (features >> 32) as u32);
        self.write(0x070, 0xb);
        assert_eq!(self.read(0x070), 0xb, "the features are refused");
        for queue in 0..self.available.len() {
            self.available[queue] = 0;
            let base = QUEUES + queue as u64 * QUEUE_STRIDE;
            self.memory.write_slice(&[0; QUEUE_STRIDE as usize], GuestAddress(base)).unwrap();
            self.write(0x030, queue as u32);
            self.write(0x038, size.into());
            for (register, address) in [(0x080, base), (0x090, base + AVAILABLE), (0x0a0, base + USED)] {
                self.write(register, address as u32);
                self.write(register + 4, (address >> 32) as u32);
            }
            self.write(0x044, 1);
            assert_eq!(self.read(0x044), 1, "queue {queue} is refused");
        }
        self.write(0x070, 0xf);
        // A test that goes on writing to the rings may break the device this soon.
        assert_eq!(self.read(0x070) & 0xf, 0xf);
    }

    /// Writes descriptors from index `at` on.
    pub fn describe(&self, queue: u16, at: u16, buffers: &[Buffer]) {
        let table = QUEUES + u64::from(queue) * QUEUE_STRIDE + 16 * u64::from(at);
        self.describe_at(table, buffers);
    }

    /// Writes descriptors anywhere, such as an indirect table.
    pub fn describe_at(&self, table: u64, buffers: &[Buffer]) {
        for (index, Buffer(address, length, flags, next)) in (0..).zip(buffers) {
            let place = table + 16 * index;
            self.memory.write_obj(*address, GuestAddress(place)).unwrap();
            self.memory.write_obj(*length, GuestAddress(place + 8)).unwrap();
            self.memory.write_obj(*flags, GuestAddress(place + 12)).unwrap();
            self.memory.write_obj(*next, GuestAddress(place + 14)).unwrap();
        }
    }

    /// Makes the chain at `head` available and notifies.
    pub fn offer(&mut self, queue: u16, head: u16) {
        self.offer_silently(queue, head);
        self.notify(queue);
    }

    /// Makes the chain at `head` available.
    pub fn offer_silently(&mut self, queue: u16, head: u16) {
        let ring = self.available_ring(queue);
        let position = &mut self.available[usize::from(queue)];
        let slot = u64::from(*position % self.size);
        self.memory.write_obj(head, GuestAddress(ring + 4 + 2 * slot)).unwrap();
        *position = position.wrapping_add(1);
        self.memory.write_obj(*position, GuestAddress(ring + 2)).unwrap();
    }

    /// Sets the driver's position to anything and notifies.
    pub fn jump(&self, queue: u16, position: u16) {
        self.memory.write_obj(position, GuestAddress(self.available_ring(queue) + 2)).unwrap();
        self.notify(queue);
    }

    pub fn notify(&self, queue: u16) {
        self.write(0x050, queue.into());
    }

    /// Sets the flags of the available ring.
    pub fn set_available_flags(&self, queue: u16, flags: u16) {
        self.memory.write_obj(flags, GuestAddress(self.available_ring(queue))).unwrap();
    }

    /// Sets the `used_event` of the available ring.
    pub fn set_used_event(&self, queue: u16, position: u16) {
        let place = self.available_ring(queue) + 4 + 2 * u64::from(self.size);
        self.memory.write_obj(position, GuestAddress(place)).unwrap();
    }

    /// The `avail_event` of the used ring.
    pub fn available_event(&self, queue: u16) -> u16 {
        let ring = QUEUES + u64::from(queue) * QUEUE_STRIDE + USED;
        self.memory.read_obj(GuestAddress(ring + 4 + 8 * u64::from(self.size))).unwrap()
    }

    /// The device's position in the used ring.
    pub fn used(&self, queue: u16) -> u16 {
        let ring = QUEUES + u64::from(queue) * QUEUE_STRIDE + USED;
        self.memory.read_obj(GuestAddress(ring + 2)).unwrap()
    }

    /// A used element: head and length.
    pub fn used_element(&self, queue: u16, position: u16) -> (u32, u32) {
        let ring = QUEUES + u64::from(queue) * QUEUE_STRIDE + USED;
        let place = ring + 4 + 8 * u64::from(position % self.size);
        let head = self.memory.read_obj(GuestAddress(place)).unwrap();
        (head, self.memory.read_obj(GuestAddress(place + 4)).unwrap())
    }

    /// Waits until the device has used `count` chains in all, and returns the last one's element.
    pub fn wait_used(&self, queue: u16, count: u16) -> (u32, u32) {
        wait_for("used buffers", || {
            assert!(!self.broken(), "the device broke down");
            self.used(queue) == count
        });
        self.used_element(queue, count.wrapping_sub(1))
    }

    /// Waits until the device has used at least `count` chains, and returns that one's element.
    pub fn wait_used_any(&self, queue: u16, count: u16) -> (u32, u32) {
        wait_for("used buffers", || {
            assert!(!self.broken(), "the device broke down");
            self.used(queue) >= count
        });
        self.used_element(queue, count - 1)
    }

    /// Waits until the device asks for a reset, with an interrupt for it.
    pub fn wait_broken(&self) {
        wait_for("the device to ask for a reset", || self.broken());
        wait_for("the interrupt's reason", || self.read(0x060) & 2 != 0);
        // The reason is there a moment before the line is raised.
        wait_for("the interrupt", || self.interrupts() != 0);
    }

    pub fn broken(&self) -> bool {
        self.read(0x070) & NEEDS_RESET != 0
    }

    /// How often the device interrupted since this was last asked.
    pub fn interrupts(&self) -> u64 {
        self.plugged.irq.read().unwrap_or(0)
    }

    fn available_ring(&self, queue: u16) -> u64 {
        QUEUES + u64::from(queue) * QUEUE_STRIDE + AVAILABLE
    }
}
