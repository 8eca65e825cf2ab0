//! Where images come from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_image::{BuildOptions, Source, SourceError};
use bulkhead_protocol::image::Manifest;

use super::file;
use crate::host::disk;
use crate::service::error::ServiceError;

/// The word for a file that bulkhead-image made.
const FILE: &str = "file:";

/// Where an image is to come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file that bulkhead-image made.
    File(PathBuf),
    /// Anything that it makes an image from.
    Source(Source),
}

/// Why an image is not made, for all who wait for it.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The source is not there.
    NoSource(String),
    /// It cannot be made into an image.
    Unusable(String, Arc<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    /// Of this source.
    pub fn of(words: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unusable(words.to_owned(), source.into().into())
    }
}

impl From<Failure> for ServiceError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoSource(source_name) => Self::NoSource { source_name },
            Failure::Unusable(source_name, source) => Self::Import { source_name, source: Box::new(source) },
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(out, "{FILE}{}", path.display()),
            Self::Source(source) => source.fmt(out),
        }
    }
}

impl Origin {
    /// What a request's words mean.
    pub fn parse(words: &str) -> Result<Self, ServiceError> {
        let invalid = |message: String| ServiceError::Invalid { field: "source", message };
        if words.len() > 4096 || words.contains(char::is_control) {
            return Err(invalid("a source has up to 4096 characters and no control characters".into()));
        }
        let origin = match words.strip_prefix(FILE) {
            Some(path) => Self::File(PathBuf::from(path)),
            None => Self::Source(words.parse().map_err(|error| match error {
                SourceError::Unknown(_) => invalid(format!(
                    "{words:?} starts with none of docker://, file:, oci:, oci-archive:, docker-archive:, dir:, tar: and root:"
                )),
                SourceError::Debian(why) => invalid(why.to_string()),
                SourceError::Reference(why) => invalid(why.to_string()),
                other => invalid(other.to_string()),
            })?),
        };
        if let Self::Source(Source::Store(_)) = &origin {
            return Err(invalid(format!("{words:?} is pulled by its reference, docker://")));
        }
        // Standard input is nobody's here: what is not a path of the host from its root on is refused.
        if !origin.path().is_none_or(Path::is_absolute) {
            return Err(invalid(format!("the path in {words:?} is not absolute")));
        }
        Ok(origin)
    }

    /// The file or the folder of the host, where it is one.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Source(source) => source.path(),
        }
    }

    fn check_path(&self) -> Result<(), Failure> {
        match self.path().is_none_or(Path::exists) {
            true => Ok(()),
            false => Err(Failure::NoSource(self.to_string())),
        }
    }

    /// The name that its image has where no other is asked for; the one in its manifest where this is none.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::File(_) => None,
            Self::Source(source) => Some(source.name()),
        }
    }

    /// The digits of the manifest that it means now, where that is known before it is built. Blocks.
    pub fn manifest(&self, options: &BuildOptions) -> Result<Option<String>, Failure> {
        self.check_path()?;
        match self {
            Self::File(_) => Ok(None),
            Self::Source(source) => {
                file::manifest_digest(source, options).map_err(|error| Failure::of(&self.to_string(), error))
            }
        }
    }

    /// Makes the draft; answers its manifest and its size in bytes. Blocks.
    pub fn make(&self, draft: &Path, options: &BuildOptions) -> Result<(Manifest, u64), Failure> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Failure::of(&self.to_string(), source);
        let cancellation = &options.limits.cancellation;
        self.check_path()?;
        match self {
            Self::File(path) => disk::copy(path, draft, &|| Ok(cancellation.check()?))
                .map_err(|error| failed(Box::new(error)))?,
            Self::Source(source) => file::build(source, draft, options).map_err(failed)?,
        }
        let manifest = file::read(draft, cancellation).map_err(failed)?;
        if manifest.architecture != "amd64" {
            let message = format!("it is for {}, not for amd64", manifest.architecture);
            return Err(failed(message.into()));
        }
        let size = std::fs::metadata(draft).map_err(|error| failed(Box::new(error)))?.len();
        Ok((manifest, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_are_refused() {
        for words in [
            "",
            "redis",
            "file:",
            "file:relative",
            "dir:../x",
            "http://x",
            "file:/a\u{0}b",
            "tar:-",
            "-",
            "busybox",
            "root:busybox:x",
            "root:debian:--help",
        ] {
            assert!(matches!(Origin::parse(words), Err(ServiceError::Invalid { .. })), "{words:?}");
        }
        assert!(matches!(Origin::parse("file:/a").unwrap(), Origin::File(_)));
        for words in ["oci:/a:latest", "root:busybox", "root:debian:bookworm"] {
            assert!(matches!(Origin::parse(words).unwrap(), Origin::Source(_)));
        }
    }

    #[test]
    fn a_missing_source_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let draft = folder.path().join("draft");
        let origin = Origin::parse("file:/nowhere/at/all").unwrap();
        let made = origin.make(&draft, &BuildOptions::default());
        assert!(matches!(made, Err(Failure::NoSource(words)) if words == "file:/nowhere/at/all"));
        assert!(!draft.exists());
    }
}
