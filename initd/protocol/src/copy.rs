//! Copies into a container and out of it: `POST /v1/containers/ID/copy`.
//!
//! The request's body is a [`CopyRequest`], and its answer the upgrade of [`exec`](crate::exec), with the same frames:
//! output is the archive (or a [`PathStat`]), input is one, errors are sentences for people, and the status is 0 or 1.
//! What cannot be copied at all is refused by an ordinary answer.
//!
//! Paths are the container's, from its root on. Links in them are followed as the container would; no link and no `..`
//! leads out of its root. Archives are tar (ustar, pax, GNU's long names) of files, folders and links.

use serde::{Deserialize, Serialize};

/// What is to be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// Where in the container.
    pub path: String,
    /// What is to be done there.
    pub action: CopyAction,
    /// Reading: the name that the path has in the archive.
    #[serde(default)]
    pub name: Option<String>,
    /// Telling and reading: where the path is a link, what it leads to is meant.
    #[serde(default)]
    pub follow: bool,
    /// Writing: files get the owners that the archive names, and not the container's root.
    #[serde(default)]
    pub owners: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyAction {
    /// Tell what is there.
    Stat,
    /// Send it.
    Read,
    /// Put an archive into it, a folder.
    Write,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathStat {
    /// What is there.
    pub kind: PathKind,
    /// Its path without links, from the container's root on; empty where nothing is.
    #[serde(default)]
    pub path: String,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    /// Nothing.
    Missing,
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Something that is not copied.
    Other,
}
