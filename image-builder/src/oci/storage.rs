//! Where the blobs of an image are: in a folder or in a tar file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::OciError;
use super::layer::{ArchiveKind, Entries};
use crate::digest::Sha256;
use crate::limits::Limits;
use crate::source::STDIN;

/// How many links between members of an archive one name may lead through.
const MAX_LINKS: usize = 8;

/// The blobs of an image.
#[derive(Debug)]
pub(super) enum Storage {
    /// A folder; names are looked up beneath it and never lead out of it.
    Folder(PathBuf, File),
    /// A tar file; its members by name.
    Archive(PathBuf, File, HashMap<String, Member>),
}

/// A member of a tar file.
#[derive(Debug, Clone)]
pub(super) enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

/// A blob, to be read from its start.
#[derive(Debug)]
pub(super) struct Blob {
    file: File,
    offset: u64,
    pub size: u64,
    position: u64,
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..length], self.offset + self.position)?;
        if read == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += read as u64;
        Ok(read)
    }
}

impl Blob {
    /// The whole of a file.
    pub(super) fn whole(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, offset: 0, size, position: 0 })
    }

    /// The same blob, at its start.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, position: 0, ..*self })
    }

    /// The SHA-256 of the blob in hexadecimal; the blob is at its start again afterwards.
    pub(super) fn sha256(&mut self) -> io::Result<String> {
        let mut digest = Sha256::new();
        let mut piece = vec![0; 128 << 10];
        self.position = 0;
        loop {
            match self.read(&mut piece)? {
                0 => break,
                read => digest.update(&piece[..read]),
            }
        }
        self.position = 0;
        Ok(hex::encode(digest.finalize()))
    }
}

impl Storage {
    /// A folder.
    pub(super) fn folder(path: &Path) -> Result<Self, OciError> {
        Ok(Self::Folder(path.to_owned(), open_folder(path)?))
    }

    /// A tar file, also one that is compressed as a whole: that is unpacked into an unnamed file in
    /// `scratch`.
    pub(super) fn archive(path: &Path, scratch: &Path, limits: &Limits) -> Result<Self, OciError> {
        let file = open_source(path, scratch, limits)?;
        let damaged = |error| OciError::Archive(path.to_owned(), error);
        let file = match super::compression::of(&file).map_err(damaged)? {
            None => file,
            Some(_) => {
                let mut plain = tempfile::tempfile_in(scratch).map_err(OciError::Spill)?;
                let mut reader = super::compression::reader(file, limits.data).map_err(damaged)?;
                io::copy(&mut limits.cancellation.stream(&mut reader), &mut plain).map_err(damaged)?;
                plain
            }
        };
        let members = members(path, &file, limits)?;
        Ok(Self::Archive(path.to_owned(), file, members))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Folder(path, _) | Self::Archive(path, ..) => path,
        }
    }

    /// Opens a blob by its name, a relative path.
    pub(super) fn open(&self, name: &str) -> Result<Blob, OciError> {
        let failed = |error| OciError::Blob(name.to_owned(), self.path().to_owned(), error);
        match self {
            Self::Folder(_, folder) => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let file = rustix::fs::openat2(folder, name, flags, Mode::empty(), beneath)
                    .map_err(|error| failed(error.into()))?;
                regular(file.into()).and_then(Blob::whole).map_err(failed)
            }
            Self::Archive(_, file, members) => {
                let mut name = name.to_owned();
                for _ in 0..MAX_LINKS {
                    match members.get(&name) {
                        Some(Member::File { offset, size }) => {
                            let file = file.try_clone().map_err(failed)?;
                            return Ok(Blob { file, offset: *offset, size: *size, position: 0 });
                        }
                        Some(Member::Link(target)) => name.clone_from(target),
                        None => return Err(failed(io::ErrorKind::NotFound.into())),
                    }
                }
                Err(failed(io::Error::other("It leads through too many links")))
            }
        }
    }

    /// Reads a whole document of at most `limit` bytes.
    pub(super) fn document(&self, name: &str, limit: u64) -> Result<Vec<u8>, OciError> {
        let mut blob = self.open(name)?;
        if blob.size > limit {
            return Err(OciError::LargeDocument(name.to_owned(), limit));
        }
        let mut bytes = Vec::new();
        blob.read_to_end(&mut bytes)
            .map_err(|error| OciError::Blob(name.to_owned(), self.path().to_owned(), error))?;
        Ok(bytes)
    }
}

