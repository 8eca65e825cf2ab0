//! The client of HTTP before servers that mean harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::io::Write;
use std::thread;
use std::time::Duration;

use bulkhead_image::http::{Authorization, Client, HttpError, HttpOptions, Method, Request};
use support::server::{Server, answer, head, until_closed};

fn client() -> Client {
    Client::new(HttpOptions { silence: Duration::from_millis(300), ..HttpOptions::default() }).unwrap()
}

fn get(url: String) -> Request<'static> {
    Request::new(Method::Get, url).plain_http(true)
}

fn secret() -> Option<Authorization> {
    Some(Authorization::new("Bearer secret".to_owned()))
}

#[test]
fn a_document_is_read_with_its_headers() {
    let server = Server::new(|asked, stream| {
        answer(stream, 200, &[("X-Path", &asked.path)], b"hello");
    });
    let response = client().send(get(server.url("/a?b=c"))).unwrap();
    assert_eq!((response.status(), response.header("x-path")), (200, Some("/a?b=c")));
    assert_eq!(response.document(5).unwrap(), b"hello");
    assert!(server.asked()[0].header("user-agent").unwrap().starts_with("bulkhead/"));
}

#[test]
fn plain_http_is_spoken_only_where_it_is_allowed() {
    let server = Server::new(|_, stream| answer(stream, 200, &[], b""));
    let refused = client().send(get(server.url("/")).plain_http(false));
    assert!(matches!(refused, Err(HttpError::PlainHttp(_))));
    assert!(server.asked().is_empty());
}

#[test]
fn bodies_over_the_limit_are_not_read() {
    let promised = Server::new(|_, stream| head(stream, 200, &[], u64::MAX / 2));
    let endless = Server::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[0; 65536]).is_ok() {}
    });
    for server in [&promised, &endless] {
        let result = client().send(get(server.url("/"))).unwrap().document(1 << 20);
        assert!(matches!(result, Err(HttpError::Large(_, 1_048_576))), "{result:?}");
    }
}

#[test]
fn endless_headers_are_not_read() {
    let server = Server::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(&[b'a'; 4096]).is_ok() {}
    });
    assert!(matches!(client().send(get(server.url("/"))), Err(HttpError::NoAnswer(..))));
}

#[test]
fn a_body_that_breaks_off_is_an_error() {
    let counted = Server::new(|_, stream| {
        head(stream, 200, &[], 10);
        let _ = stream.write_all(b"half");
    });
    let chunked = Server::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    });
    for server in [&counted, &chunked] {
        let mut written = Vec::new();
        let response = client().send(get(server.url("/"))).unwrap();
        let result = response.copy_to(&mut written, 100, &mut |_| {});
        assert!(matches!(result, Err(HttpError::Body(..))), "{result:?}");
    }
}

#[test]
fn silence_ends_and_so_does_a_trickle() {
    let silent = Server::new(|_, stream| {
        head(stream, 200, &[], 10);
        until_closed(stream);
    });
    let result = client().send(get(silent.url("/"))).unwrap().document(100);
    assert!(matches!(result, Err(HttpError::Body(..))), "{result:?}");

    let mute = Server::new(|_, stream| until_closed(stream));
    assert!(matches!(client().send(get(mute.url("/"))), Err(HttpError::NoAnswer(..))));

    let trickle = Server::new(|_, stream| {
        head(stream, 200, &[], 1 << 20);
        while stream.write_all(b"x").is_ok() {
            // How slow this server is, is what the test is about.
            thread::sleep(Duration::from_millis(20));
        }
    });
    let response = client().send(get(trickle.url("/"))).unwrap();
    let result = response.copy_to(&mut Vec::new(), 1 << 20, &mut |_| {});
    assert!(matches!(result, Err(HttpError::Slow(..))), "{result:?}");
}

