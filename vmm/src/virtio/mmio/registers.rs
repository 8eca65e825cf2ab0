//! Offsets of the registers (virtio 1.2 section 4.2.2, table 4.1).

/// Reads `virt`.
pub const MAGIC_VALUE: u64 = 0x000;
/// The transport's version, 2.
pub const VERSION: u64 = 0x004;
/// The device's type.
pub const DEVICE_ID: u64 = 0x008;
/// Who made it.
pub const VENDOR_ID: u64 = 0x00c;
/// 32 of the offered features.
pub const DEVICE_FEATURES: u64 = 0x010;
/// Which 32.
pub const DEVICE_FEATURES_SELECT: u64 = 0x014;
/// 32 of the accepted features.
pub const DRIVER_FEATURES: u64 = 0x020;
/// Which 32.
pub const DRIVER_FEATURES_SELECT: u64 = 0x024;
/// Which queue the queue registers speak of.
pub const QUEUE_SELECT: u64 = 0x030;
/// The queue's largest size; 0 where there is no queue.
pub const QUEUE_SIZE_MAX: u64 = 0x034;
/// The queue's size.
pub const QUEUE_SIZE: u64 = 0x038;
/// 1 when the queue is in use.
pub const QUEUE_READY: u64 = 0x044;
/// Written with a queue's index: it has new buffers.
pub const QUEUE_NOTIFY: u64 = 0x050;
/// Why the device interrupted.
pub const INTERRUPT_STATUS: u64 = 0x060;
/// Written with what was handled.
pub const INTERRUPT_ACKNOWLEDGE: u64 = 0x064;
/// The device's status.
pub const STATUS: u64 = 0x070;
/// Where the queue's descriptors are, low half.
pub const QUEUE_DESCRIPTORS_LOW: u64 = 0x080;
/// The same, high half.
pub const QUEUE_DESCRIPTORS_HIGH: u64 = 0x084;
/// Where the queue's available ring is, low half.
pub const QUEUE_DRIVER_LOW: u64 = 0x090;
/// The same, high half.
pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
/// Where the queue's used ring is, low half.
pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
/// The same, high half.
pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
/// A shared memory region's length and base, four halves; all ones where there is none.
pub const SHARED_MEMORY: std::ops::RangeInclusive<u64> = 0x0b0..=0x0bc;
/// Changes when the configuration space does.
pub const CONFIG_GENERATION: u64 = 0x0fc;
/// Where the device's configuration space starts.
pub const CONFIG: u64 = 0x100;

/// `virt`, little-endian.
pub const MAGIC: u32 = 0x7472_6976;
/// The only version that is not legacy.
pub const VERSION_2: u32 = 2;
/// `BLKH`, little-endian: ours. Drivers ignore it.
pub const VENDOR: u32 = 0x484b_4c42;
