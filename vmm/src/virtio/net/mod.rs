//! The network device (virtio 1.2 section 5.1): Ethernet frames between the guest and a tap of the host.
//!
//! The kernel behind the tap speaks the same header as the driver, so frames pass unseen and uncopied:
//! checksums and segmentation are between those two.

mod control;
mod device;
mod kernel;
mod limits;
mod metadata;
mod receive;
mod worker;

pub use self::device::NetDevice;
pub use self::limits::InterfaceHandle;

/// How long the header before each frame is (virtio 1.2 section 5.1.6).
const HEADER_SIZE: u64 = 12;
/// The longest frame with its header: 65,535 bytes of packet behind an Ethernet header (virtio 1.2 section
/// 5.1.6.3.1).
const FRAME_MAX: u64 = 65_562;
/// The same when nothing is left for the driver to cut in pieces.
const FRAME_MAX_PLAIN: u64 = 1526;
/// What a frame has beside its packet: the header, that of Ethernet, a tag (IEEE 802.1Q).
const FRAME_OVERHEAD: u64 = HEADER_SIZE + 14 + 4;
