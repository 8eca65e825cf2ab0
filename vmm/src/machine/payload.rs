//! What boots in a machine, opened, loaded and handed over.

use std::fs::{File, OpenOptions};
use std::io::{self, Cursor, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use vm_memory::ReadVolatile;

use super::builder::BuildError;
use super::controller::{ControlError, Controller};
use super::storage;
use crate::arch::x86_64::registers::Entry;
use crate::boot::acpi::{self, Platform, VirtioWindow};
use crate::boot::appliance::{self, ApplianceError};
use crate::boot::command_line;
use crate::boot::smbios::Identity;
use crate::boot::{self, BootError, LoadedKernel};
use crate::config::{BootSource, MachineSpec};
use crate::memory::GuestMemory;

/// Opened files, or the parts of an appliance whose digests have been checked.
pub(super) enum Payload {
    Files { kernel: File, kernel_name: String, initramfs: Option<(File, String)> },
    Appliance { kernel: Cursor<Vec<u8>>, initramfs: Cursor<Vec<u8>>, name: String, boot_args: Option<String> },
}

impl Payload {
    /// Opens what `source` names, before anything is made for the machine.
    pub(super) fn open(source: &BootSource) -> Result<Self, BootError> {
        if let Some(path) = &source.appliance {
            let refused = |error: ApplianceError| BootError::Appliance(path.clone(), error);
            let parts = appliance::open(path).map_err(refused)?;
            return Ok(Self::Appliance {
                kernel: Cursor::new(parts.kernel),
                initramfs: Cursor::new(parts.initramfs),
                name: format!("of appliance {}", path.display()),
                boot_args: parts.boot_args,
            });
        }
        let path = source.kernel_image_path.clone().unwrap_or_default();
        let kernel = open_file(&path).map_err(|error| BootError::OpenKernel(path.clone(), error))?;
        let initramfs = match &source.initrd_path {
            Some(path) => {
                let file = open_file(path).map_err(|error| BootError::OpenInitramfs(path.clone(), error))?;
                Some((file, path.display().to_string()))
            }
            None => None,
        };
        Ok(Self::Files { kernel, kernel_name: path.display().to_string(), initramfs })
    }

    /// Loads everything into `memory` and tells how the first vCPU enters it.
    pub(super) fn load(
        self,
        memory: &GuestMemory,
        spec: &MachineSpec,
        windows: &[VirtioWindow],
        identity: &Identity,
    ) -> Result<Entry, BootError> {
        boot::write_smbios(memory, identity)?;
        boot::write_generation(memory)?;
        match self {
            Self::Files { mut kernel, kernel_name, initramfs } => {
                let kernel = boot::load_kernel(memory, &mut kernel, &kernel_name)?;
                finish(memory, spec, windows, None, &kernel, initramfs)
            }
            Self::Appliance { mut kernel, initramfs, name, boot_args } => {
                let kernel = boot::load_kernel(memory, &mut kernel, &name)?;
                finish(memory, spec, windows, boot_args.as_deref(), &kernel, Some((initramfs, name)))
            }
        }
    }
}

impl Controller {
    /// Takes what a machine that has not started shall boot. A file that does not open is refused now already.
    pub fn set_boot_source(&self, source: BootSource) -> Result<(), ControlError> {
        self.spec().set_boot_source(source.clone())?;
        if source.kernel_image_path.is_some() {
            Payload::open(&source).map_err(BuildError::from)?;
        }
        self.configure(|spec| spec.set_boot_source(source))
    }
}

/// Opens a regular file; anything else might never end, or never open.
fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

fn finish(
    memory: &GuestMemory,
    spec: &MachineSpec,
    windows: &[VirtioWindow],
    appliance_args: Option<&str>,
    kernel: &LoadedKernel,
    initramfs: Option<(impl ReadVolatile + Seek, String)>,
) -> Result<Entry, BootError> {
    let initramfs = match initramfs {
        Some((mut image, name)) => Some(boot::load_initramfs(memory, &mut image, &name, kernel.end)?),
        None => None,
    };
    let asked = spec.boot_source.as_ref().and_then(|source| source.boot_args.as_deref());
    let line = command_line::build(asked.or(appliance_args), storage::root(spec).as_ref())?;
    let config = &spec.machine_config;
    let platform = Platform { vcpus: config.vcpu_count, keyboard: config.i8042, devices: windows };
    let rsdp = acpi::write(memory, &platform)?;
    boot::write_reset_vector(memory)?;
    let size = config.mem_size_mib << 20;
    boot::hand_over(memory, kernel, size, rsdp, &line, initramfs.as_ref())?;
    Ok(kernel.entry)
}
