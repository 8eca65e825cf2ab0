//! The resources, as clients see them: each has metadata, what is wanted and what is.

mod container;
mod copy;
mod event;
mod exec;
mod image;
mod machine;
mod metadata;
mod progress;
mod volume;

pub use container::{ContainerSpec, TmpfsSpec, Ulimit};
pub use copy::{CopyAction, CopySpec};
pub use event::{Event, EventSpec, EventStatus};
pub use exec::{ExecSpec, TtySize};
pub use image::{Image, ImageSpec, ImageStatus, ImportImage, RegistryCredentials};
pub use machine::{
    Exit, ExitReason, KillMachine, Limits, MAX_RATE, Machine, MachineSpec, MachineStatus, NetworkKind, Phase,
    PortSpec, Protocol, Rates, StopMachine, Timeline, UpdateMachine, Userns, VolumeSpec,
};
pub use metadata::{List, ListMetadata, Metadata, Resource};
pub use progress::{ProgressItem, ProgressOutcome};
pub use volume::{CreateVolume, DiskFormat, Volume, VolumeResourceSpec, VolumeSource, VolumeStatus};
