//! Takes the compressed kernel out of a bzImage, as the x86 boot protocol describes it
//! (`Documentation/arch/x86/boot.rst` in the kernel's sources), and decompresses it.

use std::io::{self, Read};

use super::KernelError;

/// The largest uncompressed kernel, in bytes.
const MAX_VMLINUX: usize = 512 << 20;

/// The largest memory of its decompression from xz, in KiB: the kernel's build uses a window of 128 MiB.
const MAX_XZ_MEMORY: u32 = 160 << 10;

/// A legacy LZ4 stream consists of blocks of at most this many bytes uncompressed.
const LZ4_LEGACY_BLOCK: usize = 8 << 20;

const SETUP_SECTS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// Returns the ELF image in `image`, which is a bzImage or already an ELF image.
pub(super) fn uncompress(image: &[u8]) -> Result<Vec<u8>, KernelError> {
    if image.starts_with(b"\x7fELF") {
        return Ok(image.to_vec());
    }
    let payload = payload(image)?;
    let (name, result) = match payload {
        [0x02, 0x21, 0x4c, 0x18, ..] => ("LZ4", lz4_legacy(payload)),
        [0x1f, 0x8b, ..] => ("gzip", bounded(flate2::read::GzDecoder::new(payload))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (
            "zstd",
            zstd::stream::read::Decoder::new(payload).and_then(|decoder| bounded(decoder.single_frame())),
        ),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            ("xz", bounded(lzma_rust2::XzReader::new_mem_limit(payload, false, MAX_XZ_MEMORY)))
        }
        _ => {
            return Err(KernelError::BzImage(
                "its payload is compressed with neither LZ4, gzip, xz nor zstd",
            ));
        }
    };
    let kernel = result.map_err(|error| KernelError::Payload(name, error))?;
    if !kernel.starts_with(b"\x7fELF") {
        return Err(KernelError::BzImage("its payload is not an ELF image"));
    }
    Ok(kernel)
}

fn payload(image: &[u8]) -> Result<&[u8], KernelError> {
    let short = KernelError::BzImage("it ends within its header");
    let Some(setup_sects) = image.get(SETUP_SECTS).copied() else { return Err(short) };
    if image.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        return Err(KernelError::BzImage("it has no setup header"));
    }
    // The payload's place is told since version 2.08 of the protocol.
    let version = image.get(VERSION..VERSION + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    if version.is_none_or(|version| version < 0x0208) {
        return Err(KernelError::BzImage("its boot protocol is older than 2.08"));
    }
    let (Some(offset), Some(length)) = (u32_at(image, PAYLOAD_OFFSET), u32_at(image, PAYLOAD_LENGTH)) else {
        return Err(short);
    };
    // Zero means four, for historical reasons; one more sector is the boot sector.
    let setup = (if setup_sects == 0 { 4 } else { usize::from(setup_sects) } + 1) * 512;
    let start = setup + offset as usize;
    image.get(start..start + length as usize).ok_or(KernelError::BzImage("it ends within its payload"))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// The kernel's build appends the uncompressed size, four bytes, to what the LZ4 tool wrote.
fn lz4_legacy(payload: &[u8]) -> io::Result<Vec<u8>> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let expected = payload.len().checked_sub(4).and_then(|offset| u32_at(payload, offset));
    let expected = expected.map_or(0, |size| size as usize);
    if expected > MAX_VMLINUX {
        return Err(damaged("the kernel is larger than 512 MiB"));
    }
    let mut blocks = payload.get(4..payload.len() - 4).unwrap_or_default();
    let mut kernel = Vec::with_capacity(expected);
    while kernel.len() < expected {
        let size = u32_at(blocks, 0).ok_or_else(|| damaged("the stream ends early"))? as usize;
        let block = blocks.get(4..4 + size).ok_or_else(|| damaged("a block is cut"))?;
        let start = kernel.len();
        kernel.resize(start + LZ4_LEGACY_BLOCK, 0);
        let written = lz4_flex::block::decompress_into(block, &mut kernel[start..])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if written == 0 {
            return Err(damaged("a block is empty"));
        }
        kernel.truncate(start + written);
        blocks = &blocks[4 + size..];
    }
    if kernel.len() != expected {
        return Err(damaged("the kernel is not as large as it says"));
    }
    Ok(kernel)
}

fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut kernel = Vec::new();
    reader.take(MAX_VMLINUX as u64 + 1).read_to_end(&mut kernel)?;
    if kernel.len() > MAX_VMLINUX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel is larger than 512 MiB"));
    }
    Ok(kernel)
}

#[cfg(test)]
#[path = "bzimage_tests.rs"]
mod tests;
