//! Where the runtime keeps what it knows of containers: `ROOT/ID/` with
//!
//! | file | holds |
//! |---|---|
//! | `state.json` | a [`Record`], written whole or not at all |
//! | `config.json` | the specification that the container was made from |
//! | `start` | the socket where the container's process waits; gone when its program runs |

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bulkhead_protocol::oci::Spec;

use super::bundle;
use super::error::OciError;
use super::record::Record;

/// The largest file here, in bytes.
const MAX_FILE: usize = 16 << 20;

/// The containers of one `--root`.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// One container's folder.
#[derive(Debug)]
pub struct Entry {
    /// The container.
    pub id: String,
    path: PathBuf,
}

impl Store {
    /// The containers below this folder.
    pub fn new(root: &str) -> Self {
        Self { root: std::path::absolute(root).unwrap_or_else(|_| root.into()) }
    }

    /// Takes an id for a new container.
    pub fn take(&self, id: &str) -> Result<Entry, OciError> {
        let path = self.path(id)?;
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        let mut made = builder.create(&path);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let parents = builder.recursive(true).create(&self.root);
            parents.map_err(OciError::file("make the folder", &self.root))?;
            made = builder.recursive(false).create(&path);
        }
        match made {
            Ok(()) => Ok(Entry { id: id.to_owned(), path }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(OciError::Exists(id.to_owned()))
            }
            Err(error) => Err(OciError::file("make the folder", path)(error)),
        }
    }

    /// The folder of a container that is there.
    pub fn find(&self, id: &str) -> Result<Entry, OciError> {
        let path = self.path(id)?;
        if path.is_dir() {
            Ok(Entry { id: id.to_owned(), path })
        } else {
            Err(OciError::Missing(id.to_owned()))
        }
    }

    /// Every container, by id.
    pub fn all(&self) -> Result<Vec<Entry>, OciError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(OciError::file("list", &self.root)(error)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut all: Vec<_> = names.filter_map(|id| self.find(&id).ok()).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(all)
    }

    fn path(&self, id: &str) -> Result<PathBuf, OciError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'.' | b'-');
        let right = (1..=255).contains(&id.len()) && id.bytes().all(plain) && !matches!(id, "." | "..");
        if right { Ok(self.root.join(id)) } else { Err(OciError::Id(id.to_owned())) }
    }
}

impl Entry {
    /// What is known of the container; nothing where its making has only begun or was cut short.
    pub fn record(&self) -> Result<Option<Record>, OciError> {
        let path = self.path.join("state.json");
        match bundle::read(&path, MAX_FILE) {
            Ok(text) => {
                let wrong = |source| OciError::Json { path: path.display().to_string(), source };
                serde_json::from_slice(&text).map(Some).map_err(wrong)
            }
            Err(OciError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps what is known of the container.
    pub fn keep(&self, record: &Record) -> Result<(), OciError> {
        let text = serde_json::to_vec(record).map_err(|error| OciError::Output(error.into()))?;
        self.write("state.json", &text)
    }

    /// The specification that the container was made from.
    pub fn spec(&self) -> Result<Spec, OciError> {
        let path = self.path.join("config.json");
        bundle::parse(&path.display().to_string(), &bundle::read(&path, MAX_FILE)?)
    }

    /// Keeps it.
    pub fn keep_spec(&self, text: &[u8]) -> Result<(), OciError> {
        // Made once, before anybody knows of it.
        let path = self.path.join("config.json");
        fs::write(&path, text).map_err(OciError::file("write", path))
    }

    /// Keeps another one, whole or not at all.
    pub fn replace_spec(&self, text: &[u8]) -> Result<(), OciError> {
        self.write("config.json", text)
    }

    /// The socket where the container's process waits.
    pub fn socket(&self) -> PathBuf {
        self.path.join("start")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file is there whole or not at all, whenever this program is killed.
    fn write(&self, name: &str, text: &[u8]) -> Result<(), OciError> {
        let (new, path) = (self.path.join(format!(".{name}")), self.path.join(name));
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(OciError::file("write", path))
    }

    /// Forgets the container.
    pub fn remove(&self) -> Result<(), OciError> {
        for name in ["config.json", "start", "state.json"] {
            let _ = fs::remove_file(self.path.join(name));
        }
        // What a killed runtime has left besides is looked for where there is something.
        match fs::remove_dir(&self.path).or_else(|_| fs::remove_dir_all(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(OciError::file("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_once_and_is_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("a/b").to_str().unwrap());
        assert!(store.all().unwrap().is_empty());
        let entry = store.take("web-1").unwrap();
        assert!(matches!(store.take("web-1"), Err(OciError::Exists(_))));
        for id in ["", ".", "..", "a/b", "../x", "a b", &"x".repeat(256)] {
            assert!(matches!(store.take(id), Err(OciError::Id(_))), "{id}");
        }
        assert!(entry.record().unwrap().is_none());
        assert_eq!(store.all().unwrap().len(), 1);
        entry.remove().unwrap();
        assert!(matches!(store.find("web-1"), Err(OciError::Missing(_))));
    }
}
