use std::collections::BTreeMap;
use std::io::Write;

use bulkhead_protocol::image::{ImageConfig, ROOT_LABEL};
use tempfile::NamedTempFile;

use super::*;

const PARTS: [(&str, &str, u64); 4] = [
    ("manifest", MANIFEST_LABEL, 1 << 20),
    ("kernel", KERNEL_LABEL, 2 << 20),
    ("initramfs", INITRAMFS_LABEL, 3 << 20),
    ("root", ROOT_LABEL, 4 << 20),
];
const SIZE: usize = 6 << 20;

fn content(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(5000).collect()
}

fn manifest() -> Manifest {
    let part = |name: &str, offset| {
        let bytes = content(name);
        Part { offset, size: bytes.len() as u64, sha256: hex(&Sha256::digest(&bytes)) }
    };
    Manifest {
        version: VERSION,
        kind: ImageKind::Appliance,
        name: "test".into(),
        architecture: "amd64".into(),
        config: ImageConfig::default(),
        parts: BTreeMap::from_iter(
            PARTS[1..].iter().map(|(name, _, at)| (name.to_string(), part(name, *at))),
        ),
        boot_args: Some("quiet".into()),
    }
}

/// A whole disk.
fn disk(manifest: &Manifest) -> Vec<u8> {
    let mut disk = vec![0; SIZE];
    let mut entries = vec![0; 128 * 128];
    for ((name, label, start), entry) in PARTS.iter().zip(entries.chunks_exact_mut(128)) {
        entry[..16].fill(0xaf);
        entry[32..40].copy_from_slice(&(start / 512).to_le_bytes());
        entry[40..48].copy_from_slice(&(start / 512 + 2047).to_le_bytes());
        let units: Vec<u8> = label.encode_utf16().flat_map(u16::to_le_bytes).collect();
        entry[56..56 + units.len()].copy_from_slice(&units);
        let bytes = if *name == "manifest" { manifest_partition(manifest) } else { content(name) };
        disk[*start as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    let mut header = [0u8; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&[0, 0, 1, 0]);
    header[12..16].copy_from_slice(&92u32.to_le_bytes());
    header[72..80].copy_from_slice(&2u64.to_le_bytes());
    header[80..84].copy_from_slice(&128u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    let checksum = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    disk[512..604].copy_from_slice(&header);
    disk[1024..1024 + entries.len()].copy_from_slice(&entries);
    disk
}

fn manifest_partition(manifest: &Manifest) -> Vec<u8> {
    let text = serde_json::to_vec(manifest).unwrap();
    let mut bytes = MANIFEST_MAGIC.to_vec();
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(Sha256::digest(&text).as_slice());
    bytes.resize(4096, 0);
    bytes.extend(text);
    bytes
}

fn opened(disk: &[u8]) -> Result<Parts, String> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(disk).unwrap();
    open(file.path()).map_err(|error| crate::chain(&error))
}

fn refusal(disk: &[u8]) -> String {
    opened(disk).map(drop).expect_err("refused")
}

#[test]
fn a_whole_disk_gives_its_checked_parts() {
    let parts = opened(&disk(&manifest())).unwrap();
    assert_eq!((parts.kernel, parts.initramfs), (content("kernel"), content("initramfs")));
    assert_eq!(parts.boot_args.as_deref(), Some("quiet"));
}

#[test]
fn damage_is_named() {
    let cases = [
        (512, "no GUID partition table"),
        (512 + 30, "header of its partition table is damaged"),
        (1024 + 60, "list of entries of its partition table is damaged"),
        (1 << 20, "does not start as one"),
        ((1 << 20) + 30, "manifest is damaged"),
        ((1 << 20) + 4096, "manifest is damaged"),
        ((2 << 20) + 4999, "kernel is damaged"),
        (3 << 20, "initramfs is damaged"),
    ];
    for (at, expected) in cases {
        let mut disk = disk(&manifest());
        disk[at] ^= 0x40;
        let message = refusal(&disk);
        assert!(message.contains(expected), "byte {at}: {message}");
    }
}

#[test]
fn a_disk_cut_at_any_block_is_refused_and_never_read_beyond_its_end() {
    let whole = disk(&manifest());
    for length in (0..5 << 20).step_by(64 << 10) {
        opened(&whole[..length]).map(drop).expect_err("refused");
    }
}

#[test]
fn a_manifest_may_not_lie_about_places() {
    type Change = fn(&mut Manifest);
    let cases: [(&str, Change); 6] = [
        ("where they cannot be", |manifest| manifest.parts.get_mut("kernel").unwrap().offset = 0),
        ("where they cannot be", |manifest| manifest.parts.get_mut("kernel").unwrap().size = u64::MAX),
        ("names no initramfs", |manifest| drop(manifest.parts.remove("initramfs"))),
        ("has version 2", |manifest| manifest.version = 2),
        ("container root", |manifest| manifest.kind = ImageKind::ContainerRoot),
        ("\"arm64\"", |manifest| manifest.architecture = "arm64".into()),
    ];
    for (expected, change) in cases {
        let mut manifest = manifest();
        change(&mut manifest);
        let message = refusal(&disk(&manifest));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_directory_is_no_appliance() {
    let message = crate::chain(&open(Path::new("/")).err().unwrap());
    assert!(message.contains("directory"), "{message}");
}