/// Opens a folder.
pub(crate) fn open_folder(path: &Path) -> Result<File, OciError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, path, flags, Mode::empty());
    Ok(folder.map_err(|error| OciError::Open(path.to_owned(), error.into()))?.into())
}

/// Opens a regular file; anything else that could be opened would block or never end.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    regular(rustix::fs::openat(CWD, path, flags, Mode::empty())?.into())
}

/// Opens the file of a source. Standard input is spilled into an unnamed file in `scratch` first: archives are
/// read here and there.
pub(super) fn open_source(path: &Path, scratch: &Path, limits: &Limits) -> Result<File, OciError> {
    let failed = |error| OciError::Open(path.to_owned(), error);
    if path != Path::new(STDIN) {
        return open_file(path).map_err(failed);
    }
    spill(limits.cancellation.stream(io::stdin().lock()), scratch, limits.data)
}

fn spill(stdin: impl Read, scratch: &Path, limit: u64) -> Result<File, OciError> {
    let mut spilled = tempfile::tempfile_in(scratch).map_err(OciError::Spill)?;
    let mut stdin = stdin.take(limit.saturating_add(1));
    let length = io::copy(&mut stdin, &mut spilled).map_err(OciError::Stdin)?;
    match length > limit {
        true => Err(OciError::LargeStdin(limit)),
        false => spilled.rewind().map(|()| spilled).map_err(OciError::Spill),
    }
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "It is not a regular file")),
    }
}

fn members(path: &Path, file: &File, limits: &Limits) -> Result<HashMap<String, Member>, OciError> {
    let damaged = |error| OciError::Archive(path.to_owned(), error);
    let mut file = file.try_clone().map_err(damaged)?;
    file.rewind().map_err(damaged)?;
    let mut members = HashMap::new();
    let file = limits.cancellation.stream(file);
    let mut entries =
        Entries::new(Counting { reader: io::BufReader::with_capacity(256 << 10, file), count: 0 });
    while let Some(entry) = entries.next().map_err(|error| damaged(error.into()))? {
        // An image has a blob a layer, and a few documents.
        if members.len() >= limits.layers * 8 {
            return Err(damaged(io::Error::other("It has more members than any image")));
        }
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let member = match entry.kind {
            ArchiveKind::File(size, _) => Member::File { offset: entries.inner().count, size },
            ArchiveKind::Symlink => Member::Link(joined(&name, &String::from_utf8_lossy(&entry.link))),
            ArchiveKind::HardLink => Member::Link(plain(&String::from_utf8_lossy(&entry.link))),
            _ => continue,
        };
        if members.insert(plain(&name), member).is_some() {
            return Err(damaged(io::Error::other(format!("It has two members {name:?}"))));
        }
    }
    match entries.ended() {
        true => Ok(members),
        false => Err(damaged(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// A name without `.` and with `..` resolved, as far as there is something to go up from.
fn plain(name: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in name.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            _ => components.push(component),
        }
    }
    components.join("/")
}

fn joined(link: &str, target: &str) -> String {
    match link.rsplit_once('/') {
        Some((folder, _)) => plain(&format!("{folder}/{target}")),
        None => plain(target),
    }
}

/// Counts what was read.
#[derive(Debug)]
pub(super) struct Counting<R> {
    reader: R,
    count: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_standard_input_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let text = spill(io::repeat(1), folder.path(), 5 << 20).unwrap_err().to_string();
        assert_eq!(text, "Standard input is larger than 5242880 bytes");
        assert!(spill(&[1; 10][..], folder.path(), 10).is_ok());
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn names_stay_inside() {
        assert_eq!(plain("./a//b/../c"), "a/c");
        assert_eq!(plain("../../etc/passwd"), "etc/passwd");
        assert_eq!(joined("abc/layer.tar", "../def/layer.tar"), "def/layer.tar");
        assert_eq!(joined("layer.tar", "x.tar"), "x.tar");
    }
}
