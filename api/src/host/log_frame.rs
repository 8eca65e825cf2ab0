//! Log frames, as the guest's agent sends them and as the daemon keeps and serves them.
//!
//! See `bulkhead_protocol::agent` for the format.

use bulkhead_protocol::agent::MAX_LOG_FRAME;
use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Bytes of a frame's header.
pub const HEADER: usize = 16;

/// Where a container wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// One piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where it was written.
    pub stream: Stream,
    /// The number of its first byte, counted over both streams.
    pub sequence: u64,
    /// What was written.
    pub payload: Bytes,
}

impl Frame {
    /// The number of the byte behind its last one.
    pub fn end(&self) -> u64 {
        self.sequence.saturating_add(self.payload.len() as u64)
    }

    /// As it goes over the wire. A payload longer than a frame may be is cut.
    pub fn encode(&self) -> Vec<u8> {
        let payload = self.payload.get(..MAX_LOG_FRAME).unwrap_or(&self.payload);
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend([self.stream.to_byte(), 0, 0, 0]);
        bytes.extend(u32::try_from(payload.len()).unwrap_or(0).to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// What arrived is no stream of frames.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("A log frame has the header {header:02x?}")]
pub struct FrameError {
    header: [u8; HEADER],
}

/// Takes frames out of a stream of bytes that comes in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Adds a piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole frame, if it is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>().copied() else { return Ok(None) };
        let [stream, z1, z2, z3, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7] = header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let sequence = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let stream = Stream::from_byte(stream).filter(|_| [z1, z2, z3] == [0; 3] && length <= MAX_LOG_FRAME);
        let Some(stream) = stream else { return Err(FrameError { header }) };
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(Frame { stream, sequence, payload }))
    }

    /// Bytes of a frame that is not whole.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_frames(
            payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..8),
            piece in 1_usize..70,
        ) {
            let mut sequence = 7;
            let frames: Vec<Frame> = payloads.into_iter().map(|(out, payload)| {
                let stream = if out { Stream::Stdout } else { Stream::Stderr };
                let frame = Frame { stream, sequence, payload: payload.into() };
                sequence = frame.end();
                frame
            }).collect();
            let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(piece) {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(seen, frames);
            prop_assert_eq!(decoder.pending(), 0);
        }

        #[test]
        fn noise_is_an_error_or_waits(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&noise);
            while let Ok(Some(frame)) = decoder.next_frame() {
                prop_assert!(frame.payload.len() <= MAX_LOG_FRAME);
            }
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_at_its_header() {
        let mut header = [1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut decoder = Decoder::default();
        decoder.push(&header);
        assert!(decoder.next_frame().is_err());
        header[7] = 0;
        let mut decoder = Decoder::default();
        decoder.push(&header);
        assert_eq!(decoder.next_frame(), Ok(None));
    }
}
