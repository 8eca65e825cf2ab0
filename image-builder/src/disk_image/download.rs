//! Fetches a disk, going on where a connection broke off, or where another process did.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use super::{DiskError, check};
use crate::http::{Client, HttpError, HttpOptions, Method, Request};
use crate::limits::Limits;
use crate::store::{Outcome, Progress, Store};

/// How often a connection may break off without a byte having come.
const MAX_FAILURES: u32 = 5;

/// A disk at an address.
pub(super) struct Download<'d> {
    pub address: &'d str,
    /// The digits of its SHA-256.
    pub digest: &'d str,
    pub limits: &'d Limits,
    pub progress: &'d dyn Progress,
}

impl Download<'_> {
    /// Fetches it into a file that has no name when it is here: one of the store, where what has come waits for the
    /// next try if this one is interrupted, or one in `scratch`.
    pub(super) fn fetch(&self, store: Option<&Path>, scratch: &Path) -> Result<File, DiskError> {
        let Some(store) = store else {
            let mut file = tempfile::tempfile_in(scratch).map_err(DiskError::Spill)?;
            self.complete(&mut file)?;
            return Ok(file);
        };
        let store = Store::open(store)?.until(&self.limits.cancellation);
        let mut partial = store.partial(self.digest, self.progress)?;
        let completed = self.complete(partial.file());
        if matches!(completed, Ok(()) | Err(DiskError::Mismatch { .. })) {
            partial.forget()?;
        }
        completed?;
        partial.file().try_clone().map_err(DiskError::Spill)
    }

    /// Fetches what a file lacks, and holds all of it against the digest.
    fn complete(&self, file: &mut File) -> Result<(), DiskError> {
        let old = file.metadata().map_err(DiskError::Spill)?.len();
        let mut state = State { there: old, etag: None, begun: false };
        self.rest(file, &mut state)?;
        let checked = match check(file, self.address, self.digest, &self.limits.cancellation) {
            // What was there may have been a part of something else.
            Err(DiskError::Mismatch { .. }) if old > 0 => {
                self.begin_anew(file, &mut state)?;
                self.rest(file, &mut state)?;
                check(file, self.address, self.digest, &self.limits.cancellation)
            }
            checked => checked,
        };
        if checked.is_ok() {
            self.progress.end(self.digest, Outcome::Transferred);
        }
        checked
    }

    fn begin_anew(&self, file: &mut File, state: &mut State) -> Result<(), DiskError> {
        self.progress.restart(self.digest);
        file.set_len(0).map_err(DiskError::Spill)?;
        (state.there, state.etag) = (0, None);
        Ok(())
    }

    /// Asks until all of it came.
    fn rest(&self, file: &mut File, state: &mut State) -> Result<(), DiskError> {
        let client = Client::new(HttpOptions::default())?;
        let mut failures = 0;
        loop {
            let before = state.there;
            match self.piece(&client, file, state) {
                Ok(()) => return Ok(()),
                // The server has less than was there, or gives no such piece of it.
                Err(DiskError::Fetch(HttpError::Piece(..))) if before > 0 && state.etag.is_none() => {
                    self.begin_anew(file, state)?;
                }
                Err(DiskError::Fetch(error)) if breaks_off(&error) => {
                    failures = if state.there > before { 1 } else { failures + 1 };
                    if failures >= MAX_FAILURES {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks once for all that is missing. Plain HTTP is spoken where the address says so.
    fn piece(&self, client: &Client, file: &mut File, state: &mut State) -> Result<(), DiskError> {
        let request = Request::new(Method::Get, self.address).plain_http(self.address.starts_with("http://"));
        let part = client.rest(request, state.there, state.etag.as_deref())?;
        if part.start != state.there {
            // Another version, or a server that begins anew.
            self.begin_anew(file, state)?;
        }
        state.etag = part.etag;
        if !state.begun {
            self.progress.begin(self.digest, part.total.unwrap_or(0), state.there);
            state.begun = true;
        }
        let Some(response) = part.response else { return Ok(()) };
        file.seek(SeekFrom::Start(state.there)).map_err(DiskError::Spill)?;
        let mut file = self.limits.cancellation.stream(file);
        response.copy_to(&mut file, self.limits.data.saturating_sub(state.there), &mut |bytes| {
            state.there += bytes;
            self.progress.advance(self.digest, bytes);
        })?;
        match part.total.is_none_or(|total| total == state.there) {
            true => Ok(()),
            false => Err(HttpError::Piece("the server".to_owned(), "it is shorter than it says").into()),
        }
    }
}

/// How far a download is.
struct State {
    /// Bytes that are in the file.
    there: u64,
    /// The version that they are of, where this run has seen it.
    etag: Option<String>,
    /// Whether somebody was told that it begins.
    begun: bool,
}

/// Whether another try may get further.
fn breaks_off(error: &HttpError) -> bool {
    matches!(error, HttpError::NoAnswer(..) | HttpError::Body(..) | HttpError::Slow(..))
        || matches!(error, HttpError::Status(_, 500..=599 | 429))
}
