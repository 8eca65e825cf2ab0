//! What is answered. Nothing of it is read without a limit.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Uri};
use ureq::{Body, BodyReader, http};

use super::{HttpError, HttpOptions, Origin, redirect};

/// Bytes that must come within one time of silence: who sends a byte now and then is as silent as who sends none.
const MIN_PIECE: u64 = 4 << 10;

/// Bytes that are read at once.
const PIECE: usize = 128 << 10;

/// A response whose body has not been read.
pub struct Response {
    address: Uri,
    status: u16,
    headers: HeaderMap,
    length: Option<u64>,
    body: BodyReader<'static>,
    silence: Duration,
    whole: Duration,
}

impl Response {
    pub(super) fn new(address: Uri, response: http::Response<Body>, options: &HttpOptions) -> Self {
        let (head, body) = response.into_parts();
        Self {
            address,
            status: head.status.as_u16(),
            headers: head.headers,
            length: body.content_length(),
            body: body.into_reader(),
            silence: options.silence,
            whole: options.response,
        }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All values of a header that are text.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// How many bytes the body has, where the server says so.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The address that answered, with its query.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Who answered.
    pub fn origin(&self) -> Origin {
        Origin::of(&self.address)
    }

    /// The address that answered, for people.
    pub fn name(&self) -> String {
        redirect::name(&self.address)
    }

    /// An error unless the status is one of these.
    pub fn expect(self, statuses: &[u16]) -> Result<Self, HttpError> {
        match statuses.contains(&self.status) {
            true => Ok(self),
            false => Err(HttpError::Status(self.name(), self.status)),
        }
    }

    /// The whole body, of at most `limit` bytes.
    pub fn document(mut self, limit: u64) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        let whole = Some(self.whole);
        self.pour(&mut bytes, limit, whole, &mut |_| {})?;
        Ok(bytes)
    }

    /// Writes the body, of at most `limit` bytes, to `writer`; tells `progress` how many bytes came each time.
    /// Returns how many they were. What came before an error has been written.
    pub fn copy_to(
        mut self,
        writer: &mut dyn Write,
        limit: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, HttpError> {
        self.pour(writer, limit, None, progress)
    }

    fn pour(
        &mut self,
        writer: &mut dyn Write,
        limit: u64,
        whole: Option<Duration>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, HttpError> {
        if self.length.is_some_and(|length| length > limit) {
            return Err(HttpError::Large(self.name(), limit));
        }
        let start = Instant::now();
        let (mut piece, mut total) = (vec![0; PIECE], 0);
        let (mut pace, mut paced) = (start, 0);
        loop {
            let read = match self.body.read(&mut piece) {
                Ok(0) => return Ok(total),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(HttpError::Body(self.name(), error)),
            };
            total += read as u64;
            if total > limit {
                return Err(HttpError::Large(self.name(), limit));
            }
            writer.write_all(&piece[..read]).map_err(|error| HttpError::Write(self.name(), error))?;
            progress(read as u64);
            if whole.is_some_and(|whole| start.elapsed() > whole) {
                return Err(HttpError::Slow(self.name(), self.whole.as_secs()));
            }
            if pace.elapsed() > self.silence {
                if total - paced < MIN_PIECE {
                    return Err(HttpError::Slow(self.name(), self.silence.as_secs()));
                }
                (pace, paced) = (Instant::now(), total);
            }
        }
    }
}
