//! The frames that the lab's agent sends to the host: kind (one byte), length (four, little endian), bytes.

use std::io::{self, Read, Write};

/// The most bytes a frame may carry.
pub const MOST: usize = 64 * 1024;

/// The virtio port's name.
pub const PORT: &str = "bulkhead.lab";

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command's standard output.
    Stdout = 1,
    /// The command's standard error.
    Stderr = 2,
    /// A piece of the tar of `/out`.
    Out = 3,
    /// A sentence for `--verbose`.
    Note = 4,
    /// The command's exit status, one byte: the last frame.
    Exit = 5,
    /// Why the lab could not run the command: the last frame.
    Failure = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Stdout, Self::Stderr, Self::Out, Self::Note, Self::Exit, Self::Failure]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Writes one frame with one write; `bytes` may hold at most [`MOST`].
pub fn send(port: &mut impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= MOST);
    let length = length.ok_or_else(|| io::Error::other("a frame of the lab is too long"))?;
    let mut frame = Vec::with_capacity(5 + bytes.len());
    frame.push(kind as u8);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(bytes);
    port.write_all(&frame)
}

/// Reads one frame.
pub fn receive(port: &mut impl Read) -> io::Result<(Kind, Vec<u8>)> {
    let mut head = [0; 5];
    port.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let kind =
        Kind::from_byte(kind).ok_or_else(|| io::Error::other("the lab sent a frame of no known kind"))?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MOST {
        return Err(io::Error::other("the lab sent a frame that is too long"));
    }
    let mut bytes = vec![0; length];
    port.read_exact(&mut bytes)?;
    Ok((kind, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_as_they_were_sent() {
        let mut pipe = Vec::new();
        send(&mut pipe, Kind::Stdout, b"\0\xff\r\n").unwrap();
        send(&mut pipe, Kind::Exit, &[42]).unwrap();
        let mut reader = pipe.as_slice();
        assert_eq!(receive(&mut reader).unwrap(), (Kind::Stdout, b"\0\xff\r\n".to_vec()));
        assert_eq!(receive(&mut reader).unwrap(), (Kind::Exit, vec![42]));
        assert!(receive(&mut reader).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(receive(&mut [9, 0, 0, 0, 0].as_slice()).is_err());
        assert!(receive(&mut [1, 255, 255, 255, 255].as_slice()).is_err());
        assert!(send(&mut Vec::new(), Kind::Out, &vec![0; MOST + 1]).is_err());
    }
}
