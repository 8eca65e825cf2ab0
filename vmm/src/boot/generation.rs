//! The machine's generation (Microsoft's "Virtual Machine Generation ID", VMGenID): 16 bytes that are never
//! the same twice, so that a guest that was copied or taken back in time knows and seeds its random numbers
//! afresh.

use vm_memory::{Bytes, GuestAddress};

use super::BootError;
use crate::memory::{GuestMemory, layout};
use crate::random;

/// Draws a new generation and writes it where ACPI says that it is.
pub fn write_generation(memory: &GuestMemory) -> Result<(), BootError> {
    let mut generation = [0; 16];
    random::fill(&mut generation).map_err(BootError::Random)?;
    Ok(memory.write_slice(&generation, GuestAddress(layout::GENERATION.start))?)
}
