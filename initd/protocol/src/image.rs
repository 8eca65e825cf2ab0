//! The manifest of a built image, and where a disk keeps it.
//!
//! A *container root* is an EROFS or a squashfs file system from byte 0, padded to 4 KiB, then the manifest (JSON,
//! padded to 4 KiB), then one 4 KiB [footer](FOOTER_MAGIC). Linux never looks behind the file system.
//!
//! An *appliance* is a GPT disk with the partitions [`MANIFEST_LABEL`], [`KERNEL_LABEL`],
//! [`INITRAMFS_LABEL`] and [`ROOT_LABEL`]. The manifest partition starts with a
//! [header](MANIFEST_MAGIC) that tells the manifest's length and digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The manifest's version that this code writes and the only one it reads.
pub const VERSION: u32 = 1;

/// The largest manifest that is read, in bytes.
pub const MAX_MANIFEST: u64 = 1 << 20;

/// Every part starts and ends on a multiple of this many bytes.
pub const ALIGN: u64 = 4096;

/// The first 16 bytes of a container root's last 4 KiB. Behind them, little endian: the manifest's
/// offset (u64), its length (u64), its SHA-256 (32 bytes); the rest is zero.
pub const FOOTER_MAGIC: &[u8; 16] = b"bulkhead-root-1\n";

/// The first 16 bytes of an appliance's manifest partition. Behind them, little endian: the manifest's
/// length (u64) and its SHA-256 (32 bytes); the manifest starts at byte 4096 of the partition.
pub const MANIFEST_MAGIC: &[u8; 16] = b"bulkhead-appl-1\n";

/// The name of the GPT partition that holds the manifest.
pub const MANIFEST_LABEL: &str = "manifest-a";
/// The name of the GPT partition that holds the kernel (an uncompressed ELF or a bzImage).
pub const KERNEL_LABEL: &str = "kernel-a";
/// The name of the GPT partition that holds the initramfs.
pub const INITRAMFS_LABEL: &str = "initramfs-a";
/// The name of the GPT partition that holds the root, EROFS or squashfs.
pub const ROOT_LABEL: &str = "root-a";

/// What an image file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageKind {
    /// A read-only root, booted with the host's kernel and initd.
    ContainerRoot,
    /// A whole disk with its own kernel and initramfs.
    Appliance,
}

/// What an image file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// What the file is.
    pub kind: ImageKind,
    /// Where it was built from, as the builder was told, without a path of the building machine:
    /// the tag of an OCI image, the last component of a folder or a file.
    pub name: String,
    /// GOARCH's word; `amd64` is the only one that runs.
    pub architecture: String,
    /// What to run in it.
    pub config: ImageConfig,
    /// Every part by name: `root`, and in an appliance `kernel` and `initramfs`.
    pub parts: BTreeMap<String, Part>,
    /// Words for the kernel's command line (appliance only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_args: Option<String>,
}

/// A range of bytes in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// From the start of the file, in bytes; a multiple of [`ALIGN`].
    pub offset: u64,
    /// In bytes, without padding.
    pub size: u64,
    /// SHA-256 of those bytes, 64 hexadecimal digits in lower case.
    pub sha256: String,
}

/// The part of an OCI image's configuration that says how to run it (OCI image specification 1.1,
/// `config.md`). Data only: nothing in it becomes a command or a path on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments behind the entry point, replaced by those given at run time.
    pub cmd: Vec<String>,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// Where the process starts; empty is `/`.
    pub working_dir: String,
    /// `user`, `user:group`, by name or number; empty is root. Names are looked up in the image's
    /// `/etc/passwd` and `/etc/group` inside the guest.
    pub user: String,
    /// `6379/tcp` each.
    pub exposed_ports: Vec<String>,
    /// Paths that the image declares as volumes.
    pub volumes: Vec<String>,
    /// Name to value.
    pub labels: BTreeMap<String, String>,
    /// A signal's name or number; empty is `SIGTERM`.
    pub stop_signal: String,
}
