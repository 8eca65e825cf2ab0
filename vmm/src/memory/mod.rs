//! Guest memory.

mod file;
pub mod layout;
mod map;

pub use self::file::FileMapping;
pub use self::map::{MemoryError, map};

/// The guest's memory as every device sees it.
pub type GuestMemory = vm_memory::GuestMemoryMmap<()>;
