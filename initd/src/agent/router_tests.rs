use std::os::fd::OwnedFd;

use bulkhead_protocol::agent::{Fault, Ready};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::container::{Containers, Surroundings};
use crate::reaper::Reaper;

fn server() -> Arc<Server> {
    let program = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let containers = Arc::new(Containers::new(Arc::new(Reaper::default()), program, Surroundings::default()));
    let ready =
        Ready { version: "1".into(), kernel: "2".into(), boot_id: "3".into(), entered_us: 4, ready_us: 5 };
    Server::new(containers, ready)
}

/// Sends raw bytes on one connection; returns the status and the body of what comes back.
async fn talk(server: &Arc<Server>, request: &[u8]) -> (u16, String) {
    let (mut client, connection) = tokio::io::duplex(1 << 16);
    let serving = server.serve(connection);
    let asking = async {
        // The server may have said no and gone before it has read everything.
        let _ = client.write_all(request).await;
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let ((), answer) = tokio::join!(serving, asking);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

async fn ask(server: &Arc<Server>, method: &str, path: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    talk(server, head.as_bytes()).await
}

fn message(body: &str) -> String {
    serde_json::from_str::<Fault>(body).unwrap().message
}

#[tokio::test]
async fn ready_says_what_runs() {
    let server = server();
    let (status, body) = ask(&server, "GET", "/v1/ready", "").await;
    assert_eq!((status, serde_json::from_str::<Ready>(&body).unwrap()), (200, server.ready.clone()));
    assert_eq!(ask(&server, "GET", "/v1/containers", "").await, (200, "[]".into()));
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let server = server();
    for (method, path) in [
        ("GET", "/v1/containers/web"),
        ("DELETE", "/v1/containers/web"),
        ("POST", "/v1/containers/web/start"),
        ("POST", "/v1/containers/web/signal"),
        ("GET", "/v1/containers/web/wait"),
        ("GET", "/v1/containers/web/logs"),
    ] {
        let (status, body) = ask(&server, method, path, "").await;
        assert_eq!((status, message(&body)), (404, "There is no container web".into()), "{method} {path}");
    }
    for path in ["/", "/v1", "/v2/ready", "/v1/ready/", "/v1/containers/a/b"] {
        let (status, body) = ask(&server, "GET", path, "").await;
        assert_eq!((status, message(&body)), (404, format!("There is no resource {path}")));
    }
}

#[tokio::test]
async fn wrong_methods_are_told() {
    let server = server();
    assert_eq!(ask(&server, "POST", "/v1/ready", "").await.0, 405);
    assert_eq!(ask(&server, "PUT", "/v1/containers", "").await.0, 405);
    assert_eq!(ask(&server, "GET", "/v1/power-off", "").await.0, 405);
}

#[tokio::test]
async fn bad_bodies_are_refused_and_leave_nothing() {
    let server = server();
    for body in ["", "{", "[]", "{\"id\":\"a\"}", "{\"unknown\":1}"] {
        assert_eq!(ask(&server, "POST", "/v1/containers", body).await.0, 400, "{body}");
    }
    let wrong = r#"{"id":"../x","spec":{},"root":{"device":"serial:root"}}"#;
    let (status, body) = ask(&server, "POST", "/v1/containers", wrong).await;
    assert_eq!(status, 400);
    assert!(message(&body).contains("../x"), "{body}");
    assert!(server.containers.list().is_empty());
    let large = format!("{{\"id\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(ask(&server, "POST", "/v1/containers", &large).await.0, 413);
}

#[tokio::test]
async fn a_disk_that_is_not_there_is_the_caller_s_fault() {
    let server = server();
    for device in ["serial:no-such-disk", "partlabel:no-such-partition", "/dev/no-such-device", "/dev/null"] {
        let wanted = format!(
            r#"{{"id":"web","spec":{{"process":{{"args":["true"]}}}},"root":{{"device":"{device}"}}}}"#
        );
        let (status, body) = ask(&server, "POST", "/v1/containers", &wanted).await;
        let sentence = format!("Cannot make container web: No block device is {device}");
        assert_eq!((status, message(&body)), (400, sentence));
    }
    assert!(server.containers.list().is_empty());
}

#[tokio::test]
async fn nonsense_on_the_wire_ends_the_connection_only() {
    let server = server();
    let large_head = format!("GET /v1/ready HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(64 << 10));
    for bytes in [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"", large_head.as_bytes()] {
        let (status, _) = talk(&server, bytes).await;
        assert!(matches!(status, 0 | 400 | 431), "{status}");
    }
    assert_eq!(ask(&server, "GET", "/v1/ready", "").await.0, 200);
}

#[tokio::test]
async fn power_off_is_asked_once() {
    let server = server();
    assert_eq!(ask(&server, "POST", "/v1/power-off", "{\"code\":7}").await.0, 202);
    assert_eq!(ask(&server, "POST", "/v1/power-off", "{}").await.0, 202);
    assert_eq!(server.containers.ending().await, 7);
}

#[tokio::test]
async fn idle_connections_end_when_the_machine_does() {
    let server = server();
    let (_client, connection) = tokio::io::duplex(1 << 10);
    let serving = server.serve(connection);
    let ending = async {
        tokio::task::yield_now().await;
        server.finish().await;
    };
    let both = async { tokio::join!(serving, ending) };
    tokio::time::timeout(std::time::Duration::from_secs(5), both).await.unwrap();
}
