//! A machine: one microVM with one container.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};

use super::container::ContainerSpec;
use super::metadata::{Metadata, resource};

/// One microVM that runs one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Who it is.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: MachineSpec,
    /// What is.
    pub status: MachineStatus,
}

resource!(Machine, "machines", "machine");

fn one() -> u8 {
    1
}

/// Text without a NUL character.
fn word() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[^\\x00]*$"))
}

pub(super) fn words() -> Schema {
    ArrayBuilder::new().items(word()).max_items(Some(1024)).description(Some("Words.")).into()
}

pub(super) fn variables() -> Schema {
    let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[^=\\x00]+$"));
    ObjectBuilder::new()
        .property_names(Some(name))
        .additional_properties(Some(Schema::from(word())))
        .description(Some("Variables added to the image's, or replacing them."))
        .into()
}

fn default_memory() -> u32 {
    256
}

fn default_root_size() -> u32 {
    10_240
}

fn default_stop_timeout() -> u32 {
    10
}

/// What is wanted of a machine. Only `image` must be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// The name or the id of an image, or the first 12 or more digits of its id.
    #[schema(min_length = 1, max_length = 255, pattern = "^[a-zA-Z0-9][a-zA-Z0-9_.:/@+-]{0,254}$")]
    pub image: String,
    /// The machine's name; made up where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63, pattern = "^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$", nullable = false)]
    pub name: Option<String>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = words, required = false)]
    pub command: Option<Vec<String>>,
    /// Replaces the image's entry point, and its arguments with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = words, required = false)]
    pub entrypoint: Option<Vec<String>>,
    /// Variables added to the image's, or replacing them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(schema_with = variables, required = false)]
    pub env: BTreeMap<String, String>,
    /// `user` or `user:group`, by name or number; replaces the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128, pattern = "^[a-zA-Z0-9_][a-zA-Z0-9_.:-]{0,127}$", nullable = false)]
    pub user: Option<String>,
    /// Where the process starts; replaces the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024, pattern = "^/[a-zA-Z0-9_./@+ -]*$", nullable = false)]
    pub workdir: Option<String>,
    /// The guest's host name; the machine's name where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 63, pattern = "^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$", nullable = false)]
    pub hostname: Option<String>,
    /// Ports of the host that lead to ports of the guest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 128)]
    pub ports: Vec<PortSpec>,
    /// Persistent disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 8)]
    pub volumes: Vec<VolumeSpec>,
    /// Processors, 1 to 32.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 32, default = 1)]
    pub vcpus: u8,
    /// The guest's memory in MiB, 64 to 1048576.
    #[serde(default = "default_memory")]
    #[schema(minimum = 64, maximum = 1_048_576, default = 256)]
    pub memory_mib: u32,
    /// How much the container's root may hold beside the image, in MiB, 16 to 1048576. It is kept until the
    /// machine is deleted, and takes room on the host as far as it is used.
    #[serde(default = "default_root_size")]
    #[schema(minimum = 16, maximum = 1_048_576, default = 10_240)]
    pub root_size_mib: u32,
    /// Limits of the container inside the guest.
    #[serde(default)]
    pub limits: Limits,
    /// What the container may do in its machine, and what it finds.
    #[serde(default)]
    pub container: ContainerSpec,
    /// How much the machine may read, write, receive and send a second.
    #[serde(default)]
    pub rates: Rates,
    /// How the machine is connected.
    #[serde(default)]
    pub network: NetworkKind,
    /// Whether the host's kernel serves the network's queues (`/dev/vhost-net`): frames then cost the VMM nothing. On
    /// the bridge, and without rates of the network.
    #[serde(default)]
    pub vhost: bool,
    /// How many pairs of queues the network has, 1 to `vcpus`, on the bridge alone: so many processors send and receive
    /// at once, each with a thread of the VMM's or the host's.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 32, default = 1)]
    pub network_queues: u8,
    /// How many queues each drive has, 1 to `vcpus`, each with a thread of the VMM's.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 32, default = 1)]
    pub disk_queues: u8,
    /// Whose users the container has.
    #[serde(default)]
    pub userns: Userns,
    /// Delete the machine when it has ended.
    #[serde(default)]
    pub auto_remove: bool,
    /// How long a stop waits before it kills, in seconds.
    #[serde(default = "default_stop_timeout")]
    #[schema(maximum = 3600, default = 10)]
    pub stop_timeout_s: u32,
    /// How long a start may take until the container runs, in seconds; what takes longer is ended. As long as the
    /// daemon allows where there is none (`serve --boot-timeout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600, nullable = false)]
    pub start_timeout_s: Option<u32>,
}

