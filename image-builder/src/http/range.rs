//! The rest of a file of which a part is there already (RFC 9110, section 14).

use super::{Client, HttpError, Request, Response};

/// The answer to who asked for the rest of a file.
pub struct Part {
    /// The first byte that the body brings: the one asked for, or 0 where the server begins anew.
    pub start: u64,
    /// Bytes of the whole file, where the server says so.
    pub total: Option<u64>,
    /// What tells this version of the file from others, to be given back with the next question.
    pub etag: Option<String>,
    /// The body; nothing where the file was there already.
    pub response: Option<Response>,
}

impl Request<'_> {
    /// For what a file has from byte `from` on. With `etag` a file that has changed since comes whole.
    #[must_use]
    pub fn rest_from(self, from: u64, etag: Option<&str>) -> Self {
        match (from, etag) {
            (0, _) => self,
            // A weak one says that two files mean the same, not that their bytes are (section 13.1.5).
            (_, Some(etag)) if !etag.starts_with("W/") => {
                self.header("range", format!("bytes={from}-")).header("if-range", etag)
            }
            _ => self.header("range", format!("bytes={from}-")),
        }
    }
}

impl Client {
    /// Asks for a file from byte `from` on. With `etag` a file that has changed since comes whole.
    pub fn rest(&self, request: Request<'_>, from: u64, etag: Option<&str>) -> Result<Part, HttpError> {
        Part::of(self.send(request.rest_from(from, etag))?, from)
    }
}

impl Part {
    /// Holds a response against what [`Request::rest_from`] asked for.
    pub fn of(response: Response, from: u64) -> Result<Self, HttpError> {
        let etag = response.header("etag").map(str::to_owned).filter(|etag| etag.len() <= 256);
        let piece = |what| HttpError::Piece(response.name(), what);
        match response.status() {
            200 => Ok(Self { start: 0, total: response.length(), etag, response: Some(response) }),
            206 if from > 0 => {
                let range = response.header("content-range").and_then(content_range);
                let (first, last, total) = range.ok_or_else(|| piece("it does not say which"))?;
                if first != from {
                    return Err(piece("it starts elsewhere"));
                }
                if total.is_some_and(|total| last + 1 != total) {
                    return Err(piece("it ends before the end"));
                }
                if response.length().is_some_and(|length| length != last + 1 - first) {
                    return Err(piece("its length is another"));
                }
                Ok(Self { start: from, total: Some(last + 1), etag, response: Some(response) })
            }
            416 if from > 0 => {
                let total = response.header("content-range").and_then(|range| range.strip_prefix("bytes */"));
                match total.and_then(number) {
                    Some(total) if total == from => {
                        Ok(Self { start: from, total: Some(total), etag, response: None })
                    }
                    _ => Err(piece("there is no such piece")),
                }
            }
            206 => Err(piece("the whole was asked for")),
            status => Err(HttpError::Status(response.name(), status)),
        }
    }
}

/// `bytes FIRST-LAST/TOTAL`, the total maybe `*`.
fn content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    let whole = first <= last && last < u64::MAX && total.is_none_or(|total| last < total);
    whole.then_some((first, last, total))
}

/// Digits alone: `str::parse` would take a plus sign too.
fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_lies_are_not() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 9, None)));
        for lie in
            ["bytes 9-5/10", "bytes 5-10/10", "bytes +5-9/10", "5-9/10", "bytes 5-9", "bytes -9/10", ""]
        {
            assert_eq!(content_range(lie), None, "{lie}");
        }
        assert_eq!(content_range(&format!("bytes 0-{}/*", u64::MAX)), None);
    }
}
