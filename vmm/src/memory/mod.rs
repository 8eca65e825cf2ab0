//! Guest memory.

/// The guest's memory as every device sees it.
pub type GuestMemory = vm_memory::GuestMemoryMmap<()>;
