//! From files to a guest that can be entered: kernel, initramfs, command line, ACPI tables.

pub mod acpi;
pub mod appliance;
mod bzimage;
pub mod command_line;
mod elf;
mod generation;
mod gpt;
mod handover;
mod initramfs;
mod kernel;
mod reset_vector;
pub mod smbios;

use std::io;
use std::path::PathBuf;

pub use self::generation::write_generation;
pub use self::handover::hand_over;
pub use self::initramfs::load_initramfs;
pub use self::kernel::{LoadedKernel, load_kernel};
pub use self::reset_vector::write_reset_vector;
pub use self::smbios::write_smbios;

/// Why a guest cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel's file does not open.
    #[error("Cannot open kernel image {0}")]
    OpenKernel(PathBuf, #[source] io::Error),
    /// The kernel's file is no kernel, or is cut off or damaged.
    #[error("Cannot load kernel image {0}")]
    Kernel(String, #[source] KernelError),
    /// The initramfs does not open.
    #[error("Cannot open initramfs {0}")]
    OpenInitramfs(PathBuf, #[source] io::Error),
    /// The initramfs does not load.
    #[error("Cannot load initramfs {0}")]
    Initramfs(String, #[source] InitramfsError),
    /// The command line is refused.
    #[error("Cannot use the kernel command line")]
    CommandLine(#[from] command_line::CommandLineError),
    /// Structures for the kernel do not fit.
    #[error("Cannot write the boot structures into guest memory")]
    Structures(#[from] vm_memory::GuestMemoryError),
    /// The ACPI tables do not fit.
    #[error("The ACPI tables need {0} bytes and there is room for {1}")]
    AcpiTooLarge(usize, usize),
    /// The SMBIOS tables do not fit.
    #[error("The SMBIOS tables need {0} bytes and there is room for {1}")]
    SmbiosTooLarge(usize, usize),
    /// The host gives no random bytes.
    #[error("Cannot draw the machine's generation")]
    Random(#[source] io::Error),
    /// The appliance is refused.
    #[error("Cannot boot appliance {0}")]
    Appliance(PathBuf, #[source] appliance::ApplianceError),
}

/// What is wrong with a kernel image.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Reading failed.
    #[error("reading failed")]
    Read(#[from] io::Error),
    /// Neither format's magic number is there.
    #[error("it is neither an ELF file nor a bzImage")]
    Format,
    /// The file ends before something that its headers promise.
    #[error("it is cut off: {what} reaches to byte {end}, the file has {size}")]
    Truncated {
        /// What reaches too far.
        what: String,
        /// Where that would end.
        end: u64,
        /// Where the file ends.
        size: u64,
    },
    /// A header says something impossible.
    #[error("its {0}")]
    Header(String),
    /// It needs more memory than the guest has.
    #[error(
        "it needs guest memory at {start:#x} to {end:#x}, and there is none between {low:#x} and {high:#x}"
    )]
    Memory {
        /// Where it wants to be.
        start: u64,
        /// Where that ends.
        end: u64,
        /// Where memory for kernels starts.
        low: u64,
        /// Where it ends.
        high: u64,
    },
    /// The loader refused.
    #[error("the loader refused it")]
    Loader(#[from] linux_loader::loader::Error),
}

/// What is wrong with an initramfs.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// An archive that ends too early.
    #[error("it is cut off: it has {size} bytes, and the file that begins at byte {at} needs more")]
    Cut {
        /// Where the file begins.
        at: u64,
        /// How much there is.
        size: u64,
    },
    /// Reading failed.
    #[error("reading failed")]
    Read(#[from] io::Error),
    /// Reading into the guest failed.
    #[error("reading it into guest memory failed")]
    Memory(#[from] vm_memory::GuestMemoryError),
    /// No room.
    #[error(
        "its {size} bytes do not fit between the kernel's end at {kernel_end:#x} and the end of memory at {memory_end:#x}"
    )]
    TooLarge {
        /// The initramfs's size in bytes.
        size: u64,
        /// Where the kernel ends.
        kernel_end: u64,
        /// Where low memory ends.
        memory_end: u64,
    },
}
