//! Disks that are taken as volumes. A guest mounts what is in them; the host reads one number of it.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bulkhead_image::Cancellation;
use bulkhead_image::disk_image::{self, DiskSource, DiskSpec};
use bulkhead_image::limits::Limits;
use bulkhead_image::store::Quiet;

use super::error::ServiceError;
use super::model::{DiskFormat, VolumeSource};
use super::volumes::{MAX_SIZE_MIB, MIN_SIZE_MIB};

/// Where ext4's superblock has its magic, in bytes (`Documentation/filesystems/ext4/super.rst`).
const EXT4_MAGIC_AT: u64 = 1024 + 0x38;
const EXT4_MAGIC: [u8; 2] = [0x53, 0xef];

/// Writes a source's disk to `draft` and answers its size in MiB. What has come from an address waits in `store` for the
/// next try, if this one is interrupted.
pub fn take(
    source: &VolumeSource,
    store: &Path,
    draft: &Path,
    cancellation: &Cancellation,
) -> Result<u32, ServiceError> {
    let spec = spec(source, store, draft)?;
    let failed = |source_error: Box<dyn std::error::Error + Send + Sync>| ServiceError::Import {
        source_name: source.location.clone(),
        source: source_error,
    };
    if let DiskSource::File(path) = &spec.source
        && !path.exists()
    {
        return Err(ServiceError::NoSource { source_name: source.location.clone() });
    }
    let cancellation = cancellation.clone();
    let limits = Limits { size: MAX_SIZE_MIB << 20, cancellation, ..Limits::default() };
    let made = disk_image::convert(&spec, &limits, &Quiet).map_err(|error| failed(Box::new(error)))?;
    let file =
        OpenOptions::new().read(true).write(true).open(draft).map_err(|error| failed(Box::new(error)))?;
    let mut magic = [0; 2];
    if file.read_exact_at(&mut magic, EXT4_MAGIC_AT).is_err() || magic != EXT4_MAGIC {
        let message = "it has no ext4 file system at its start, which is what a volume is";
        return Err(failed(message.into()));
    }
    let size_mib = made.size.div_ceil(1 << 20).max(MIN_SIZE_MIB);
    file.set_len(size_mib << 20).and_then(|()| file.sync_all()).map_err(|error| failed(Box::new(error)))?;
    // The limit above is below 2^32 MiB.
    Ok(u32::try_from(size_mib).unwrap_or(u32::MAX))
}

fn spec(source: &VolumeSource, store: &Path, draft: &Path) -> Result<DiskSpec, ServiceError> {
    let invalid = |message: &str| ServiceError::Invalid { field: "source", message: message.to_owned() };
    let location = &source.location;
    if location.len() > 4096 || location.contains(char::is_control) {
        return Err(invalid("a location has up to 4096 characters and no control characters"));
    }
    let from = DiskSource::parse(location);
    match &from {
        DiskSource::File(path) if !path.is_absolute() => {
            return Err(invalid(
                "a location is an absolute path of the host, or starts with https:// or http://",
            ));
        }
        DiskSource::Url(_) if source.sha256.is_none() => {
            return Err(invalid("an address needs a sha256: nothing else says that it is the right disk"));
        }
        _ => {}
    }
    Ok(DiskSpec {
        source: from,
        source_format: match source.format {
            DiskFormat::Raw => disk_image::DiskFormat::Raw,
            DiskFormat::Qcow2 => disk_image::DiskFormat::Qcow2,
        },
        compressed: source.compressed,
        sha256: source.sha256.clone(),
        format: disk_image::DiskFormat::Raw,
        output: draft.to_owned(),
        store: Some(store.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk;

    fn source(location: &str) -> VolumeSource {
        VolumeSource {
            location: location.to_owned(),
            format: DiskFormat::Raw,
            compressed: false,
            sha256: None,
        }
    }

    #[tokio::test]
    async fn an_ext4_disk_is_taken_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [disk, draft, store] = ["disk", "draft", "store"].map(|name| folder.path().join(name));
        disk::make_ext4(&disk, 20).await.unwrap();
        let words = disk.to_string_lossy().into_owned();
        assert_eq!(take(&source(&words), &store, &draft, &Cancellation::default()).unwrap(), 20);
        assert!(std::fs::read(&draft).unwrap() == std::fs::read(&disk).unwrap());
        let digest = VolumeSource { sha256: Some("0".repeat(64)), ..source(&words) };
        assert!(matches!(
            take(&digest, &store, &draft, &Cancellation::default()),
            Err(ServiceError::Import { .. })
        ));
        std::fs::write(&disk, vec![1; 3 << 20]).unwrap();
        assert!(matches!(
            take(&source(&words), &store, &draft, &Cancellation::default()),
            Err(ServiceError::Import { .. })
        ));
    }

    #[test]
    fn what_names_no_disk_is_refused_before_anything_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let [draft, store] = ["draft", "store"].map(|name| folder.path().join(name));
        for words in ["", "disk", "../disk", "ftp://host/disk", "https://host/disk", "/a\nb"] {
            let refused = take(&source(words), &store, &draft, &Cancellation::default());
            assert!(matches!(refused, Err(ServiceError::Invalid { field: "source", .. })), "{words:?}");
        }
        assert!(matches!(
            take(&source("/nonexistent"), &store, &draft, &Cancellation::default()),
            Err(ServiceError::NoSource { .. })
        ));
        assert!(!draft.exists());
    }
}
