//! Where an image comes from, in skopeo's words.
//!
//! `-` in place of a file is standard input; `-` alone is `tar:-`. A file of that name is `./-`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::reference::{Reference, ReferenceError};
use crate::roots::{BUSYBOX, DebianSpecError, RootSpec};

/// What names standard input in place of a file.
pub const STDIN: &str = "-";

/// A source on the local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `oci:DIR[:TAG]`: an OCI image layout.
    OciLayout {
        /// The folder.
        path: PathBuf,
        /// Which image of it; may be left out where there is only one.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`: an OCI image layout in a tar file.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// Which image of it; may be left out where there is only one.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`: what `docker save` writes.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// Which image of it; may be left out where there is only one.
        reference: Option<String>,
    },
    /// `dir:DIR`: a folder that holds a root file system.
    Directory(PathBuf),
    /// `tar:FILE`: a tar file of a root file system; plain, gzip, xz or zstd.
    Tar(PathBuf),
    /// `root:busybox[:FILE]`, `root:debian:SUITE[?...]`: a root that is made here.
    Root(RootSpec),
    /// `docker://REF`: an image of a registry. It is pulled into a store before anything else.
    Registry(Reference),
    /// `store:REF`: an image that was pulled.
    Store(Reference),
}

/// A source that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourceError {
    /// No known word in front.
    #[error(
        "The source {0:?} does not start with docker://, store:, oci:, oci-archive:, docker-archive:, dir:, tar: or root:"
    )]
    Unknown(String),
    /// Nothing behind the word.
    #[error("The source {0:?} names no path")]
    NoPath(String),
    /// A colon and nothing behind it.
    #[error("The source {0:?} ends where a tag is expected")]
    NoTag(String),
    /// A root of another kind.
    #[error("The root {0:?} is neither busybox nor a Debian, debian:SUITE")]
    Root(String),
    /// A Debian that cannot be.
    #[error("Cannot understand which Debian is asked for")]
    Debian(#[from] DebianSpecError),
    /// A reference that cannot be.
    #[error("Cannot understand which image is asked for")]
    Reference(#[from] ReferenceError),
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(words: &str) -> Result<Self, SourceError> {
        let unknown = || SourceError::Unknown(words.to_owned());
        if words == STDIN {
            return Ok(Self::Tar(PathBuf::from(STDIN)));
        }
        let (transport, rest) = words.split_once(':').ok_or_else(unknown)?;
        // As in skopeo, a path with a colon cannot be named together with a tag: the first colon ends it.
        let tagged = || match rest.split_once(':') {
            Some((_, "")) => Err(SourceError::NoTag(words.to_owned())),
            Some((path, tag)) => Ok((PathBuf::from(path), Some(tag.to_owned()))),
            None => Ok((PathBuf::from(rest), None)),
        };
        let source = match transport {
            "oci" => tagged().map(|(path, tag)| Self::OciLayout { path, tag })?,
            "oci-archive" => tagged().map(|(path, tag)| Self::OciArchive { path, tag })?,
            "docker-archive" => tagged().map(|(path, reference)| Self::DockerArchive { path, reference })?,
            "dir" => Self::Directory(PathBuf::from(rest)),
            "tar" => Self::Tar(PathBuf::from(rest)),
            "docker" => Self::Registry(rest.strip_prefix("//").ok_or_else(unknown)?.parse()?),
            "store" => Self::Store(rest.parse()?),
            "root" => Self::Root(root(rest)?),
            _ => return Err(unknown()),
        };
        match source.path().is_some_and(|path| path.as_os_str().is_empty()) {
            true => Err(SourceError::NoPath(words.to_owned())),
            false => Ok(source),
        }
    }
}

fn root(words: &str) -> Result<RootSpec, SourceError> {
    match words.split_once(':') {
        None if words == "busybox" => Ok(RootSpec::Busybox(PathBuf::from(BUSYBOX))),
        Some(("busybox", path)) => Ok(RootSpec::Busybox(PathBuf::from(path))),
        Some(("debian", spec)) => Ok(RootSpec::Debian(spec.parse()?)),
        _ => Err(SourceError::Root(words.chars().take(100).collect())),
    }
}

impl Source {
    /// What the words mean to a program that knows no registries: `busybox` and `debian:SUITE` are roots there
    /// without `root:`.
    pub fn parse_local(words: &str) -> Result<Self, SourceError> {
        match words == "busybox" || words.starts_with("debian:") {
            true => format!("root:{words}").parse(),
            false => words.parse(),
        }
    }

    /// The folder or the file, where it is one; `-` is standard input.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::OciLayout { path, .. } | Self::OciArchive { path, .. } => Some(path),
            Self::DockerArchive { path, .. } | Self::Directory(path) | Self::Tar(path) => Some(path),
            Self::Root(RootSpec::Busybox(path)) => Some(path),
            Self::Root(RootSpec::Debian(_)) | Self::Registry(_) | Self::Store(_) => None,
        }
    }

    /// The name that the manifest tells: the tag, the last component of the path, or what root it is.
    pub fn name(&self) -> String {
        match self {
            Self::OciLayout { tag: Some(tag), .. } | Self::OciArchive { tag: Some(tag), .. } => tag.clone(),
            Self::DockerArchive { reference: Some(reference), .. } => reference.clone(),
            Self::Registry(reference) | Self::Store(reference) => reference.familiar(),
            Self::Root(RootSpec::Busybox(_)) => "busybox".to_owned(),
            Self::Root(RootSpec::Debian(spec)) => format!("debian:{}", spec.suite),
            _ => {
                let name = self.path().and_then(Path::file_name).map(|name| name.to_string_lossy());
                name.map(|name| if name == STDIN { "stdin".into() } else { name })
                    .unwrap_or_default()
                    .into_owned()
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, tag) = match self {
            Self::OciLayout { path, tag } => ("oci", path, tag.as_ref()),
            Self::OciArchive { path, tag } => ("oci-archive", path, tag.as_ref()),
            Self::DockerArchive { path, reference } => ("docker-archive", path, reference.as_ref()),
            Self::Directory(path) => ("dir", path, None),
            Self::Tar(path) => ("tar", path, None),
            Self::Root(RootSpec::Busybox(path)) => ("root:busybox", path, None),
            Self::Root(RootSpec::Debian(spec)) => return write!(formatter, "root:{spec}"),
            Self::Registry(reference) => return write!(formatter, "docker://{reference}"),
            Self::Store(reference) => return write!(formatter, "store:{reference}"),
        };
        write!(formatter, "{transport}:{}", path.display())?;
        tag.map_or(Ok(()), |tag| write!(formatter, ":{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_they_are_written() {
        for words in [
            "oci:/a/b",
            "oci:/a/b:latest",
            "oci-archive:x.tar:v1",
            "docker-archive:x.tar:repo:tag",
            "dir:/r",
            "tar:r.tar",
            "docker-archive:-:repo",
            "root:busybox:/bin/busybox",
            "root:debian:bookworm?include=redis",
            "docker://localhost:5000/x:1",
            "store:docker.io/library/redis:7",
        ] {
            assert_eq!(words.parse::<Source>().unwrap().to_string(), words);
        }
        assert_eq!("docker-archive:x.tar:repo:tag".parse::<Source>().unwrap().name(), "repo:tag");
        assert_eq!("tar:/a/r.tar".parse::<Source>().unwrap().name(), "r.tar");
        assert_eq!("docker://redis".parse::<Source>().unwrap().name(), "redis");
        assert_eq!("-".parse::<Source>(), "tar:-".parse());
        assert_eq!("-".parse::<Source>().unwrap().name(), "stdin");
        assert_eq!("root:busybox".parse::<Source>(), "root:busybox:/bin/busybox".parse());
    }

    #[test]
    fn roots_need_no_word_in_front_where_no_registry_is_known() {
        for words in ["busybox", "debian:bookworm?include=redis"] {
            assert_eq!(Source::parse_local(words), format!("root:{words}").parse());
            assert_eq!(words.parse::<Source>(), Err(SourceError::Unknown(words.to_owned())));
        }
        assert_eq!(Source::parse_local("debian:bookworm").unwrap().name(), "debian:bookworm");
        assert_eq!(Source::parse_local("tar:x"), "tar:x".parse());
    }

    #[test]
    fn what_is_no_source_is_refused() {
        assert!(matches!("docker://".parse::<Source>(), Err(SourceError::Reference(_))));
        assert!(matches!("docker:redis".parse::<Source>(), Err(SourceError::Unknown(_))));
        assert_eq!("redis:7".parse::<Source>(), Err(SourceError::Unknown("redis:7".to_owned())));
        assert_eq!("/a".parse::<Source>(), Err(SourceError::Unknown("/a".to_owned())));
        assert_eq!("oci:".parse::<Source>(), Err(SourceError::NoPath("oci:".to_owned())));
        assert_eq!("oci::tag".parse::<Source>(), Err(SourceError::NoPath("oci::tag".to_owned())));
        assert_eq!("oci:a:".parse::<Source>(), Err(SourceError::NoTag("oci:a:".to_owned())));
        assert_eq!("root:busybox:".parse::<Source>(), Err(SourceError::NoPath("root:busybox:".to_owned())));
        assert_eq!("root:arch".parse::<Source>(), Err(SourceError::Root("arch".to_owned())));
        assert!(matches!("root:debian:-x".parse::<Source>(), Err(SourceError::Debian(_))));
    }
}