/// How a machine is connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// By the machines' bridge, which the daemon needs root for: machines reach one another.
    #[default]
    Bridge,
    /// By a passt of its own, without any privilege: the machine reaches what its host does, but for the host's
    /// loopback, and is reached by its published ports alone.
    Passt,
}

/// Whose users a container has. Either way they are its machine's, and none of them is known on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Userns {
    /// The guest's: the container's root is the guest's root with fewer capabilities.
    #[default]
    Host,
    /// Its own 65536, in a user namespace: the container's root is nobody in the guest, and has its capabilities
    /// over what is the container's alone.
    Private,
}

/// A port of the host that leads to a port of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// The host's port.
    #[schema(value_type = u16, minimum = 1, maximum = 65535)]
    pub host_port: u16,
    /// One address of the host; all of them where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = Ipv4, nullable = false, required = false)]
    pub host_ip: Option<Ipv4Addr>,
    /// The guest's port.
    #[schema(value_type = u16, minimum = 1, maximum = 65535)]
    pub guest_port: u16,
    /// The transport.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport that can be published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
}

/// A persistent disk in the container: a named volume, or a disk image of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// The volume's name; it is made when there is none of that name.
    #[schema(max_length = 63, pattern = "^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")]
    pub name: String,
    /// An absolute path in the container.
    #[schema(max_length = 1024, pattern = "^/[a-zA-Z0-9_./@+ -]*[a-zA-Z0-9_@+-]$")]
    pub destination: String,
    /// Mount it read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// Limits of the container inside the guest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 4, maximum = 1_048_576, nullable = false)]
    pub memory_mib: Option<u32>,
    /// Processors, 0.01 to 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.01, maximum = 32.0, nullable = false)]
    pub cpus: Option<f64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4_194_304, nullable = false)]
    pub pids: Option<u32>,
}

/// How much a machine may read, write, receive and send a second. The VMM holds it back, whatever the guest
/// does; each drive and each direction of the network has the whole of it. 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Bytes read and written a second on each drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_099_511_627_776_u64, nullable = false)]
    pub disk_bytes_per_s: Option<u64>,
    /// Requests a second on each drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_099_511_627_776_u64, nullable = false)]
    pub disk_requests_per_s: Option<u64>,
    /// Bytes received a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_099_511_627_776_u64, nullable = false)]
    pub network_receive_bytes_per_s: Option<u64>,
    /// Bytes sent a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_099_511_627_776_u64, nullable = false)]
    pub network_transmit_bytes_per_s: Option<u64>,
}

/// The largest rate: a tebibyte, or as many requests, a second.
pub const MAX_RATE: u64 = 1 << 40;

impl Rates {
    /// These rates, with those that `change` names in their places.
    pub fn changed(self, change: Self) -> Self {
        Self {
            disk_bytes_per_s: change.disk_bytes_per_s.or(self.disk_bytes_per_s),
            disk_requests_per_s: change.disk_requests_per_s.or(self.disk_requests_per_s),
            network_receive_bytes_per_s: change
                .network_receive_bytes_per_s
                .or(self.network_receive_bytes_per_s),
            network_transmit_bytes_per_s: change
                .network_transmit_bytes_per_s
                .or(self.network_transmit_bytes_per_s),
        }
    }
}

