//! Reads an uncompressed kernel, such as `cargo xtask kernel` builds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{KernelError, is_x86_64};

/// The largest kernel, in bytes.
const MAX_SIZE: u64 = 256 << 20;

/// What comes before the release in every kernel (Linux, `init/version.c`).
const BANNER: &[u8] = b"Linux version ";

/// The longest release: `struct new_utsname`, less its last byte.
const MAX_RELEASE: usize = 64;

/// Gives the kernel's release and its bytes.
pub(super) fn read(path: &Path) -> Result<(String, Vec<u8>), KernelError> {
    let failed = |error| KernelError::Vmlinux(path.to_owned(), error);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(failed)?;
    let refused = |why| KernelError::NotVmlinux(path.to_owned(), why);
    if bytes.len() as u64 > MAX_SIZE {
        return Err(refused("it is larger"));
    }
    if !is_x86_64(&bytes) {
        return Err(refused("it is no such ELF file"));
    }
    let release = release(&bytes).ok_or_else(|| refused("it names no release"))?;
    Ok((release, bytes))
}

/// The word behind the banner. The same words may stand elsewhere, as a format without a release.
fn release(kernel: &[u8]) -> Option<String> {
    let mut rest = kernel;
    while let Some(at) = rest.windows(BANNER.len()).position(|window| window == BANNER) {
        rest = rest.get(at + BANNER.len()..)?;
        let word = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
        if word.len() <= MAX_RELEASE
            && word.first().is_some_and(u8::is_ascii_digit)
            && word.iter().all(u8::is_ascii_graphic)
        {
            return String::from_utf8(word.to_vec()).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(text: &str) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(18, 0);
        elf.extend([62, 0]);
        elf.extend(text.as_bytes());
        elf
    }

    fn read_from(bytes: &[u8]) -> Result<(String, Vec<u8>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinux");
        std::fs::write(&path, bytes).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn the_release_is_the_word_behind_the_banner() {
        let bytes = kernel("Linux version %s\nLinux version 6.1.192-bulkhead (who@where) (gcc)");
        assert_eq!(read_from(&bytes), Ok(("6.1.192-bulkhead".to_owned(), bytes)));
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert!(read_from(&kernel("Linux version %s")).unwrap_err().contains("names no release"));
        assert!(read_from(b"MZ Linux version 6.1 (x)").unwrap_err().contains("no such ELF file"));
    }
}