#[test]
fn credentials_stay_with_their_origin() {
    let other = Server::new(|_, stream| answer(stream, 200, &[], b"blob"));
    let there = other.url("/blob");
    let server = Server::new(move |asked, stream| match asked.path.as_str() {
        "/away" => answer(stream, 307, &[("Location", &there)], b""),
        "/within" => answer(stream, 302, &[("Location", "/here")], b""),
        _ => answer(stream, 200, &[], b"here"),
    });
    let ask = |path| client().send(get(server.url(path)).authorization(secret())).unwrap();
    assert_eq!(ask("/within").document(10).unwrap(), b"here");
    assert!(server.asked().iter().all(|asked| asked.header("authorization") == Some("Bearer secret")));
    assert_eq!(ask("/away").document(10).unwrap(), b"blob");
    assert_eq!(other.asked()[0].header("authorization"), None);
    assert!(!format!("{:?}", secret()).contains("Bearer"));
}

#[test]
fn redirects_end() {
    let server = Server::new(|asked, stream| match asked.path.as_str() {
        "/file" => answer(stream, 302, &[("Location", "file:///etc/passwd")], b""),
        "/user" => answer(stream, 302, &[("Location", "http://a:b@127.0.0.1/")], b""),
        "/nowhere" => answer(stream, 302, &[], b""),
        _ => answer(stream, 302, &[("Location", "/again")], b""),
    });
    for path in ["/again", "/file", "/user", "/nowhere"] {
        assert!(matches!(client().send(get(server.url(path))), Err(HttpError::Redirect(..))), "{path}");
    }
    assert_eq!(server.count("GET", "/again"), 6);
    // What changes something is not done twice unasked.
    let post = Request::new(Method::Post, server.url("/again")).plain_http(true);
    assert_eq!(client().send(post).unwrap().status(), 302);
}

#[test]
fn the_rest_of_a_file_is_asked_for() {
    let server = Server::new(|asked, stream| match (asked.path.as_str(), asked.header("range")) {
        ("/changed", _) => answer(stream, 200, &[("ETag", "\"2\"")], b"other"),
        ("/elsewhere", _) => answer(stream, 206, &[("Content-Range", "bytes 0-9/10")], b"0123456789"),
        ("/part", _) => answer(stream, 206, &[("Content-Range", "bytes 4-5/10")], b"45"),
        ("/length", _) => answer(stream, 206, &[("Content-Range", "bytes 4-9/10")], b"45"),
        ("/silent", _) => answer(stream, 206, &[], b"456789"),
        ("/all", _) => answer(stream, 416, &[("Content-Range", "bytes */4")], b""),
        ("/less", _) => answer(stream, 416, &[("Content-Range", "bytes */3")], b""),
        (_, Some("bytes=4-")) => answer(stream, 206, &[("Content-Range", "bytes 4-9/10")], b"456789"),
        _ => answer(stream, 200, &[("ETag", "\"1\"")], b"0123456789"),
    });
    let ask = |path, from| client().rest(get(server.url(path)), from, Some("\"1\""));
    let whole = ask("/", 0).unwrap();
    assert_eq!((whole.start, whole.total, whole.etag.as_deref()), (0, Some(10), Some("\"1\"")));
    let rest = ask("/", 4).unwrap();
    assert_eq!((rest.start, rest.total), (4, Some(10)));
    assert_eq!(rest.response.unwrap().document(10).unwrap(), b"456789");
    assert_eq!(server.asked()[1].header("if-range"), Some("\"1\""));
    assert_eq!(ask("/changed", 4).unwrap().start, 0);
    let all = ask("/all", 4).unwrap();
    assert!(all.response.is_none() && all.total == Some(4));
    for path in ["/elsewhere", "/part", "/length", "/silent", "/less"] {
        assert!(matches!(ask(path, 4), Err(HttpError::Piece(..))), "{path}");
    }
    assert!(matches!(ask("/silent", 0), Err(HttpError::Piece(..))));
}