/// What to change of a machine, whether it runs or not. What is not named stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateMachine {
    /// How much it may read, write, receive and send a second.
    #[serde(default)]
    pub rates: Rates,
}

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Made, not started yet.
    Created,
    /// On its way up.
    Creating,
    /// Its container runs.
    Running,
    /// Its processors are held; it goes on where it was.
    Paused,
    /// It has ended; `exit` says how.
    Stopped,
    /// It could not start; `message` says why.
    Failed,
}

impl Phase {
    /// A process of the host may belong to a machine in this phase.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Creating | Self::Running | Self::Paused)
    }
}

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// The id of the image it runs.
    pub image_id: String,
    /// Its address on the machines' bridge; none behind passt.
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub address: Option<Ipv4Addr>,
    /// Its process on the host, while there is one.
    pub pid: Option<u32>,
    /// How it ended the last time.
    pub exit: Option<Exit>,
    /// When it came how far, the last time it was started.
    pub timeline: Timeline,
    /// What the guest says of itself: its boot id.
    pub boot_id: Option<String>,
    /// What the guest says of itself: its kernel's release.
    pub kernel: Option<String>,
    /// How often it was started.
    pub starts: u32,
    /// A sentence on what went wrong, where something did.
    pub message: Option<String>,
    /// What the console said last, when the guest did not come up or broke down: lines without control characters.
    #[serde(default)]
    #[schema(max_items = 20)]
    pub console: Vec<String>,
}

impl MachineStatus {
    /// Of a machine that was made of this image and never started.
    pub fn created(image_id: String) -> Self {
        Self {
            phase: Phase::Created,
            image_id,
            address: None,
            pid: None,
            exit: None,
            timeline: Timeline::default(),
            boot_id: None,
            kernel: None,
            starts: 0,
            message: None,
            console: Vec::new(),
        }
    }
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// The container's exit code; 128 + the signal where a signal ended it.
    pub code: u8,
    /// What ended it.
    pub reason: ExitReason,
    /// The signal that ended the container.
    pub signal: Option<i32>,
    /// The container had reached its memory limit.
    pub oom_killed: bool,
}

/// What ended a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExitReason {
    /// Its container ended.
    GuestExit,
    /// The guest powered off without a status.
    PowerOff,
    /// The guest kernel panicked.
    Panic,
    /// The guest reset itself.
    Reset,
    /// The guest met a triple fault: what it ran was no kernel, or a damaged one.
    TripleFault,
    /// The guest did not come up within its time.
    StartTimeout,
    /// The VMM failed.
    VmmError,
    /// The VMM was killed from outside.
    VmmKilled,
    /// Nothing is known: the host went down with it.
    Lost,
    /// Its container could not be started: 127 where the program is missing, 126 where it cannot run.
    StartFailed,
}

/// When a machine came how far (RFC 3339, UTC, microseconds).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    /// The start was asked for.
    #[schema(format = DateTime)]
    pub requested_at: Option<String>,
    /// The VMM's process was started.
    #[schema(format = DateTime)]
    pub vmm_started_at: Option<String>,
    /// The guest kernel's clock began.
    #[schema(format = DateTime)]
    pub kernel_entered_at: Option<String>,
    /// The guest's init was entered.
    #[schema(format = DateTime)]
    pub initd_entered_at: Option<String>,
    /// The guest's init answered.
    #[schema(format = DateTime)]
    pub initd_ready_at: Option<String>,
    /// The container's process was started.
    #[schema(format = DateTime)]
    pub container_started_at: Option<String>,
    /// The machine ended.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

/// How to stop a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopMachine {
    /// How long to wait before it is killed, in seconds; the machine's own where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 3600, nullable = false)]
    pub timeout_s: Option<u32>,
}

/// Send a signal to a machine's container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KillMachine {
    /// The signal's number; 9 also ends a machine that does not answer.
    #[serde(default = "sigkill")]
    #[schema(minimum = 1, maximum = 64, default = 9)]
    pub signal: i32,
}

fn sigkill() -> i32 {
    9
}

impl Default for KillMachine {
    fn default() -> Self {
        Self { signal: sigkill() }
    }
}
