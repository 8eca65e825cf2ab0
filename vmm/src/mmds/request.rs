//! A guest's request, read from what has arrived of it.

/// How much of a request is read: its line and its headers.
pub const REQUEST_MAX: usize = 4096;
/// How many headers it may have.
const HEADERS_MAX: usize = 32;

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a request.
    Incomplete,
    /// No request that could be answered as one, and what is wrong with it.
    Refused(&'static str),
    /// A request, and how many bytes it had.
    Request(Box<Request>, usize),
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// For a part of the metadata.
    Get,
    /// For a token.
    Put,
    /// For something that there is not.
    Other,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// Of what: a path, without query.
    pub path: String,
    /// `X-metadata-token`, or EC2's name for it.
    pub token: Option<String>,
    /// `X-metadata-token-ttl-seconds`, or EC2's name for it, as it was written, and its value.
    pub ttl: Option<(String, String)>,
    /// Whether it came through a proxy (`X-Forwarded-For`).
    pub forwarded: bool,
    /// Whether JSON is accepted by name.
    pub json: bool,
    /// Whether the connection shall end with the answer.
    pub close: bool,
}

/// Reads a request from the start of `bytes`, of which no more than [`REQUEST_MAX`] are looked at.
pub fn parse(bytes: &[u8]) -> Parsed {
    let bytes = bytes.get(..REQUEST_MAX).unwrap_or(bytes);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => match read(&parsed) {
            Ok(request) => Parsed::Request(Box::new(request), length),
            Err(reason) => Parsed::Refused(reason),
        },
        Ok(httparse::Status::Partial) if bytes.len() < REQUEST_MAX => Parsed::Incomplete,
        Ok(httparse::Status::Partial) => Parsed::Refused("The request is too long."),
        Err(httparse::Error::TooManyHeaders) => Parsed::Refused("The request has too many headers."),
        Err(_) => Parsed::Refused("Invalid request."),
    }
}

fn read(parsed: &httparse::Request<'_, '_>) -> Result<Request, &'static str> {
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("PUT") => Method::Put,
        _ => Method::Other,
    };
    let path = path_of(parsed.path.unwrap_or_default()).ok_or("Invalid URI.")?;
    let close = parsed.version == Some(0);
    let mut request = Request {
        method,
        path: path.to_owned(),
        token: None,
        ttl: None,
        forwarded: false,
        json: false,
        close,
    };
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(|_| "Invalid header.")?.trim();
        request.note(header.name, value)?;
    }
    Ok(request)
}

impl Request {
    fn note(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let lists = |word: &str| value.split(',').any(|item| bare(item).eq_ignore_ascii_case(word));
        match name.to_ascii_lowercase().as_str() {
            "x-metadata-token" | "x-aws-ec2-metadata-token" => self.token = Some(value.to_owned()),
            "x-metadata-token-ttl-seconds" | "x-aws-ec2-metadata-token-ttl-seconds" => {
                self.ttl = Some((name.to_owned(), value.to_owned()));
            }
            "x-forwarded-for" => self.forwarded = true,
            "accept" => self.json = self.json || lists("application/json"),
            "connection" => self.close = lists("close") || (self.close && !lists("keep-alive")),
            "content-length" if value == "0" => {}
            "content-length" | "transfer-encoding" => return Err("Invalid request: it has a body."),
            _ => {}
        }
        Ok(())
    }
}

/// An item of a list without its parameters.
fn bare(item: &str) -> &str {
    item.split(';').next().unwrap_or_default().trim()
}

/// The path of a target in origin or absolute form (RFC 9112 section 3.2).
fn path_of(target: &str) -> Option<&str> {
    let path = match target.split_once("://") {
        Some(("http", rest)) => rest.get(rest.find('/')?..)?,
        _ => target,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Request(request, length) if length == text.len() => *request,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_counts_is_read_whatever_its_case() {
        let text = "GET http://169.254.169.254/latest/x?y=1 HTTP/1.1\r\nHost: a\r\nX-AWS-EC2-Metadata-Token: t\r\n\
                    Accept: text/html, Application/JSON;q=0.9\r\nconnection: Close\r\n\r\n";
        let expected = Request {
            method: Method::Get,
            path: "/latest/x".into(),
            token: Some("t".into()),
            ttl: None,
            forwarded: false,
            json: true,
            close: true,
        };
        assert_eq!(request(text), expected);
        let put = request("PUT /latest/api/token HTTP/1.1\r\nx-Metadata-Token-TTL-seconds: 60 \r\n\r\n");
        assert_eq!(put.ttl, Some(("x-Metadata-Token-TTL-seconds".into(), "60".into())));
        assert!(!put.close && !put.json && put.method == Method::Put);
        assert!(request("GET / HTTP/1.0\r\n\r\n").close);
        assert!(!request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").close);
        assert_eq!(request("DELETE / HTTP/1.1\r\nX-forwarded-for: x\r\n\r\n").method, Method::Other);
    }

    #[test]
    fn halves_are_waited_for_and_nonsense_is_not() {
        let whole = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..length]), Parsed::Incomplete, "{length}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(REQUEST_MAX));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        let refused = [
            "\0",
            "GET a HTTP/1.1\r\n\r\n",
            "GET * HTTP/1.1\r\n\r\n",
            "GET /a HTTP/3.1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 100\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            &long,
            &many,
        ];
        for text in refused {
            assert!(matches!(parse(text.as_bytes()), Parsed::Refused(_)), "{text}");
        }
    }
}
