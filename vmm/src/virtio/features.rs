//! Feature bits that are no device's own (virtio 1.2 section 6), as masks.

/// Indirect descriptors.
pub const INDIRECT_DESCRIPTORS: u64 = 1 << 28;
/// `used_event` and `avail_event`: each side says when it wants to be told.
pub const EVENT_INDEX: u64 = 1 << 29;
/// Compliance with version 1 of the specification.
pub const VERSION_1: u64 = 1 << 32;

/// What every device of ours offers.
pub const COMMON: u64 = VERSION_1 | EVENT_INDEX | INDIRECT_DESCRIPTORS;
