use std::sync::Arc;

use tokio::net::UnixListener;

use super::*;

/// Answers every connection with `greeting`, and with `answer` once a request's head is there.
fn guest(greeting: &'static str, answer: Vec<u8>) -> (tempfile::TempDir, Agent) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("v.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut line = [0; 12];
                stream.read_exact(&mut line).await.unwrap();
                assert_eq!(&line, b"CONNECT 512\n");
                stream.write_all(greeting.as_bytes()).await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    let agent = Agent::new(&socket);
    (folder, agent)
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn a_ready_guest_answers() {
    let body = r#"{"version":"0.1.0","kernel":"6.1","boot_id":"x","entered_us":1,"ready_us":2}"#;
    let (_folder, agent) = guest("OK 1073741824\n", answer("200 OK", body));
    assert_eq!(agent.ready().await.unwrap().ready_us, 2);
}

#[tokio::test]
async fn a_refusal_keeps_the_guest_s_sentence_without_control_characters() {
    let body = r#"{"message":"No \u001b[31msuch program"}"#;
    let (_folder, agent) = guest("OK 1\n", answer("404 Not Found", body));
    let error = agent.start("c").await.unwrap_err();
    assert!(
        matches!(&error, HostError::AgentRefused { status: 404, message, .. } if message == "No [31msuch program")
    );
}

#[tokio::test]
async fn a_lying_guest_gives_errors() {
    let endless = "x".repeat(200);
    for greeting in ["", "no\n", Box::leak(endless.into_boxed_str())] {
        let (_folder, agent) = guest(greeting, Vec::new());
        let called = timeout(Duration::from_secs(20), agent.ready()).await.unwrap();
        assert!(called.is_err(), "{greeting}");
    }
    for bytes in [b"garbage\r\n\r\n".to_vec(), answer("200 OK", "[]"), answer("200 OK", &"[".repeat(2 << 20))]
    {
        let (_folder, agent) = guest("OK 1\n", bytes);
        assert!(matches!(agent.ready().await, Err(HostError::AgentCall { .. })));
    }
}

#[tokio::test]
async fn logs_are_frames() {
    let frame = Frame { stream: crate::host::log_frame::Stream::Stderr, sequence: 5, payload: "hi".into() };
    let mut body = frame.encode();
    let whole = body.clone();
    body.extend(&whole[..4]);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let (_folder, agent) = guest("OK 1\n", [head.into_bytes(), body].concat());
    let mut logs = agent.logs("c", 5).await.unwrap();
    assert_eq!(logs.next_frame().await.unwrap(), Some(frame));
    assert!(logs.next_frame().await.is_err(), "the second frame is torn");
}
