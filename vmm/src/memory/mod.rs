//! Guest memory.

mod discard;
mod file;
pub mod layout;
mod map;

pub use self::discard::{PAGE, discard};
pub use self::file::FileMapping;
pub use self::map::{HUGE_PAGE, MemoryError, map, map_huge};

/// The guest's memory as every device sees it.
pub type GuestMemory = vm_memory::GuestMemoryMmap<()>;
