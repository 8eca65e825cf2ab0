//! From container images and root file systems to disks that boot in a Bulkhead machine.
//!
//! * [`source`]: where an image comes from; [`oci`] and [`directory`] read it, [`roots`] makes some of its own.
//! * [`reference`]: what images are called in registries.
//! * [`registry`]: what is fetched from registries and sent to them; [`http`]: how anything is asked of the network.
//! * [`store`]: what was pulled, by its content; [`artifact`]: built files in registries.
//! * [`tree`]: the root file system in memory; [`disk`] writes it down.
//! * [`build`]: from a source to a file; [`manifest`] reads and verifies that file; [`appliance`] is the kind
//!   of it that boots by itself.
//! * [`limits`]: how much is taken; [`cancellation`]: an end to what nobody waits for; [`progress`]: how far it is.
//! * [`root_reader`]: reads the file system of a built image; [`sbom`] says of what software it consists.
//! * [`runtime_spec`]: what an image's configuration means to whoever runs it.
//! * [`disk_image`]: disks of other machines, raw and qcow2.
//! * [`kernel`]: takes a Debian kernel package apart into an uncompressed kernel and an initramfs.
//! * [`sentence`]: what people are told of an error.

pub mod appliance;
pub mod artifact;
mod at_once;
pub mod build;
pub mod cancellation;
pub mod command_line;
pub mod cpio;
pub mod digest;
pub mod directory;
pub mod disk;
pub mod disk_image;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod http;
pub mod kernel;
pub mod limits;
pub mod manifest;
pub mod oci;
pub mod output;
mod program;
pub mod progress;
pub mod reference;
pub mod registry;
pub mod root_reader;
pub mod roots;
pub mod runtime_spec;
pub mod sbom;
mod sentence;
pub mod source;
pub mod store;
pub mod tree;

pub use appliance::ApplianceOptions;
pub use build::{BuildOptions, ImageError, build, build_with_inventory, manifest_digest};
pub use cancellation::Cancellation;
pub use manifest::{ManifestError, read_manifest, verify};
pub use reference::{Reference, ReferenceError};
pub use runtime_spec::{
    RuntimeOptions, RuntimeSpecError, SeccompError, granted_capabilities, runtime_spec, seccomp_profile,
};
pub use sentence::sentence;
pub use source::{Source, SourceError};
