//! Virtio devices (OASIS virtio 1.2): the traits of a device, the MMIO transport, one folder a device.

pub mod device;
