//! The types that the host and a guest share. Nothing else may be shared between the two sides.
//!
//! * [`agent`]: bodies of the HTTP interface that `initd` serves on vsock.
//! * [`boot`]: words on the kernel's command line and the files in the initramfs that `initd` reads.
//! * [`console`]: how what a guest printed is made fit for people.
//! * [`copy`]: copies into a container and out of it.
//! * [`exec`]: another process in a container, and the stream to and from it.
//! * [`exit`]: the exit device's port and the record that `bulkhead-vmm` writes when a machine ends.
//! * [`image`]: the manifest of a container root or an appliance, and where a disk keeps it.
//! * [`oci`]: the part of the OCI runtime specification that `initd` obeys.

pub mod agent;
pub mod boot;
pub mod console;
pub mod copy;
pub mod exec;
pub mod exit;
pub mod image;
pub mod oci;
