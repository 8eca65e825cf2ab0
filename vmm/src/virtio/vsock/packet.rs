//! The header of a packet (virtio 1.2 section 5.10.6).

/// How long a header is.
pub const HEADER_SIZE: usize = 44;
/// The context id of the host.
pub const HOST_CID: u64 = 2;
/// The only type of socket that is served: a stream.
pub const TYPE_STREAM: u16 = 1;
/// The most data in one packet that we send.
pub const DATA_MAX: u32 = 64 * 1024;

/// What a packet means.
pub mod operation {
    /// Opens a connection.
    pub const REQUEST: u16 = 1;
    /// Accepts one.
    pub const RESPONSE: u16 = 2;
    /// Refuses or ends one at once.
    pub const RESET: u16 = 3;
    /// Ends one or both directions.
    pub const SHUTDOWN: u16 = 4;
    /// Carries data.
    pub const DATA: u16 = 5;
    /// Tells how much may be sent.
    pub const CREDIT_UPDATE: u16 = 6;
    /// Asks for that.
    pub const CREDIT_REQUEST: u16 = 7;
}

/// The sender of this `SHUTDOWN` will not receive any more.
pub const SHUTDOWN_RECEIVE: u32 = 1;
/// The sender of this `SHUTDOWN` will not send any more.
pub const SHUTDOWN_SEND: u32 = 2;

/// A header, copied out of guest memory or about to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// Where it comes from.
    pub source_cid: u64,
    /// Where it goes.
    pub destination_cid: u64,
    /// The sender's port.
    pub source_port: u32,
    /// The receiver's port.
    pub destination_port: u32,
    /// How many bytes of data follow.
    pub length: u32,
    /// The type of socket.
    pub kind: u16,
    /// What it means.
    pub operation: u16,
    /// Of a `SHUTDOWN`: which directions.
    pub flags: u32,
    /// How much the sender can buffer for the connection.
    pub buffer_size: u32,
    /// How many bytes of the connection the sender has taken out of that buffer, ever, modulo 2^32.
    pub forwarded: u32,
}

impl Header {
    /// Takes the fields from their bytes.
    pub fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Header {
        let mut reader = Fields { bytes, at: 0 };
        Header {
            source_cid: u64::from_le_bytes(reader.next()),
            destination_cid: u64::from_le_bytes(reader.next()),
            source_port: u32::from_le_bytes(reader.next()),
            destination_port: u32::from_le_bytes(reader.next()),
            length: u32::from_le_bytes(reader.next()),
            kind: u16::from_le_bytes(reader.next()),
            operation: u16::from_le_bytes(reader.next()),
            flags: u32::from_le_bytes(reader.next()),
            buffer_size: u32::from_le_bytes(reader.next()),
            forwarded: u32::from_le_bytes(reader.next()),
        }
    }

    /// The bytes of the fields.
    pub fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[0..8].copy_from_slice(&self.source_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.destination_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.source_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.destination_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.operation.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buffer_size.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.forwarded.to_le_bytes());
        bytes
    }

    /// The answer that there is no such connection.
    pub fn refusal(&self) -> Header {
        Header {
            source_cid: self.destination_cid,
            destination_cid: self.source_cid,
            source_port: self.destination_port,
            destination_port: self.source_port,
            kind: self.kind,
            operation: operation::RESET,
            ..Header::default()
        }
    }
}

/// Takes fixed-size fields off a header.
struct Fields<'a> {
    bytes: &'a [u8; HEADER_SIZE],
    at: usize,
}

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        for (to, from) in field.iter_mut().zip(self.bytes.iter().skip(self.at)) {
            *to = *from;
        }
        self.at += N;
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_fields_agree() {
        let bytes: [u8; HEADER_SIZE] = std::array::from_fn(|index| index as u8);
        let header = Header::from_bytes(&bytes);
        assert_eq!(header.source_cid, 0x0706_0504_0302_0100);
        assert_eq!(header.operation, 0x1f1e);
        assert_eq!(header.forwarded, 0x2b2a_2928);
        assert_eq!(header.to_bytes(), bytes);
    }
}
