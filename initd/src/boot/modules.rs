//! Inserts the kernel modules that the initramfs brought.
//!
//! A distribution's modules carry a signature. Whoever chose the kernel chose the initramfs too, so that the
//! signature proves nothing here, and checking it is most of what inserting costs: with Debian's kernel 430 of
//! 515 ms on the lab's clock. So modules are inserted without it where the kernel lets us.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use bulkhead_protocol::boot::{MODULES_LATER, MODULES_ORDER};

use super::BootError;
use crate::console;

/// The longest list of modules that is read, in bytes.
const MAX_LIST: u64 = 64 << 10;

/// The largest module that is read, in bytes.
const MAX_MODULE: u64 = 64 << 20;

/// `MODULE_SIG_STRING`: how a signed module ends (Linux, `include/linux/module_signature.h`).
const SIGNATURE_END: &[u8] = b"~Module signature appended~\n";

/// The length of struct module_signature, which lies before that.
const SIGNATURE_INFO: usize = 12;

/// Inserts every module of the list, in its order.
///
/// A module that cannot be inserted is named on the console and passed over: what needs it says so itself,
/// and a guest that lacks, say, a network card's driver may well not need it.
pub fn insert_all() -> Result<(), BootError> {
    let Some(list) = super::read_bounded(MODULES_ORDER, MAX_LIST)? else {
        return Ok(());
    };
    for path in paths(&String::from_utf8_lossy(&list)) {
        if let Err(error) = File::open(path).and_then(|file| insert(&file)) {
            console::say(&format!("cannot insert the module {path}: {error}"));
        }
    }
    Ok(())
}

/// Modules that are inserted only when something needs them: one that every start inserts costs every start.
#[derive(Debug, Default)]
pub struct LaterModules(Vec<(String, File)>);

impl LaterModules {
    /// Keeps them open, for when the initramfs is gone.
    pub(super) fn keep() -> Result<Self, BootError> {
        let list = super::read_bounded(MODULES_LATER, MAX_LIST)?.unwrap_or_default();
        let list = String::from_utf8_lossy(&list);
        let kept = needs(&list).filter_map(|(need, path)| match File::open(path) {
            Ok(file) => Some((need.to_owned(), file)),
            Err(error) => {
                console::say(&format!("cannot keep the module {path}: {error}"));
                None
            }
        });
        Ok(Self(kept.collect()))
    }

    /// Inserts what `need` takes; whether the kernel has it then shows when it is used.
    pub fn insert(&self, need: &str) {
        for (_, file) in self.0.iter().filter(|(known, _)| known == need) {
            if let Err(error) = insert(file) {
                console::say(&format!("cannot insert a module for {need}: {error}"));
            }
        }
    }
}

fn needs(list: &str) -> impl Iterator<Item = (&str, &str)> {
    paths(list).filter_map(|line| line.split_once(' '))
}

fn paths(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn insert(mut file: &File) -> io::Result<()> {
    let mut image = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(MAX_MODULE)).unwrap_or(0));
    file.rewind()?;
    file.take(MAX_MODULE).read_to_end(&mut image)?;
    let inserted = rustix::system::init_module(without_signature(&image), c"")
        // A kernel that insists on signatures gets the whole file.
        .or_else(|_| rustix::system::finit_module(file, c"", 0));
    match inserted {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A module's image up to its signature.
///
/// Behind the image lie the signer's name, the key's id and the signature; then their lengths in struct
/// module_signature (bytes 3 and 4, and 8 to 11 big endian), then the mark.
fn without_signature(image: &[u8]) -> &[u8] {
    let signed = || {
        let rest = image.strip_suffix(SIGNATURE_END)?;
        let (rest, info) = rest.split_at_checked(rest.len().checked_sub(SIGNATURE_INFO)?)?;
        let signature = u32::from_be_bytes(info.get(8..12)?.try_into().ok()?);
        let length = usize::try_from(signature).ok()? + usize::from(info[3]) + usize::from(info[4]);
        rest.get(..rest.len().checked_sub(length)?)
    };
    signed().unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_and_remarks_are_no_modules() {
        let list = "/a.ko\n\n# a remark\n  /b.ko  \n";
        assert_eq!(paths(list).collect::<Vec<_>>(), ["/a.ko", "/b.ko"]);
    }

    #[test]
    fn what_waits_has_a_need_and_a_path() {
        let list = "squashfs /a.ko\n# a remark\nsquashfs /b.ko\n/without.ko\n";
        assert_eq!(needs(list).collect::<Vec<_>>(), [("squashfs", "/a.ko"), ("squashfs", "/b.ko")]);
    }

    #[test]
    fn signatures_are_cut_off() {
        let image = |length: u8| {
            let info = [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, length];
            [b"\x7fELF-module".as_slice(), b"signature", &info, SIGNATURE_END].concat()
        };
        assert_eq!(without_signature(&image(9)), b"\x7fELF-module");
        assert_eq!(without_signature(&image(200)), image(200), "a length that cannot be");
        assert_eq!(without_signature(b"\x7fELF-module"), b"\x7fELF-module");
        assert_eq!(without_signature(SIGNATURE_END), SIGNATURE_END);
        assert_eq!(without_signature(b""), b"");
    }
}
