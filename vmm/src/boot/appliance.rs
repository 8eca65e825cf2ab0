//! An appliance: a disk that brings its own kernel, initramfs and manifest. Everything that is used of it
//! is checked against the manifest before a vCPU runs; the checked bytes, not the file, are what boots.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bulkhead_protocol::image::{
    ALIGN, INITRAMFS_LABEL, ImageKind, KERNEL_LABEL, MANIFEST_LABEL, MANIFEST_MAGIC, MAX_MANIFEST, Manifest,
    Part, VERSION,
};
use sha2::{Digest, Sha256};

use super::gpt::{self, GptError, Partition};

/// The largest kernel or initramfs, in bytes.
const MAX_PART: u64 = 512 << 20;

/// What is wrong with an appliance.
#[derive(Debug, thiserror::Error)]
pub enum ApplianceError {
    /// It is something else than a file or a disk.
    #[error(transparent)]
    Drive(#[from] crate::drive::DriveError),
    /// Its partition table is refused.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// A partition is missing.
    #[error("it has no partition {0}")]
    NoPartition(&'static str),
    /// Reading failed, or it ends too early.
    #[error("its {0} cannot be read")]
    Read(String, #[source] io::Error),
    /// The manifest partition holds something else.
    #[error("its manifest partition does not start as one")]
    NoManifest,
    /// A size or place is impossible.
    #[error("its {0}")]
    Invalid(String),
    /// The manifest is no manifest.
    #[error("its manifest cannot be understood")]
    Parse(#[from] serde_json::Error),
    /// Bytes are not those that were built.
    #[error("its {0} is damaged: the digest is not the one in the manifest")]
    Digest(String),
}

/// What boots, checked.
pub struct Parts {
    /// The kernel.
    pub kernel: Vec<u8>,
    /// The initramfs.
    pub initramfs: Vec<u8>,
    /// The kernel's command line, where the manifest has one.
    pub boot_args: Option<String>,
}

/// Opens and checks the appliance at `path`.
pub fn open(path: &Path) -> Result<Parts, ApplianceError> {
    let drive = crate::drive::RawDrive::open(path, true)?;
    let disk = drive.file();
    let partitions = gpt::read(disk, drive.size())?;
    let manifest = read_manifest(disk, find(&partitions, MANIFEST_LABEL)?)?;
    check_manifest(&manifest)?;
    Ok(Parts {
        kernel: read_part(disk, &manifest, "kernel", find(&partitions, KERNEL_LABEL)?)?,
        initramfs: read_part(disk, &manifest, "initramfs", find(&partitions, INITRAMFS_LABEL)?)?,
        boot_args: manifest.boot_args,
    })
}

fn find<'a>(partitions: &'a [Partition], label: &'static str) -> Result<&'a Partition, ApplianceError> {
    partitions.iter().find(|other| other.name == label).ok_or(ApplianceError::NoPartition(label))
}

fn read_manifest(disk: &File, partition: &Partition) -> Result<Manifest, ApplianceError> {
    let header = read_range(disk, "manifest's header", partition.bytes.start, 56)?;
    let (magic, rest) = header.split_at(16);
    if magic != MANIFEST_MAGIC {
        return Err(ApplianceError::NoManifest);
    }
    let (length, digest) = rest.split_at(8);
    let length = length.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let start = partition.bytes.start + ALIGN;
    if length > MAX_MANIFEST || start.saturating_add(length) > partition.bytes.end {
        return Err(ApplianceError::Invalid(format!("manifest claims {length} bytes")));
    }
    let text = read_range(disk, "manifest", start, length)?;
    if Sha256::digest(&text).as_slice() != digest {
        return Err(ApplianceError::Digest("manifest".into()));
    }
    Ok(serde_json::from_slice(&text)?)
}

fn check_manifest(manifest: &Manifest) -> Result<(), ApplianceError> {
    let refused = |text: String| Err(ApplianceError::Invalid(text));
    if manifest.version != VERSION {
        return refused(format!("manifest has version {}, not {VERSION}", manifest.version));
    }
    if manifest.kind != ImageKind::Appliance {
        return refused("manifest is that of a container root, not of an appliance".into());
    }
    if manifest.architecture != "amd64" {
        return refused(format!("architecture is {:?}, not \"amd64\"", manifest.architecture));
    }
    Ok(())
}

/// Reads the part `name`, which must be the start of `partition`, and checks its digest.
fn read_part(
    disk: &File,
    manifest: &Manifest,
    name: &str,
    partition: &Partition,
) -> Result<Vec<u8>, ApplianceError> {
    let part: &Part = manifest
        .parts
        .get(name)
        .ok_or_else(|| ApplianceError::Invalid(format!("manifest names no {name}")))?;
    let room = partition.bytes.end - partition.bytes.start;
    if part.offset != partition.bytes.start || part.size > room || part.size > MAX_PART {
        let text =
            format!("manifest puts {} bytes of {name} at {}, where they cannot be", part.size, part.offset);
        return Err(ApplianceError::Invalid(text));
    }
    let bytes = read_range(disk, name, part.offset, part.size)?;
    if hex(&Sha256::digest(&bytes)) != part.sha256 {
        return Err(ApplianceError::Digest(name.to_owned()));
    }
    Ok(bytes)
}

fn read_range(disk: &File, what: &str, offset: u64, length: u64) -> Result<Vec<u8>, ApplianceError> {
    let failed = |error| ApplianceError::Read(what.to_owned(), error);
    let length = usize::try_from(length).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
    let mut bytes = vec![0; length];
    disk.read_exact_at(&mut bytes, offset).map_err(failed)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "appliance_tests.rs"]
mod tests;
