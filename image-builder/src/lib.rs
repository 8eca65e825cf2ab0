//! From container images and root file systems to disks that boot in a Bulkhead machine.
//!
//! * [`kernel`]: takes a Debian kernel package apart into an uncompressed kernel and an initramfs.

pub mod cpio;
pub mod kernel;
pub mod output;
