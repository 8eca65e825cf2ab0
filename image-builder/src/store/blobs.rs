//! Blobs: fetched once, verified while they are written, and taken up where they broke off.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{Outcome, Progress, Store, StoreError};
use crate::cancellation::Cancellation;
use crate::digest::Sha256;
use crate::http::HttpError;
use crate::oci::OciError;
use crate::registry::{RegistryError, Session};

/// How often in a row the last of the sources may break off without a byte.
const MAX_FAILURES: usize = 3;

/// A blob that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    /// The digits of its SHA-256.
    pub digest: String,
    pub size: u64,
}

/// Why a blob does not come.
pub(super) enum FetchError {
    Store(StoreError),
    Registry(RegistryError),
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Store {
    /// Whether a blob is there.
    pub(super) fn has(&self, wanted: &Wanted) -> Result<bool, StoreError> {
        let file = self.blobs.open(&wanted.digest).map_err(self.failed("open", &wanted.digest))?;
        let metadata = file.map(|file| file.metadata()).transpose();
        let metadata = metadata.map_err(self.failed("open", &wanted.digest))?;
        Ok(metadata.is_some_and(|metadata| metadata.len() == wanted.size))
    }

    /// Opens a blob; none where it is not there.
    pub fn blob(&self, digest: &str) -> Result<Option<File>, StoreError> {
        self.blobs.open(digest).map_err(self.failed("open", digest))
    }

    /// Reads a document of at most `limit` bytes; none where it is not there.
    pub(super) fn document(&self, digest: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.blobs.read(digest, limit).map_err(self.failed("read", digest))
    }

    /// Keeps a document that has been held against its digest.
    pub(super) fn keep(&self, digest: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.blobs.write(digest, bytes).map_err(self.failed("write", digest))
    }

    /// Brings a blob from the first of these that has it. Who comes second waits for who came first.
    pub(super) fn fetch(
        &self,
        wanted: &Wanted,
        sources: &[Session<'_>],
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let digest = wanted.digest.as_str();
        let failed = |verb| self.failed(verb, digest);
        progress.begin(digest, wanted.size, 0);
        let cancellation = &self.limits.cancellation;
        let file = loop {
            cancellation.check().map_err(StoreError::from)?;
            if self.has(wanted)? {
                progress.end(digest, Outcome::Present);
                return Ok(());
            }
            if let Some(file) = self.claim(digest, progress)? {
                break file;
            }
        };
        if self.has(wanted)? {
            progress.end(digest, Outcome::Shared);
            return Ok(());
        }
        let cancellation = cancellation.clone();
        let mut download = Download { file, digest: Sha256::new(), there: 0, cancellation };
        download.take_up(wanted.size).map_err(failed("read"))?;
        progress.restart(digest);
        progress.advance(digest, download.there);
        let result = download.complete(wanted, sources, progress);
        if let Err(FetchError::Registry(RegistryError::Oci(_))) = &result {
            // Bytes that are wrong are of no use to anybody.
            self.partial.remove(digest).map_err(failed("remove"))?;
        }
        result?;
        download.file.sync_all().map_err(failed("write"))?;
        self.partial.rename(digest, &self.blobs, digest).map_err(failed("rename"))?;
        progress.end(digest, Outcome::Transferred);
        Ok(())
    }
}

/// A partial file, and the digest of what is in it.
struct Download {
    file: File,
    digest: Sha256,
    there: u64,
    cancellation: Cancellation,
}

impl Download {
    /// Reads what is there already.
    fn take_up(&mut self, size: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > size {
            return self.restart();
        }
        let mut piece = vec![0; 128 << 10];
        self.file.seek(SeekFrom::Start(0))?;
        loop {
            self.cancellation.check()?;
            match self.file.read(&mut piece)? {
                0 => return Ok(()),
                read => {
                    self.digest.update(&piece[..read]);
                    self.there += read as u64;
                }
            }
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.digest, self.there) = (Sha256::new(), 0);
        Ok(())
    }

    /// Asks one source after the other until the blob is whole.
    fn complete(
        &mut self,
        wanted: &Wanted,
        sources: &[Session<'_>],
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let mut sources = sources.iter().peekable();
        let mut failures = 0;
        // Old bytes may be the wrong ones, so that the source is not to blame at once.
        let mut old = self.there > 0;
        while let Some(source) = sources.peek() {
            self.cancellation.check().map_err(StoreError::from)?;
            let before = self.there;
            let error = match self.piece(wanted, source, progress) {
                Ok(()) if self.is_right(wanted) => return Ok(()),
                Ok(()) => {
                    self.begin_anew(wanted, progress)?;
                    if old {
                        old = false;
                        continue;
                    }
                    RegistryError::Oci(OciError::Mismatch(format!("blob sha256:{}", wanted.digest), "digest"))
                }
                Err(error) => error,
            };
            let broken = matches!(&error, RegistryError::Http(HttpError::Body(..) | HttpError::NoAnswer(..)));
            failures = if self.there > before { 0 } else { failures + 1 };
            if broken && failures < MAX_FAILURES {
                continue;
            }
            sources.next();
            failures = 0;
            if sources.peek().is_none() {
                return Err(FetchError::Registry(error));
            }
        }
        Ok(())
    }

    fn begin_anew(&mut self, wanted: &Wanted, progress: &dyn Progress) -> Result<(), FetchError> {
        progress.restart(&wanted.digest);
        let unwritable = |error| HttpError::Write(format!("blob sha256:{}", wanted.digest), error);
        self.restart().map_err(|error| FetchError::Registry(unwritable(error).into()))
    }

    /// Asks a source for all that is missing. What comes before an error stays.
    fn piece(
        &mut self,
        wanted: &Wanted,
        source: &Session<'_>,
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        if self.there == wanted.size {
            return Ok(());
        }
        let wrong_size = || OciError::Mismatch(format!("blob sha256:{}", wanted.digest), "size");
        let part = source.blob(&wanted.digest, self.there)?;
        if part.total.is_some_and(|total| total != wanted.size) {
            return Err(wrong_size().into());
        }
        if part.start != self.there {
            progress.restart(&wanted.digest);
            self.restart().map_err(|error| HttpError::Write(source.host().to_owned(), error))?;
        }
        let left = wanted.size - self.there;
        if let Some(response) = part.response {
            let advance = &mut |bytes| progress.advance(&wanted.digest, bytes);
            response.copy_to(self, left, advance)?;
        }
        match self.there == wanted.size {
            true => Ok(()),
            false => Err(wrong_size().into()),
        }
    }

    fn is_right(&self, wanted: &Wanted) -> bool {
        hex::encode(self.digest.clone().finalize()) == wanted.digest
    }
}

impl Write for Download {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cancellation.check()?;
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.there += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
