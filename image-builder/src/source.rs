//! Where an image comes from, in skopeo's words.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

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
    /// `tar:FILE`: a tar file of a root file system; plain, gzip or zstd.
    Tar(PathBuf),
}

/// A source that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourceError {
    /// No known word in front.
    #[error("The source {0:?} does not start with oci:, oci-archive:, docker-archive:, dir: or tar:")]
    Unknown(String),
    /// Nothing behind the word.
    #[error("The source {0:?} names no path")]
    NoPath(String),
    /// A colon and nothing behind it.
    #[error("The source {0:?} ends where a tag is expected")]
    NoTag(String),
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(words: &str) -> Result<Self, SourceError> {
        let unknown = || SourceError::Unknown(words.to_owned());
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
            _ => return Err(unknown()),
        };
        match source.path().as_os_str().is_empty() {
            true => Err(SourceError::NoPath(words.to_owned())),
            false => Ok(source),
        }
    }
}

impl Source {
    /// The folder or the file.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::OciLayout { path, .. } | Self::OciArchive { path, .. } => path,
            Self::DockerArchive { path, .. } | Self::Directory(path) | Self::Tar(path) => path,
        }
    }

    /// The name that the manifest tells: the tag, or the last component of the path.
    pub fn name(&self) -> String {
        match self {
            Self::OciLayout { tag: Some(tag), .. } | Self::OciArchive { tag: Some(tag), .. } => tag.clone(),
            Self::DockerArchive { reference: Some(reference), .. } => reference.clone(),
            _ => self.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, tag) = match self {
            Self::OciLayout { tag, .. } => ("oci", tag.as_ref()),
            Self::OciArchive { tag, .. } => ("oci-archive", tag.as_ref()),
            Self::DockerArchive { reference, .. } => ("docker-archive", reference.as_ref()),
            Self::Directory(_) => ("dir", None),
            Self::Tar(_) => ("tar", None),
        };
        write!(formatter, "{transport}:{}", self.path().display())?;
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
        ] {
            assert_eq!(words.parse::<Source>().unwrap().to_string(), words);
        }
        assert_eq!("docker-archive:x.tar:repo:tag".parse::<Source>().unwrap().name(), "repo:tag");
        assert_eq!("tar:/a/r.tar".parse::<Source>().unwrap().name(), "r.tar");
    }

    #[test]
    fn what_is_no_source_is_refused() {
        assert_eq!("redis:7".parse::<Source>(), Err(SourceError::Unknown("redis:7".to_owned())));
        assert_eq!("/a".parse::<Source>(), Err(SourceError::Unknown("/a".to_owned())));
        assert_eq!("oci:".parse::<Source>(), Err(SourceError::NoPath("oci:".to_owned())));
        assert_eq!("oci::tag".parse::<Source>(), Err(SourceError::NoPath("oci::tag".to_owned())));
        assert_eq!("oci:a:".parse::<Source>(), Err(SourceError::NoTag("oci:a:".to_owned())));
    }
}
