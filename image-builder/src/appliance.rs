//! An appliance: one disk with kernel, initramfs, root and manifest, started without anything else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bulkhead_protocol::agent::{CreateContainer, Device, RootDisk};
use bulkhead_protocol::boot::{AUTOSTART, Autostart};
use bulkhead_protocol::image::{
    ALIGN, INITRAMFS_LABEL, ImageConfig, KERNEL_LABEL, MANIFEST_LABEL, MANIFEST_MAGIC, MAX_MANIFEST,
    Manifest, Part, ROOT_LABEL,
};
use thiserror::Error;

use crate::cpio::Archive;
use crate::digest::Sha256;
use crate::disk::Sink;
use crate::disk::gpt::{self, GRAIN, Partition};
use crate::oci;
use crate::runtime_spec::{RuntimeOptions, RuntimeSpecError, runtime_spec};

/// The words on the kernel's command line where nothing else is asked for: the serial console, an end in
/// place of a hanging panic, and no probing of devices that a microVM does not have.
pub const BOOT_ARGS: &str = "console=ttyS0 panic=1 quiet loglevel=1 8250.nr_uarts=1 i8042.noaux i8042.nomux \
    i8042.nopnp i8042.dumbkbd cryptomgr.notests";

/// The id of the container that an appliance starts.
pub const CONTAINER: &str = "main";

/// The largest kernel and the largest initramfs, in bytes.
const MAX_PART: u64 = 512 << 20;

/// Where the manifest's partition starts, and how large it is: room for any manifest.
const MANIFEST_OFFSET: u64 = GRAIN;
const MANIFEST_SIZE: u64 = ALIGN + MAX_MANIFEST;

/// What an appliance has besides its root.
#[derive(Debug, Clone, Default)]
pub struct ApplianceOptions {
    /// The kernel: an uncompressed ELF image or a bzImage.
    pub kernel: PathBuf,
    /// The initramfs with `initd`: an uncompressed cpio archive.
    pub initramfs: PathBuf,
    /// In place of [`BOOT_ARGS`].
    pub boot_args: Option<String>,
    /// On top of what the image says of how to run it.
    pub runtime: RuntimeOptions,
}

/// Why an appliance cannot be made.
#[derive(Debug, Error)]
pub enum ApplianceError {
    /// The kernel or the initramfs.
    #[error("Cannot read the {0} {1}")]
    Read(&'static str, PathBuf, #[source] io::Error),
    /// Not a kernel.
    #[error("{0} is neither an ELF image nor a bzImage")]
    NotAKernel(PathBuf),
    /// Not an initramfs.
    #[error("{0} is not an uncompressed cpio archive (newc)")]
    NotAnInitramfs(PathBuf),
    /// The image cannot be run.
    #[error("Cannot make a runtime specification for the image")]
    RuntimeSpec(#[from] RuntimeSpecError),
    /// The command line.
    #[error("The kernel's command line must be at most 2000 printable ASCII characters")]
    BootArgs,
}

/// Kernel and initramfs, read and checked before anything is written.
#[derive(Debug)]
pub struct Appliance {
    kernel: Vec<u8>,
    initramfs: Vec<u8>,
    boot_args: String,
}

impl Appliance {
    /// Reads the kernel and the initramfs and adds what to start to the latter.
    pub fn prepare(options: &ApplianceOptions, config: &ImageConfig) -> Result<Self, ApplianceError> {
        let boot_args = options.boot_args.clone().unwrap_or_else(|| BOOT_ARGS.to_owned());
        if boot_args.len() > 2000 || !boot_args.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(ApplianceError::BootArgs);
        }
        let kernel = read("kernel", &options.kernel)?;
        if !kernel.starts_with(b"\x7fELF") && kernel.get(0x202..0x206) != Some(b"HdrS") {
            return Err(ApplianceError::NotAKernel(options.kernel.clone()));
        }
        let mut initramfs = read("initramfs", &options.initramfs)?;
        if !initramfs.starts_with(b"070701") {
            return Err(ApplianceError::NotAnInitramfs(options.initramfs.clone()));
        }
        let autostart = Autostart {
            container: CreateContainer {
                id: CONTAINER.to_owned(),
                spec: runtime_spec(config, &options.runtime)?,
                root: RootDisk { device: Device(format!("partlabel:{ROOT_LABEL}")), layer: None },
                volumes: Vec::new(),
                end_machine: true,
            },
        };
        let mut second = Archive::new();
        second.file(AUTOSTART, 0o644, &serde_json::to_vec(&autostart).unwrap_or_default());
        initramfs.resize(initramfs.len().next_multiple_of(4), 0);
        initramfs.extend(second.finish(4096));
        Ok(Self { kernel, initramfs, boot_args })
    }

    /// The words for the manifest.
    pub fn boot_args(&self) -> &str {
        &self.boot_args
    }

    /// Writes what comes before the root, whose place is then at the sink's position.
    pub fn write_head(&self, sink: &mut Sink<'_>, manifest: &mut Manifest) -> io::Result<()> {
        sink.zeros_to(MANIFEST_OFFSET + MANIFEST_SIZE)?;
        for (name, bytes) in [("kernel", &self.kernel), ("initramfs", &self.initramfs)] {
            sink.zeros_to(sink.position().next_multiple_of(GRAIN))?;
            sink.begin_part()?;
            sink.write_all(bytes)?;
            manifest.parts.insert(name.to_owned(), sink.end_part()?);
        }
        sink.zeros_to(sink.position().next_multiple_of(GRAIN))
    }

    /// Writes the partition table and the manifest, when the root has been written.
    pub fn write_tail(&self, mut sink: Sink<'_>, file: &File, manifest: &Manifest) -> io::Result<()> {
        let json = serde_json::to_vec(manifest).map_err(io::Error::other)?;
        if json.len() as u64 > MAX_MANIFEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "The manifest is larger than 1 MiB"));
        }
        let digest = Sha256::digest(&json);
        let mut partitions = vec![Partition {
            label: MANIFEST_LABEL.to_owned(),
            offset: MANIFEST_OFFSET,
            size: MANIFEST_SIZE,
        }];
        for (name, label) in [("kernel", KERNEL_LABEL), ("initramfs", INITRAMFS_LABEL), ("root", ROOT_LABEL)]
        {
            if let Some(Part { offset, size, .. }) = manifest.parts.get(name) {
                let size = size.next_multiple_of(ALIGN);
                partitions.push(Partition { label: label.to_owned(), offset: *offset, size });
            }
        }
        sink.zeros_to((sink.position() + gpt::TAIL).next_multiple_of(GRAIN) - gpt::TAIL)?;
        let (head, tail) = gpt::encode(&partitions, sink.position() + gpt::TAIL, &digest);
        sink.write_all(&tail)?;
        sink.flush()?;
        drop(sink);
        file.write_all_at(&head, 0)?;
        let mut header = MANIFEST_MAGIC.to_vec();
        header.extend((json.len() as u64).to_le_bytes());
        header.extend(digest);
        file.write_all_at(&header, MANIFEST_OFFSET)?;
        file.write_all_at(&json, MANIFEST_OFFSET + ALIGN)
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ApplianceError> {
    let failed = |error| ApplianceError::Read(what, path.to_owned(), error);
    let file = oci::open_file(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_PART + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_PART {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "It is larger than 512 MiB")));
    }
    Ok(bytes)
}
