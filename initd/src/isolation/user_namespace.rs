//! User namespaces (`user_namespaces(7)`): which ids of the container stand for which of the guest.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use bulkhead_protocol::oci::{IdMapping, Linux, Mount, NamespaceKind};
use rustix::fs::{Gid, Uid};

/// The most lines of a map (`UID_GID_MAP_MAX_EXTENTS` of the kernel).
const MAX_LINES: usize = 340;

/// The longest text of a map in bytes: the kernel takes less than a page.
const MAX_TEXT: usize = 4095;

/// The kernel's word for "no id", and so the end of all ids.
const NO_ID: u64 = u32::MAX as u64;

const UIDS: &str = "linux.uidMappings";
const GIDS: &str = "linux.gidMappings";

/// A map that the kernel would not take, or that a container cannot live with.
#[derive(Debug, thiserror::Error)]
#[error("{property} cannot be {value}: {reason}")]
pub struct MappingError {
    property: &'static str,
    value: String,
    reason: &'static str,
}

/// What goes wrong while a user namespace is set up.
#[derive(Debug, thiserror::Error)]
pub enum UserNamespaceError {
    /// A map was refused.
    #[error("Cannot write the {0} of the user namespace")]
    Write(&'static str, #[source] io::Error),
    /// The namespace could not be opened.
    #[error("Cannot open the user namespace")]
    Open(#[source] io::Error),
}

/// The maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maps {
    uids: Vec<IdMapping>,
    gids: Vec<IdMapping>,
    root: (u32, u32),
}

impl Maps {
    /// The maps of a specification that names a user namespace, checked; nothing where it names none.
    pub fn parse(linux: &Linux) -> Result<Option<Self>, MappingError> {
        let (uids, gids) = (&linux.uid_mappings, &linux.gid_mappings);
        if !linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User) {
            let set = [(UIDS, uids), (GIDS, gids)].into_iter().find(|(_, mappings)| !mappings.is_empty());
            return set.map_or(Ok(None), |(property, _)| {
                Err(wrong(property, "set", "linux.namespaces names no user namespace"))
            });
        }
        let root = (check(UIDS, uids)?, check(GIDS, gids)?);
        Ok(Some(Self { uids: uids.clone(), gids: gids.clone(), root }))
    }

    /// Maps without a container of its own, for the ids of a mount.
    pub fn of_mount(mount: &Mount) -> Result<Self, MappingError> {
        let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
        check_ranges("mounts.uidMappings", uids)?;
        check_ranges("mounts.gidMappings", gids)?;
        Ok(Self { uids: uids.clone(), gids: gids.clone(), root: (0, 0) })
    }

    /// The container's root, as the guest knows it.
    pub fn root(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.root.0), Gid::from_raw(self.root.1))
    }

    /// The guest's id of a user of the container.
    pub fn uid(&self, id: u32) -> Option<u32> {
        outside(&self.uids, id)
    }

    /// The guest's id of a group of the container.
    pub fn gid(&self, id: u32) -> Option<u32> {
        outside(&self.gids, id)
    }

    /// Gives the process `pid`, the first one in its user namespace, the maps. `setgroups` stays allowed:
    /// whoever writes the maps has privileges, and the container's own supplementary groups are to be set.
    pub fn write(&self, pid: i32) -> Result<(), UserNamespaceError> {
        for (name, mappings) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            // In one piece: the kernel takes one write and no second.
            std::fs::write(format!("/proc/{pid}/{name}"), text(mappings))
                .map_err(|error| UserNamespaceError::Write(name, error))?;
        }
        Ok(())
    }
}

/// The user namespace of the process `pid`.
pub fn open(pid: i32) -> Result<OwnedFd, UserNamespaceError> {
    File::open(format!("/proc/{pid}/ns/user")).map(Into::into).map_err(UserNamespaceError::Open)
}

/// Says what is wrong with a map, or which id of the guest stands for 0.
fn check(property: &'static str, mappings: &[IdMapping]) -> Result<u32, MappingError> {
    check_ranges(property, mappings)?;
    let rootless = || wrong(property, text(mappings).trim_end(), "no mapping has id 0, the container's root");
    outside(mappings, 0).ok_or_else(rootless)
}

/// Says what is wrong with the ranges of a map.
fn check_ranges(property: &'static str, mappings: &[IdMapping]) -> Result<(), MappingError> {
    if mappings.is_empty() {
        return Err(wrong(property, "empty", "linux.namespaces names a user namespace"));
    }
    if mappings.len() > MAX_LINES {
        let count = format!("a list of {}", mappings.len());
        return Err(wrong(property, &count, "the kernel takes 340 mappings"));
    }
    let length = text(mappings).len();
    if length > MAX_TEXT {
        return Err(wrong(property, &format!("a text of {length} bytes"), "the kernel takes 4095 bytes"));
    }
    for (index, mapping) in mappings.iter().enumerate() {
        let fault = |reason| Err(wrong(property, &words(mapping), reason));
        if mapping.size == 0 {
            return fault("its size is 0");
        }
        if end(mapping.container_id, mapping.size) > NO_ID || end(mapping.host_id, mapping.size) > NO_ID {
            return fault("it goes beyond the last id, 4294967294");
        }
        for other in &mappings[..index] {
            if overlap((mapping.container_id, mapping.size), (other.container_id, other.size)) {
                return fault("an id of the container is mapped twice");
            }
            if overlap((mapping.host_id, mapping.size), (other.host_id, other.size)) {
                return fault("two ids of the container are mapped to one");
            }
        }
    }
    Ok(())
}

fn wrong(property: &'static str, value: &str, reason: &'static str) -> MappingError {
    MappingError { property, value: value.to_owned(), reason }
}

fn words(mapping: &IdMapping) -> String {
    format!("{} {} {}", mapping.container_id, mapping.host_id, mapping.size)
}

fn text(mappings: &[IdMapping]) -> String {
    mappings.iter().fold(String::new(), |mut text, mapping| {
        let _ = writeln!(text, "{}", words(mapping));
        text
    })
}

/// The first id behind a range.
fn end(first: u32, size: u32) -> u64 {
    u64::from(first) + u64::from(size)
}

fn overlap(one: (u32, u32), other: (u32, u32)) -> bool {
    u64::from(one.0) < end(other.0, other.1) && u64::from(other.0) < end(one.0, one.1)
}

fn outside(mappings: &[IdMapping], id: u32) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let distance = id.checked_sub(mapping.container_id).filter(|distance| *distance < mapping.size)?;
        mapping.host_id.checked_add(distance)
    })
}

#[cfg(test)]
#[path = "user_namespace_tests.rs"]
mod tests;
