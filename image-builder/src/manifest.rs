//! Reads the manifest of a built image and holds the image against it. The places are told in
//! `bulkhead_protocol::image`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bulkhead_protocol::image::{
    ALIGN, FOOTER_MAGIC, INITRAMFS_LABEL, ImageKind, KERNEL_LABEL, MANIFEST_LABEL, MANIFEST_MAGIC,
    MAX_MANIFEST, Manifest, Part, ROOT_LABEL, VERSION,
};
use thiserror::Error;

use crate::cancellation::Cancellation;
use crate::digest::Sha256;
use crate::disk::gpt::{self, Partition};

/// The parts by the names that a manifest has for them, with their partitions in an appliance.
pub const PARTS: [(&str, &str); 3] =
    [("kernel", KERNEL_LABEL), ("initramfs", INITRAMFS_LABEL), ("root", ROOT_LABEL)];

/// Why a manifest cannot be read, or an image is not what its manifest says.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// The file.
    #[error("Cannot read the image {0}")]
    Read(PathBuf, #[source] io::Error),
    /// Neither kind, or both.
    #[error("{0} is not an image of Bulkhead: {1}")]
    NotAnImage(PathBuf, String),
    /// The manifest is damaged.
    #[error("The manifest of {0} is damaged: {1}")]
    Damaged(PathBuf, String),
    /// The manifest is no JSON, or not of this shape.
    #[error("Cannot understand the manifest of {0}")]
    Parse(PathBuf, #[source] serde_json::Error),
    /// A part is damaged.
    #[error("The part {1} of {0} does not match the digest in the manifest")]
    Part(PathBuf, String),
}

/// Reads an image's manifest and checks that it is whole and fits the file. The parts' content is not read.
pub fn read_manifest(path: &Path) -> Result<Manifest, ManifestError> {
    let (file, size) = open(path)?;
    read_manifest_of(&file, size, path)
}

/// Holds every part of an image against its digest in `manifest`.
pub fn verify(path: &Path, manifest: &Manifest) -> Result<(), ManifestError> {
    verify_until(path, manifest, &Cancellation::default())
}

/// As [`verify`] does; an error once the work shall end.
pub fn verify_until(
    path: &Path,
    manifest: &Manifest,
    cancellation: &Cancellation,
) -> Result<(), ManifestError> {
    let (file, _) = open(path)?;
    let failed = |error| ManifestError::Read(path.to_owned(), error);
    let mut piece = vec![0; 256 << 10];
    for (name, part) in &manifest.parts {
        let mut digest = Sha256::new();
        let mut done = 0;
        while done < part.size {
            cancellation.check().map_err(|error| failed(error.into()))?;
            let length = usize::try_from(part.size - done).unwrap_or(usize::MAX).min(piece.len());
            file.read_exact_at(&mut piece[..length], part.offset + done).map_err(failed)?;
            digest.update(&piece[..length]);
            done += length as u64;
        }
        if hex::encode(digest.finalize()) != part.sha256 {
            return Err(ManifestError::Part(path.to_owned(), name.clone()));
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<(File, u64), ManifestError> {
    let failed = |error| ManifestError::Read(path.to_owned(), error);
    let file = crate::oci::open_file(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    Ok((file, size))
}

fn read_manifest_of(file: &File, size: u64, path: &Path) -> Result<Manifest, ManifestError> {
    let failed = |error| ManifestError::Read(path.to_owned(), error);
    let refused = |what: &str| ManifestError::NotAnImage(path.to_owned(), what.to_owned());
    let (mut head, mut footer) =
        (vec![0; usize::try_from(gpt::HEAD.min(size)).unwrap_or_default()], [0; 4096]);
    file.read_exact_at(&mut head, 0).map_err(failed)?;
    if size >= ALIGN {
        file.read_exact_at(&mut footer, size - ALIGN).map_err(failed)?;
    }
    match (gpt::present(&head), footer.starts_with(FOOTER_MAGIC)) {
        (true, true) => Err(refused("it claims to be a container root and an appliance at once")),
        (false, false) => Err(refused("it ends in no footer and starts with no partition table")),
        (false, true) => {
            let (offset, length) = (number(&footer, 16), number(&footer, 24));
            let place = Place { offset, length, digest: &footer[32..64], end: size - ALIGN };
            let manifest = read_at(file, path, &place)?;
            check(path, &manifest, ImageKind::ContainerRoot, offset, &[])?;
            Ok(manifest)
        }
        (true, false) => {
            let partitions = gpt::decode(&head, size)
                .map_err(|error| ManifestError::NotAnImage(path.to_owned(), error.to_string()))?;
            let own = partitions.iter().find(|partition| partition.label == MANIFEST_LABEL);
            let own = own.ok_or_else(|| refused("it has no partition manifest-a"))?;
            let mut header = [0; 56];
            if own.size < ALIGN {
                return Err(refused("its partition manifest-a is too small"));
            }
            file.read_exact_at(&mut header, own.offset).map_err(failed)?;
            if !header.starts_with(MANIFEST_MAGIC) {
                return Err(refused("its partition manifest-a holds no manifest"));
            }
            let place = Place {
                offset: own.offset + ALIGN,
                length: number(&header, 16),
                digest: &header[24..56],
                end: own.offset + own.size,
            };
            let manifest = read_at(file, path, &place)?;
            check(path, &manifest, ImageKind::Appliance, size, &partitions)?;
            Ok(manifest)
        }
    }
}

/// Where a manifest is, and where what surrounds it ends.
struct Place<'d> {
    offset: u64,
    length: u64,
    digest: &'d [u8],
    end: u64,
}

fn read_at(file: &File, path: &Path, place: &Place<'_>) -> Result<Manifest, ManifestError> {
    let damaged = |what: &str| ManifestError::Damaged(path.to_owned(), what.to_owned());
    if place.length > MAX_MANIFEST {
        return Err(damaged("it is larger than 1 MiB"));
    }
    if place.offset.checked_add(place.length).is_none_or(|end| end > place.end) {
        return Err(damaged("it lies outside its place"));
    }
    let mut bytes = vec![0; usize::try_from(place.length).unwrap_or_default()];
    file.read_exact_at(&mut bytes, place.offset)
        .map_err(|error| ManifestError::Read(path.to_owned(), error))?;
    if Sha256::digest(&bytes)[..] != *place.digest {
        return Err(damaged("it does not match its digest"));
    }
    serde_json::from_slice(&bytes).map_err(|error| ManifestError::Parse(path.to_owned(), error))
}

/// The parts must be those of the kind and lie, in an appliance, at the start of their partitions, else
/// before `end`.
fn check(
    path: &Path,
    manifest: &Manifest,
    kind: ImageKind,
    end: u64,
    partitions: &[Partition],
) -> Result<(), ManifestError> {
    let damaged = |what: String| Err(ManifestError::Damaged(path.to_owned(), what));
    if manifest.version != VERSION {
        return damaged(format!("it has the version {} and only {VERSION} is read", manifest.version));
    }
    if manifest.kind != kind {
        return damaged("it is of another kind than the file".to_owned());
    }
    let parts = if kind == ImageKind::Appliance { &PARTS[..] } else { &PARTS[2..] };
    if manifest.parts.len() != parts.len() {
        return damaged(format!("it names {} parts in place of {}", manifest.parts.len(), parts.len()));
    }
    for (name, label) in parts {
        let Some(Part { offset, size, sha256 }) = manifest.parts.get(*name) else {
            return damaged(format!("it does not name the part {name}"));
        };
        let behind = offset.checked_add(*size);
        let fits = match partitions.iter().find(|partition| partition.label == *label) {
            Some(partition) => *offset == partition.offset && *size <= partition.size,
            None => {
                kind == ImageKind::ContainerRoot && *offset == 0 && behind.is_some_and(|behind| behind <= end)
            }
        };
        if !fits || offset % ALIGN != 0 {
            return damaged(format!("its part {name} lies outside its place"));
        }
        if hex::decode(sha256).ok().is_none_or(|digest| digest.len() != 32) {
            return damaged(format!("the digest of its part {name} is malformed"));
        }
    }
    Ok(())
}

fn number(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|index| bytes[offset + index]))
}
