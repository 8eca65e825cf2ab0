//! Lays out the initramfs: `initd` as `/init`, the modules and their order, and the folders that `initd`
//! mounts on before it leaves the initramfs.

use bulkhead_protocol::boot::{MODULES_LATER, MODULES_ORDER};

use super::Module;
use crate::cpio::Archive;

/// Writes the archive, uncompressed: decompression would cost more than the copy that it saves. Padded to
/// 4 KiB, so that another archive can follow it.
pub(super) fn write(initd: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut archive = Archive::new();
    for folder in ["/bulkhead", "/bulkhead/modules", "/dev", "/proc", "/sys"] {
        archive.directory(folder);
    }
    // The kernel opens /dev/console for init's standard streams before init can mount anything.
    archive.character_device("/dev/console", 0o600, 5, 1);
    let (mut order, mut later) = (String::new(), String::new());
    for Module { name, body, need } in modules {
        let path = format!("/bulkhead/modules/{name}.ko");
        archive.file(&path, 0o644, body);
        match need {
            Some(need) => later.push_str(&format!("{need} {path}\n")),
            None => order.push_str(&format!("{path}\n")),
        }
    }
    archive.file(MODULES_ORDER, 0o644, order.as_bytes());
    archive.file(MODULES_LATER, 0o644, later.as_bytes());
    archive.file("/init", 0o755, initd);
    archive.finish(4096)
}
