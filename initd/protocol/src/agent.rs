//! The HTTP/1.1 interface of `initd` on vsock port [`PORT`].
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `GET /v1/ready` | | 200 [`Ready`] |
//! | `GET /v1/containers` | | 200 `[ContainerStatus]` |
//! | `POST /v1/containers` | [`CreateContainer`] | 201 [`ContainerStatus`] |
//! | `GET /v1/containers/ID` | | 200 [`ContainerStatus`] |
//! | `POST /v1/containers/ID/start` | | 200 [`ContainerStatus`] |
//! | `POST /v1/containers/ID/signal` | [`SignalRequest`] | 204 |
//! | `GET /v1/containers/ID/wait` | | 200 [`ExitStatus`], when the container has ended |
//! | `GET /v1/containers/ID/logs?since=N&follow=BOOL` | | 200, a stream of log frames |
//! | `POST /v1/containers/ID/exec` | [`ExecProcess`](crate::exec::ExecProcess) | 101 and a stream both ways, or 204 |
//! | `POST /v1/containers/ID/copy` | [`CopyRequest`](crate::copy::CopyRequest) | 101 and a stream both ways |
//! | `DELETE /v1/containers/ID` | | 204 (409 while it runs) |
//! | `POST /v1/power-off` | [`PowerOff`] | 202 |
//!
//! Every error has the body [`Fault`]. A body is at most [`MAX_BODY`] bytes.
//!
//! A log frame is 16 bytes of header and a payload: byte 0 the stream (1 stdout, 2 stderr), bytes 1 to 3
//! zero, bytes 4 to 7 the payload's length (big endian, at most [`MAX_LOG_FRAME`]), bytes 8 to 15 the
//! sequence number of the payload's first byte (big endian, counted over both streams). `since` is the
//! sequence number to go on from; where it is older than what is kept, the stream starts at the oldest.

use serde::{Deserialize, Serialize};

use crate::oci;

/// The vsock port on which `initd` serves. Below 1024, so that no unprivileged process can take it.
pub const PORT: u32 = 512;

/// The largest request body that `initd` reads, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// The largest payload of one log frame, in bytes.
pub const MAX_LOG_FRAME: usize = 64 << 10;

/// How many bytes of a container's output `initd` keeps for readers that come late.
pub const LOG_BYTES: usize = 1 << 20;

/// `initd` is up: what runs in this guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// `CARGO_PKG_VERSION` of `initd`.
    pub version: String,
    /// The guest kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// `/proc/sys/kernel/random/boot_id` of the guest.
    pub boot_id: String,
    /// Guest uptime when `initd` was entered, in microseconds (`CLOCK_BOOTTIME`).
    pub entered_us: u64,
    /// Guest uptime when `initd` began to listen, in microseconds.
    pub ready_us: u64,
}

/// Make a container; it does not run until it is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateContainer {
    /// 1 to 64 characters of `[a-zA-Z0-9_.-]`, the first one a letter or a digit.
    pub id: String,
    /// What to run. `root.path` is not used: the root is `root` below.
    pub spec: oci::Spec,
    /// The disk that holds the container's root file system.
    pub root: RootDisk,
    /// Disks that are mounted into the container, in this order, after the specification's mounts.
    #[serde(default)]
    pub volumes: Vec<VolumeDisk>,
    /// Power the machine off with this container's exit code when it has ended and its output is read.
    #[serde(default)]
    pub end_machine: bool,
}

/// Names a block device in the guest: `serial:NAME` (virtio-blk's identifier, at most 20 bytes; for
/// Bulkhead's own VMM the drive's id), `partlabel:NAME` (a GPT partition's name) or a path below `/dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Device(pub String);

/// A read-only disk, EROFS or squashfs, under a writable layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootDisk {
    /// Where the file system is.
    pub device: Device,
    /// Where the ext4 file system is that takes what is written; memory does where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Device>,
}

/// An ext4 disk mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeDisk {
    /// Where the ext4 file system is.
    pub device: Device,
    /// An absolute path in the container. Made when missing; never followed through a link out of the root.
    pub destination: String,
    /// Mount read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// A container's life, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Stopped,
}

/// A container as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerStatus {
    /// The id it was made with.
    pub id: String,
    /// Where it is in its life.
    pub state: ContainerState,
    /// The process id in the guest's root namespace, while there is one.
    pub pid: Option<i32>,
    /// Guest uptime at its start, in microseconds.
    pub started_us: Option<u64>,
    /// How it ended.
    pub exit: Option<ExitStatus>,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitStatus {
    /// The exit code; 128 + the signal where a signal ended it, as a shell reports it.
    pub code: u8,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed a process of it because its memory limit was reached.
    pub oom_killed: bool,
}

/// Send a signal to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// 1 to 64.
    pub signal: i32,
    /// To every process of the container, not only its first.
    #[serde(default)]
    pub all: bool,
}

/// End the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerOff {
    /// The status that the exit device reports.
    #[serde(default)]
    pub code: u8,
}

/// What went wrong, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The sentence. It names the operation and its subject, then the cause.
    pub message: String,
    /// The status that a shell gives for a program that does not begin: 126, or 127 where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
}
