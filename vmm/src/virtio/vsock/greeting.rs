//! A program of the host that has connected and must say `CONNECT port\n` before it is anything more.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::unix_socket;

/// `CONNECT 4294967295\n` has 19 bytes.
const LINE_MAX: usize = 32;

/// What came of a look at the line.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is not complete.
    Wait,
    /// It asks for this port of the guest.
    Port(u32),
    /// It is no such line, or the program is gone.
    Nonsense,
}

/// The program.
#[derive(Debug)]
pub struct Greeting {
    stream: UnixStream,
    deadline: Instant,
}

impl Greeting {
    /// A program that must have spoken by `deadline`.
    pub fn new(stream: UnixStream, deadline: Instant) -> Greeting {
        Greeting { stream, deadline }
    }

    /// When it has waited too long.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The stream, once the line is read.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Reads the line if it is there, and not a byte more: what follows is the guest's.
    pub fn read(&mut self) -> Progress {
        let mut bytes = [0; LINE_MAX];
        let arrived = match unix_socket::peek(&self.stream, &mut bytes) {
            Ok(0) => return Progress::Nonsense,
            Ok(count) => bytes.get(..count).unwrap_or_default(),
            Err(error) => return if is_patience(&error) { Progress::Wait } else { Progress::Nonsense },
        };
        let Some(end) = arrived.iter().position(|&byte| byte == b'\n') else {
            return if arrived.len() < LINE_MAX { Progress::Wait } else { Progress::Nonsense };
        };
        let line = arrived.get(..end).and_then(|line| std::str::from_utf8(line).ok());
        let port = line.and_then(parse);
        let mut taken = [0; LINE_MAX];
        let taken = taken.get_mut(..=end).unwrap_or_default();
        match (port, self.stream.read_exact(taken)) {
            (Some(port), Ok(())) => Progress::Port(port),
            _ => Progress::Nonsense,
        }
    }
}

/// The port of a line without its end.
fn parse(line: &str) -> Option<u32> {
    let (word, port) = line.split_once(' ')?;
    let port = port.trim();
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (word.eq_ignore_ascii_case("CONNECT") && digits).then(|| port.parse().ok()).flatten()
}

fn is_patience(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    fn greet(text: &[u8]) -> (Progress, Vec<u8>) {
        let (mut host, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        host.write_all(text).unwrap();
        let mut greeting = Greeting::new(ours, Instant::now() + Duration::from_secs(1));
        let progress = greeting.read();
        drop(host);
        let mut rest = Vec::new();
        greeting.into_stream().read_to_end(&mut rest).unwrap();
        (progress, rest)
    }

    #[test]
    fn takes_the_line_and_nothing_more() {
        assert_eq!(greet(b"CONNECT 52\nhello"), (Progress::Port(52), b"hello".to_vec()));
        assert_eq!(greet(b"connect 4294967295\n"), (Progress::Port(u32::MAX), Vec::new()));
        assert_eq!(greet(b"CONNECT 5").0, Progress::Wait);
    }

    #[test]
    fn refuses_everything_else() {
        for line in ["CONNECT\n", "CONNECT \n", "CONNECT 4294967296\n", "CONNECT -1\n", "CONNECT +1\n", "\n"]
        {
            assert_eq!(greet(line.as_bytes()).0, Progress::Nonsense, "{line:?}");
        }
        assert_eq!(greet(b"GET / HTTP/1.1\r\n").0, Progress::Nonsense);
        assert_eq!(greet(&[b'C'; 32]).0, Progress::Nonsense);
        assert_eq!(greet(b"CONNECT \xff\n").0, Progress::Nonsense);
        let (host, ours) = UnixStream::pair().unwrap();
        drop(host);
        assert_eq!(Greeting::new(ours, Instant::now()).read(), Progress::Nonsense);
    }
}
