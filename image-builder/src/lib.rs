//! From container images and root file systems to disks that boot in a Bulkhead machine.
//!
//! * [`kernel`]: takes a Debian kernel package apart into an uncompressed kernel and an initramfs.
//! * [`runtime_spec`]: what an image's configuration means to whoever runs it.
//! * [`source`]: where an image comes from.

pub mod cpio;
pub mod kernel;
pub mod limits;
pub mod oci;
pub mod output;
pub mod runtime_spec;
pub mod source;
pub mod tree;

pub use runtime_spec::{RuntimeOptions, RuntimeSpecError, runtime_spec};
pub use source::{Source, SourceError};
