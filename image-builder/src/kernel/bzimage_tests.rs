use std::io::Write;

use super::*;

fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 1024];
    image[SETUP_SECTS] = 1;
    image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
    image[VERSION..VERSION + 2].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
    let length = u32::try_from(payload.len()).unwrap();
    image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
    image.extend_from_slice(&[0x90; 16]);
    image.extend_from_slice(payload);
    image.extend_from_slice(b"what follows the payload");
    image
}

fn kernel() -> Vec<u8> {
    let mut kernel = b"\x7fELF\x02\x01\x01".to_vec();
    kernel.extend((0..LZ4_LEGACY_BLOCK + 5000).map(|index| (index / 7 % 251) as u8));
    kernel
}

fn lz4(kernel: &[u8]) -> Vec<u8> {
    let mut payload = vec![0x02, 0x21, 0x4c, 0x18];
    for chunk in kernel.chunks(LZ4_LEGACY_BLOCK) {
        let block = lz4_flex::block::compress(chunk);
        payload.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        payload.extend_from_slice(&block);
    }
    payload.extend_from_slice(&u32::try_from(kernel.len()).unwrap().to_le_bytes());
    payload
}

fn gzip(kernel: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(kernel).unwrap();
    let mut payload = encoder.finish().unwrap();
    payload.extend_from_slice(&u32::try_from(kernel.len()).unwrap().to_le_bytes());
    payload
}

#[test]
fn every_compression_gives_the_kernel_back() {
    let kernel = kernel();
    assert!(uncompress(&bzimage(&lz4(&kernel))).unwrap() == kernel);
    assert!(uncompress(&bzimage(&gzip(&kernel))).unwrap() == kernel);
    let mut zstd = zstd::encode_all(&kernel[..], 1).unwrap();
    zstd.extend_from_slice(&[0; 4]);
    assert!(uncompress(&bzimage(&zstd)).unwrap() == kernel);
    assert!(uncompress(&kernel).unwrap() == kernel);
}

#[test]
fn a_kernel_cut_anywhere_is_an_error() {
    let kernel = kernel();
    for image in [bzimage(&lz4(&kernel)), bzimage(&gzip(&kernel))] {
        let end = image.len() - b"what follows the payload".len();
        for cut in (0..end).step_by(997).chain([end - 1]) {
            assert!(uncompress(&image[..cut]).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn a_payload_of_lies_is_an_error() {
    let mut image = bzimage(&lz4(&kernel()));
    let size = image.len() - b"what follows the payload".len() - 4;
    image[size..size + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(uncompress(&image).is_err());
    assert!(uncompress(&bzimage(&lz4(b"no ELF"))).is_err());
    assert!(uncompress(&bzimage(b"\x02\x21\x4c\x18")).is_err());
    assert!(uncompress(&bzimage(b"BZh9")).is_err());
}
