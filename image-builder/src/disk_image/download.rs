//! Fetches a disk into an unnamed file, going on where a connection broke off.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use super::DiskError;
use crate::http::{Client, HttpError, HttpOptions, Method, Request};
use crate::limits::Limits;

/// How often a connection may break off without a byte having come.
const MAX_FAILURES: u32 = 5;

/// Fetches what is at `address`. Plain HTTP is spoken where the address says so: the digest is checked by the
/// caller.
pub(super) fn fetch(address: &str, scratch: &Path, limits: &Limits) -> Result<File, DiskError> {
    let client = Client::new(HttpOptions::default())?;
    let mut file = tempfile::tempfile_in(scratch).map_err(DiskError::Spill)?;
    let (mut from, mut etag, mut failures) = (0, None, 0);
    loop {
        let request = Request::new(Method::Get, address).plain_http(address.starts_with("http://"));
        let before = from;
        match piece(&client, request, &mut file, (&mut from, &mut etag), limits) {
            Ok(()) => return Ok(file),
            Err(DiskError::Fetch(error)) if breaks_off(&error) => {
                failures = if from > before { 1 } else { failures + 1 };
                if failures >= MAX_FAILURES {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

fn piece(
    client: &Client,
    request: Request<'_>,
    file: &mut File,
    (from, etag): (&mut u64, &mut Option<String>),
    limits: &Limits,
) -> Result<(), DiskError> {
    let part = client.rest(request, *from, etag.as_deref())?;
    if part.start == 0 {
        // Another version, or a server that begins anew.
        file.set_len(0).map_err(DiskError::Spill)?;
        *from = 0;
    }
    *etag = part.etag;
    let Some(response) = part.response else { return Ok(()) };
    file.seek(SeekFrom::Start(*from)).map_err(DiskError::Spill)?;
    let (limit, expected) = (limits.data.saturating_sub(*from), part.total);
    let mut file = limits.cancellation.stream(file);
    response.copy_to(&mut file, limit, &mut |bytes| *from += bytes)?;
    match expected.is_none_or(|expected| expected == *from) {
        true => Ok(()),
        false => {
            Err(DiskError::Fetch(HttpError::Piece("the server".to_owned(), "it is shorter than it says")))
        }
    }
}

/// Whether another try may get further.
fn breaks_off(error: &HttpError) -> bool {
    matches!(error, HttpError::NoAnswer(..) | HttpError::Body(..) | HttpError::Slow(..))
        || matches!(error, HttpError::Status(_, 500..=599 | 429))
}
