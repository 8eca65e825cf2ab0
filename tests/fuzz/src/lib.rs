//! Fuzz targets, by name. Each takes any bytes, and ends the process where a promise does not hold.
//!
//! `cargo xtask fuzz NAME` lets libFuzzer look for such bytes; `cargo nextest run -p bulkhead-fuzz` tries the seeds and
//! what chance makes of them.

mod archive;
mod documents;
mod reference;
mod root;

use bulkhead_initd::fuzzing;

/// A target.
pub type Target = fn(&[u8]);

/// All of them. The seeds of a target are in `seeds/NAME`.
pub const TARGETS: [(&str, Target); 10] = [
    ("archive", archive::target),
    ("cgroup_values", fuzzing::cgroup_values),
    ("credentials", bulkhead_image::fuzzing::credentials),
    ("documents", documents::target),
    ("erofs", root::erofs),
    ("layer", root::layer),
    ("mount_options", fuzzing::mount_options),
    ("oci_config", fuzzing::config),
    ("reference", reference::target),
    ("seccomp", fuzzing::seccomp),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
