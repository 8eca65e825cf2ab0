//! Telling kernel formats apart and loading them.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};

use linux_loader::loader::KernelLoader;
use linux_loader::loader::bootparam::setup_header;
use vm_memory::{GuestAddress, GuestMemoryBackend, ReadVolatile};

use super::{BootError, KernelError, bzimage, elf};
use crate::arch::x86_64::registers::Entry;
use crate::memory::{GuestMemory, layout};

/// Something that a kernel can be loaded from: a file, or bytes whose digest was checked.
pub trait KernelImage: Read + Seek + ReadVolatile {}

impl KernelImage for File {}
impl KernelImage for Cursor<Vec<u8>> {}

/// A kernel in guest memory.
#[derive(Debug, Clone, Copy)]
pub struct LoadedKernel {
    /// How to enter it.
    pub entry: Entry,
    /// The first address behind it.
    pub end: u64,
    /// What a bzImage says of itself.
    pub setup_header: Option<setup_header>,
}

/// Loads `image` into `memory` in one pass. `name` is for messages.
pub fn load_kernel(
    memory: &GuestMemory,
    image: &mut impl KernelImage,
    name: &str,
) -> Result<LoadedKernel, BootError> {
    load(memory, image).map_err(|error| BootError::Kernel(name.to_owned(), error))
}

fn load(memory: &GuestMemory, image: &mut impl KernelImage) -> Result<LoadedKernel, KernelError> {
    let size = image.seek(SeekFrom::End(0))?;
    image.rewind()?;
    let mut head = Vec::with_capacity(HEAD);
    image.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    let ram = layout::HIGH..low_end(memory);
    if head.starts_with(b"\x7fELF") {
        let entry = elf::check(image, &head, size, &ram)?;
        let loaded = linux_loader::loader::elf::Elf::load(memory, None, image, None)?;
        return Ok(LoadedKernel { entry, end: loaded.kernel_end, setup_header: None });
    }
    if head.get(0x202..0x206) == Some(b"HdrS") {
        let plan = bzimage::check(&head, size, &ram)?;
        let loaded = linux_loader::loader::bzimage::BzImage::load(
            memory,
            Some(GuestAddress(plan.load)),
            image,
            Some(GuestAddress(layout::HIGH)),
        )?;
        let entry = Entry::Linux64 { address: plan.entry };
        let setup_header = loaded.setup_header;
        return Ok(LoadedKernel { entry, end: plan.end, setup_header });
    }
    Err(KernelError::Format)
}

/// How much of a file tells its format: a bzImage's setup header ends before this.
const HEAD: usize = 0x400;

/// Where RAM below the gap ends.
pub(super) fn low_end(memory: &GuestMemory) -> u64 {
    use vm_memory::GuestMemoryRegion;
    memory.find_region(GuestAddress(0)).map_or(0, |region| region.len())
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
