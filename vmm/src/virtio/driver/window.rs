//! A device's registers as the `virtio-drivers` crate reaches them.

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Plugged;
use crate::bus::BusDevice;

/// Registers behind a bus access each, as a guest's loads and stores are.
pub struct Window(Plugged);

impl Window {
    pub fn new(plugged: Plugged) -> Window {
        Window(plugged)
    }

    fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.0.transport.lock().unwrap().read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn write(&self, offset: u64, value: u32) {
        self.0.transport.lock().unwrap().write(offset, &value.to_le_bytes());
    }

    fn write_address(&self, offset: u64, address: PhysAddr) {
        self.write(offset, address as u32);
        self.write(offset + 4, (address >> 32) as u32);
    }
}

impl Transport for Window {
    fn device_type(&self) -> DeviceType {
        DeviceType::try_from(self.read(0x008)).unwrap()
    }

    fn read_device_features(&mut self) -> u64 {
        self.write(0x014, 0);
        let low = self.read(0x010);
        self.write(0x014, 1);
        u64::from(low) | u64::from(self.read(0x010)) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        self.write(0x024, 0);
        self.write(0x020, features as u32);
        self.write(0x024, 1);
        self.write(0x020, (features >> 32) as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.write(0x030, queue.into());
        self.read(0x034)
    }

    fn notify(&mut self, queue: u16) {
        self.write(0x050, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.read(0x070))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write(0x070, status.bits());
    }

    fn set_guest_page_size(&mut self, _size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        self.write(0x030, queue.into());
        self.write(0x038, size);
        self.write_address(0x080, descriptors);
        self.write_address(0x090, driver);
        self.write_address(0x0a0, device);
        self.write(0x044, 1);
        assert_eq!(self.read(0x044), 1);
    }

    fn queue_unset(&mut self, queue: u16) {
        // Without VIRTIO_F_RING_RESET a queue of a live device cannot be taken back; the device goes.
        let _ = queue;
        self.write(0x070, 0);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.write(0x030, queue.into());
        self.read(0x044) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let status = self.read(0x060);
        self.write(0x064, status);
        InterruptStatus::from_bits_retain(status)
    }

    fn read_config_generation(&self) -> u32 {
        self.read(0x0fc)
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let mut value = T::new_zeroed();
        self.0.transport.lock().unwrap().read(0x100 + offset as u64, value.as_mut_bytes());
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        self.0.transport.lock().unwrap().write(0x100 + offset as u64, value.as_bytes());
        Ok(())
    }
}
