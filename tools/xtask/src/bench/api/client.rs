//! One who asks over a Unix socket and waits for each answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answer.
const MAX_ANSWER: usize = 64 << 10;

/// What is asked again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// What it is called in the table.
    pub name: &'static str,
    /// The request, whole.
    pub bytes: &'static str,
    /// What the answer begins with.
    pub answer: &'static str,
    /// Ask each time on a connection of its own.
    pub reconnect: bool,
}

/// What VMMs of Firecracker's kind are asked.
pub const HTTP: [Question; 4] = [
    Question {
        name: "GET /",
        bytes: "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n",
        answer: "HTTP/1.1 200",
        reconnect: false,
    },
    Question {
        name: "PUT /machine-config",
        bytes: "PUT /machine-config HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n{\"vcpu_count\": 2,\"mem_size_mib\":256}",
        answer: "HTTP/1.1 204",
        reconnect: false,
    },
    Question {
        name: "PATCH /machine-config",
        bytes: "PATCH /machine-config HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n{\"vcpu_count\": 1,\"mem_size_mib\":128}",
        answer: "HTTP/1.1 204",
        reconnect: false,
    },
    Question {
        name: "GET /, a connection each",
        bytes: "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n",
        answer: "HTTP/1.1 200",
        reconnect: true,
    },
];

/// What comes nearest to the first of them in QEMU's protocol.
pub const QMP: [Question; 1] = [Question {
    name: "GET /",
    bytes: "{\"execute\":\"query-status\"}\r\n",
    answer: "{\"return\":",
    reconnect: false,
}];

/// Asks so often.
pub fn ask(socket: &Path, question: &Question, times: u32) -> Result<()> {
    let mut stream = connect(socket)?;
    if !question.bytes.starts_with(|first: char| first.is_ascii_uppercase()) {
        greet(&mut stream)?;
    }
    for number in 0..times {
        if question.reconnect && number > 0 {
            stream = connect(socket)?;
        }
        stream.write_all(question.bytes.as_bytes()).context("Cannot ask")?;
        let answer = read(&mut stream)?;
        if !answer.starts_with(question.answer.as_bytes()) {
            bail!("{} was answered by {}", question.name, String::from_utf8_lossy(&answer));
        }
    }
    Ok(())
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket).context("Cannot connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// QMP begins with a greeting and a choice of capabilities.
fn greet(stream: &mut UnixStream) -> Result<()> {
    read(stream)?;
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\r\n").context("Cannot greet")?;
    read(stream).map(drop)
}

/// Reads one answer to its end.
fn read(stream: &mut UnixStream) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).context("No answer")?;
        if length == 0 {
            bail!("The connection ended after {:?}", String::from_utf8_lossy(&answer));
        }
        answer.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if is_whole(&answer) {
            return Ok(answer);
        }
        if answer.len() > MAX_ANSWER {
            bail!("The answer has no end");
        }
    }
}

/// A line of QMP, or a head of HTTP with as much as it says that follows.
fn is_whole(answer: &[u8]) -> bool {
    if !answer.starts_with(b"HTTP/") {
        return answer.ends_with(b"\n");
    }
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_an_end() {
        let whole = |text: &str| is_whole(text.as_bytes());
        assert!(!whole("HTTP/1.1 204 No Content\r\n"));
        assert!(whole("HTTP/1.1 204 No Content\r\n\r\n"));
        assert!(!whole("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"));
        assert!(whole("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"));
        assert!(whole("{\"return\": {}}\r\n") && !whole("{\"return\""));
    }

    #[test]
    fn a_body_is_as_long_as_it_says() {
        for question in HTTP {
            let (head, body) = question.bytes.split_once("\r\n\r\n").unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            assert_eq!(length.map_or(0, |length| length.parse().unwrap()), body.len(), "{}", question.name);
        }
    }
}
