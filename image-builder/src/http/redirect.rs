//! Addresses, and where one leads to another (RFC 3986, section 5; RFC 9110, section 15.4).

use ureq::http::Uri;
use ureq::http::uri::{Authority, Scheme};

use super::HttpError;

/// Bytes of an address.
const MAX_ADDRESS: usize = 8 << 10;

/// Scheme, host and port: whom credentials are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an address in words.
    pub fn parse(address: &str) -> Result<Self, HttpError> {
        parsed(address).map(|address| Self::of(&address))
    }

    /// Whether it is spoken to over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }

    /// The origin of an address.
    pub(super) fn of(address: &Uri) -> Self {
        let scheme = address.scheme_str().unwrap_or_default().to_owned();
        let port = address.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
        Self { scheme, host: address.host().unwrap_or_default().to_ascii_lowercase(), port }
    }
}

/// Reads an address that may be asked.
pub(super) fn parsed(address: &str) -> Result<Uri, HttpError> {
    let refused = || HttpError::Address(without_query(address).chars().take(200).collect());
    if address.len() > MAX_ADDRESS {
        return Err(refused());
    }
    let uri: Uri = address.parse().map_err(|_| refused())?;
    let known = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    let named = uri.host().is_some_and(|host| !host.is_empty());
    // A user's name in an address is how credentials come where nobody meant them to be.
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    match known && named && plain {
        true => Ok(uri),
        false => Err(refused()),
    }
}

/// What people are told of an address: neither its query nor anything behind it.
pub(super) fn name(address: &Uri) -> String {
    let authority = address.authority().map(Authority::as_str).unwrap_or_default();
    format!("{}://{authority}{}", address.scheme_str().unwrap_or_default(), address.path())
}

fn without_query(address: &str) -> &str {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    // Whatever stands before an at sign may be a password.
    address.get(..end).and_then(|address| address.rsplit('@').next()).unwrap_or_default()
}

/// Where the header `Location` of a response from `address` leads.
pub(super) fn follow(address: &Uri, location: Option<&str>) -> Result<Uri, HttpError> {
    let refused = |what| HttpError::Redirect(name(address), what);
    let location = location.ok_or_else(|| refused("and does not say where to"))?;
    let next = joined(address, location).map_err(|_| refused("to what is no address"))?;
    match address.scheme() == Some(&Scheme::HTTPS) && next.scheme() != Some(&Scheme::HTTPS) {
        true => Err(refused("from an encrypted connection to one that is not")),
        false => Ok(next),
    }
}

/// The address that `location` means in a response from `address`, both as words.
pub fn resolved(address: &str, location: &str) -> Result<String, HttpError> {
    joined(&parsed(address)?, location).map(|address| address.to_string())
}

fn joined(address: &Uri, location: &str) -> Result<Uri, HttpError> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = address.scheme_str().unwrap_or_default();
    let authority = address.authority().map(Authority::as_str).unwrap_or_default();
    if location.starts_with("//") {
        return parsed(&format!("{scheme}:{location}"));
    }
    if location.starts_with('/') {
        return parsed(&format!("{scheme}://{authority}{location}"));
    }
    // A colon before the first slash ends a scheme.
    let first = location.split(['/', '?']).next().unwrap_or_default();
    if first.contains(':') {
        return parsed(location);
    }
    let path = if location.starts_with('?') {
        address.path()
    } else {
        address.path().rsplit_once('/').map_or("/", |(folder, _)| &address.path()[..=folder.len()])
    };
    parsed(&format!("{scheme}://{authority}{path}{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_one_another() {
        let from = "https://r.example:5000/v2/a/blobs/x?y=1";
        for (location, expected) in [
            ("https://cdn.example/b?c=d", "https://cdn.example/b?c=d"),
            ("//cdn.example/b", "https://cdn.example/b"),
            ("/v2/other#x", "https://r.example:5000/v2/other"),
            ("other", "https://r.example:5000/v2/a/blobs/other"),
            ("?z=2", "https://r.example:5000/v2/a/blobs/x?z=2"),
        ] {
            assert_eq!(resolved(from, location).unwrap(), expected);
        }
        for location in
            ["file:///etc/passwd", "https://user:secret@r.example/", "https://", "http:x", "ftp://a/b"]
        {
            let error = resolved(from, location).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn encryption_is_not_left() {
        let from = parsed("https://r.example/v2/").unwrap();
        assert!(matches!(follow(&from, Some("http://r.example/")), Err(HttpError::Redirect(..))));
        assert!(matches!(follow(&from, None), Err(HttpError::Redirect(..))));
        assert!(follow(&parsed("http://r.example/").unwrap(), Some("https://r.example/")).is_ok());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |address| Origin::of(&parsed(address).unwrap());
        assert_eq!(origin("https://R.example/a"), origin("https://r.example:443/b"));
        for other in ["http://r.example/", "https://r.example:444/", "https://r.example.evil/"] {
            assert_ne!(origin("https://r.example/"), origin(other));
        }
    }
}
